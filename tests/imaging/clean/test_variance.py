"""The variance plane."""

import numpy as np
import pytest
from starfield import moffat_stamp

from dbpipe.imaging.clean.variance import measure_white_noise, model_variance, model_variance_of_copy


def _pulls(signal, n=40, seed=1):
    rng = np.random.default_rng(seed)
    expected = signal + 100.0
    pulls = []
    for _ in range(n):
        image = (rng.poisson(expected) + rng.normal(0.0, 5.0, expected.shape) - 100.0).astype(np.float32)
        pulls.append((image - signal) / np.sqrt(model_variance(image, 100.0, 5.0)))
    return np.array(pulls)


def test_blank_pixels_have_unit_pulls():
    """On blank sky the noise over the model's standard deviation is N(0, 1)."""
    pulls = _pulls(np.zeros((64, 64)))
    assert pulls.std() == pytest.approx(1.0, abs=0.01)
    assert pulls.mean() == pytest.approx(0.0, abs=0.01)


def test_star_pixels_have_unit_pulls():
    """In the core of a star the pulls have unit variance to a few percent, and the flux-weighted mean stays."""
    signal = 50000.0 * moffat_stamp(3.5, size=41)
    core = signal > 300.0
    pulls = _pulls(signal, n=200)[:, core]
    assert pulls.std() == pytest.approx(1.0, abs=0.04)


def test_variance_is_never_below_read_noise():
    """However negative a pixel or the sky, the variance is at least the read noise squared."""
    image = np.random.default_rng(3).normal(-50.0, 40.0, (50, 50)).astype(np.float32)
    assert model_variance(image, -10.0, 7.0).min() >= 49.0


def test_white_noise_is_measured_beneath_a_crowded_field():
    """Unresolved stars make the sky rough on the scale of the PSF, but not the measured noise of single pixels."""
    rng = np.random.default_rng(4)
    image = rng.normal(0.0, 12.0, (300, 300))
    for x, y, flux in zip(*rng.integers(15, 285, (2, 1500)), rng.exponential(2000.0, 1500), strict=True):
        image[y - 10 : y + 11, x - 10 : x + 11] += flux * moffat_stamp(4.5, size=21)
    assert np.std(image) > 25.0
    nothing = np.zeros(image.shape, bool)
    assert measure_white_noise(image, nothing) == pytest.approx(12.0, rel=0.04)


def test_white_noise_needs_pixels():
    """Where nothing is usable no noise is claimed."""
    assert measure_white_noise(np.ones((8, 8)), np.ones((8, 8), bool)) == 0.0


def test_variance_of_a_copy_is_that_of_its_own_model():
    """Light that is added changes the variance as if the copy had been modeled itself, and only around it.

    At the threshold the variance of a pixel does not tell whether its counts are in it: of the pixels that the light
    reaches some have those counts once too much or too few.
    """
    rng = np.random.default_rng(6)
    image = rng.normal(0.0, 12.0, (120, 120)) + 0.0
    image[20:61, 20:61] += 20000.0 * moffat_stamp(3.5, size=41)
    copy = image.copy()
    for corner, flux in ((15, 3000.0), (70, 400.0)):
        copy[corner : corner + 41, 70:111] += flux * moffat_stamp(3.5, size=41)
    before, truth = (model_variance(pixels.astype(np.float32), 130.0, 4.0) for pixels in (image, copy))
    after = model_variance_of_copy(before, image.astype(np.float32), copy.astype(np.float32))
    reached = truth != before
    wrong = ~np.isclose(after, truth, rtol=1e-5)
    assert wrong.sum() < 0.05 * reached.sum()
    assert (np.abs(after - truth) <= 3.0 * np.sqrt(before)).all()
    assert (after[:, :60] == before[:, :60]).all() and (after != before).sum() > 50
