"""The light of stars beyond their PSF stamps."""

import numpy as np
import pytest

from dbpipe.imaging.psf.growth import WING_POWER, bright_stars, measure_growth
from dbpipe.imaging.psf.rings import Stars

SIZE, FWHM, HALF, NOISE = 700, 4.0, 20.5, 20.0


def scene(part_outside, *, n=30, n_neighbor=0, seed=1):
    """Return what is left of stars whose PSFs are flat zero beyond HALF: wings that hold a part of their light."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(60, SIZE - 60, (2, n))
    flux = np.sort(10.0 ** rng.uniform(4.6, 6.2, n))[::-1]
    flux[0] = 1.5e7
    height = part_outside * (WING_POWER - 2.0) / (2.0 * np.pi * HALF**2)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image = rng.normal(5.0, NOISE, (SIZE, SIZE))
    for k in range(n):
        radius = np.hypot(columns - x[k], rows - y[k])
        image += np.where(radius > HALF, flux[k] * height * (np.maximum(radius, HALF) / HALF) ** -WING_POWER, 0.0)
    for ys, xs, light in zip(*rng.uniform(0, SIZE, (2, n_neighbor)), rng.exponential(3e3, n_neighbor), strict=True):
        image += light / 18.0 * np.exp(-0.5 * ((rows - ys) ** 2 + (columns - xs) ** 2) / 1.7**2)
    return image.astype(np.float32), Stars(x, y, flux)


def measured(image, stars):
    variance, unusable = np.full(image.shape, NOISE**2, np.float32), np.zeros(image.shape, bool)
    is_saturated = np.arange(len(stars.x)) == 0
    return measure_growth(image, variance, unusable, stars, is_saturated=is_saturated, fwhm_pix=FWHM, half_pix=HALF)


@pytest.mark.parametrize("part", [0.0, 0.006, 0.015])
def test_light_outside_the_stamp_is_found(part):
    """Wings that hold 0 to 1.5% of the light are found to 2 mmag, a sky level left over notwithstanding."""
    found = measured(*scene(part))
    assert found.ratio == pytest.approx(1.0 + part, abs=0.002)
    assert found.ratio_err < 0.0025


def test_faint_neighbors_do_not_count():
    """A hundred sources that were not found leave the ratio within three of its errors."""
    found = measured(*scene(0.01, n_neighbor=100))
    assert abs(found.ratio - 1.01) < 3.0 * found.ratio_err


def test_what_cannot_be_measured_is_not():
    """Four stars, and stars too faint for wings to be seen, tell nothing."""
    image, stars = scene(0.01)
    assert measured(image, stars.take(np.arange(4))) is None
    assert measured(image, Stars(stars.x, stars.y, stars.flux / 1e3)) is None


def test_bright_stars_come_first_and_from_inside():
    """Stars at the edge, faint ones and those of unknown flux are left out, the brightest leads."""
    x, y = np.array([50.0, 5.0, 50.0, 50.0, 60.0]), np.full(5, 50.0)
    stars, index = bright_stars(
        x, y, np.array([2e5, 1e6, np.nan, 1e2, 3e5]), shape=(100, 100), flux_min=1e4, margin_pix=10.0
    )
    assert index.tolist() == [4, 0] and stars.flux.tolist() == [3e5, 2e5]
