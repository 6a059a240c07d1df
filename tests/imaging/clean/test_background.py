"""The sky under the sources."""

import numpy as np
import pytest
from scipy import ndimage
from starfield import star_field

from dbpipe.errors import DataError
from dbpipe.imaging.clean.background import block_medians, fit_background


@pytest.mark.parametrize("sky_e", [100.0, 800.0])
def test_level_is_not_biased_by_sources(sky_e):
    """With 60 stars in the field the mean level is right to 0.3 electrons."""
    image, _ = star_field(seed=5, shape=(768, 768), n_star=60, sky_e=sky_e, flux_range=(2e3, 2e5))
    background = fit_background(image, np.zeros(image.shape, bool))
    assert background.level.mean() == pytest.approx(sky_e, abs=0.3)
    assert background.noise_e == pytest.approx(np.sqrt(sky_e + 25.0), rel=0.02)


def test_gradient_is_followed_to_the_edges():
    """A plane of sky is taken out to a fraction of the noise, corners included."""
    rng = np.random.default_rng(2)
    v, u = np.mgrid[:512, :640] / 512.0
    sky = 400.0 + 60.0 * u - 30.0 * v
    level = fit_background(rng.poisson(sky).astype(np.float32), np.zeros(sky.shape, bool)).level
    assert np.abs(level - sky).max() < 3.0


def test_small_image_works():
    """An image smaller than a bin has one level."""
    image = np.random.default_rng(4).normal(100.0, 3.0, (60, 90)).astype(np.float32)
    level = fit_background(image, np.zeros(image.shape, bool)).level
    assert level == pytest.approx(np.full(image.shape, 100.0), abs=0.5)


def test_image_without_sky_is_refused():
    """An image that is all mask has no sky."""
    with pytest.raises(DataError, match="no blank sky"):
        fit_background(np.ones((200, 200), np.float32), np.ones((200, 200), bool))


@pytest.mark.parametrize("shape", [(20, 300), (100, 70), (97, 131)])
def test_block_medians_are_drawn_out_between_the_middles(shape):
    """Where they are wanted, medians of blocks with enough seen, 0 else, with straight lines between their middles."""
    rng = np.random.default_rng(5)
    image, excluded = rng.normal(size=shape), rng.random(shape) < 0.3
    excluded[: shape[0] // 2, :40] = True
    wanted = np.zeros(shape, bool)
    wanted[: shape[0] // 3, shape[1] // 2 :] = True
    counts = [max(1, round(n / 32)) for n in shape]
    edges = [np.linspace(0, n, k + 1).astype(int) for n, k in zip(shape, counts, strict=True)]
    level = np.zeros(counts)
    for j, i in np.ndindex(*counts):
        window = np.s_[edges[0][j] : edges[0][j + 1], edges[1][i] : edges[1][i + 1]]
        if (~excluded[window]).sum() > 0.25 * excluded[window].size:
            level[j, i] = np.median(image[window][~excluded[window]])
    places = np.meshgrid(
        *((np.arange(n) + 0.5) * k / n - 0.5 for n, k in zip(shape, counts, strict=True)), indexing="ij"
    )
    expected = ndimage.map_coordinates(level, places, order=1, mode="nearest")
    for chosen in (wanted, np.ones(shape, bool)):
        found = block_medians(image, excluded, 32, wanted=chosen)
        np.testing.assert_allclose(found[chosen], expected[chosen], atol=1e-6)
