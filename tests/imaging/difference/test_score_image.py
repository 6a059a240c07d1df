"""The score image is signal to noise, pixel by pixel."""

import numpy as np
import pytest
from point_sources import add_source, gaussian_psf, grid_positions, noise_image
from scipy.signal import fftconvolve

from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.difference.score_image import blank_statistics, score_image

FWHM, SIGMA = 4.0, 10.0
PSF = gaussian_psf(31, FWHM)
FIELD = KernelField(PSF[None, None].astype(np.float32), 4096)


def nothing(image):
    return np.zeros(image.shape, bool)


def test_noise_has_a_score_of_unit_width():
    """On white noise, uniform or not, the score is normal with mean 0 and width 1."""
    rng = np.random.default_rng(1)
    sigma = np.broadcast_to(np.linspace(5.0, 40.0, 900), (900, 900))
    image = (rng.normal(size=sigma.shape) * sigma).astype(np.float32)
    score = score_image(image, (sigma**2).astype(np.float32), nothing(image), FIELD).score[30:-30, 30:-30]
    assert np.std(score) == pytest.approx(1.0, abs=0.01)
    assert abs(np.mean(score)) < 0.02


def test_flux_is_unbiased_and_its_error_true():
    """Score times error at a source is its flux to 0.3%, with normal pulls, and the error that of an ideal fit."""
    rng = np.random.default_rng(2)
    image, variance, _ = noise_image(rng, (1000, 1000), SIGMA)
    x, y = (np.round(p).astype(int) for p in grid_positions(rng, image.shape, 40))
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, 2e4, FWHM)
    result = score_image(image, variance, nothing(image), FIELD)
    flux, error = result.score[y, x] * result.flux_err[y, x], result.flux_err[y, x]
    assert np.mean(flux) == pytest.approx(2e4, rel=0.003)
    assert np.std((flux - 2e4) / error) == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(error, SIGMA / np.sqrt(np.sum(PSF**2)), rtol=1e-3)


def test_masked_pixels_have_no_say():
    """A source with a third of it masked keeps its flux, with a larger error; garbage in the mask changes nothing."""
    image, variance = np.zeros((61, 61), np.float32), np.full((61, 61), SIGMA**2, np.float32)
    add_source(image, 30, 30, 2e4, FWHM)
    unusable = nothing(image)
    unusable[:, 32:] = True
    garbage = np.where(unusable, np.float32(np.nan), image)
    whole, part = score_image(image, variance, nothing(image), FIELD), score_image(garbage, variance, unusable, FIELD)
    assert part.score[30, 30] * part.flux_err[30, 30] == pytest.approx(2e4, rel=1e-4)
    assert part.flux_err[30, 30] > 1.05 * whole.flux_err[30, 30]


def test_there_is_no_score_where_less_than_a_tenth_is_seen():
    """Inside a large masked area score and error are 0; beside it they are not."""
    image, variance, _ = noise_image(np.random.default_rng(3), (80, 80), SIGMA)
    unusable = nothing(image)
    unusable[:, 40:] = True
    result = score_image(image, variance, unusable, FIELD)
    assert not result.score[:, 46:].any() and not result.flux_err[:, 46:].any()
    assert (result.flux_err[20:60, :39] > 0).all()


def test_the_filter_may_be_cut_without_bias():
    """A smaller filter gives the same flux."""
    image, variance = np.zeros((61, 61), np.float32), np.full((61, 61), 1.0, np.float32)
    add_source(image, 30, 30, 500.0, FWHM)
    for size in (9, 15, 25):
        result = score_image(image, variance, nothing(image), FIELD, size_pix=size)
        assert result.score[30, 30] * result.flux_err[30, 30] == pytest.approx(500.0, rel=1e-4)


def test_blank_statistics_measure_width_and_correlation():
    """White noise has width 1 and no correlation; smoothed noise has the correlation of its kernel; sources are out."""
    rng = np.random.default_rng(4)
    white, kernel = rng.normal(size=(600, 600)), gaussian_psf(15, 3.0)
    blank = np.ones(white.shape, bool)
    white[:50], blank[:50] = 30.0, False
    std, lag1 = blank_statistics(white, white, blank)
    assert std == pytest.approx(1.0, abs=0.01) and abs(lag1) < 0.005
    smooth = fftconvolve(rng.normal(size=(600, 600)), kernel, mode="same")
    expected = np.sum(kernel[:, 1:] * kernel[:, :-1]) / np.sum(kernel**2)
    assert blank_statistics(smooth, smooth, np.ones(smooth.shape, bool))[1] == pytest.approx(expected, abs=0.01)


def test_without_blank_sky_there_are_no_statistics():
    """No blank pixel gives zeros, not an error."""
    image = np.ones((10, 10))
    assert blank_statistics(image, image, np.zeros((10, 10), bool)) == (0.0, 0.0)
