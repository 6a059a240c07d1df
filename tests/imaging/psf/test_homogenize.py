"""Every exposure gets the one model PSF, and its noise is known."""

import numpy as np
import pytest
from scipy.signal import fftconvolve
from starfield import moffat_stamp
from warps import affine_warp, turned

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.imaging import noise
from dbpipe.imaging.convolve import KernelField, convolve
from dbpipe.imaging.psf.homogenize import match_psf, moffat_beta, moffat_psf


def moffat(fwhm_pix, **shape):
    stamp = moffat_stamp(fwhm_pix, size=41, **shape)
    return stamp / stamp.sum()


def second_moment(stamp):
    u = np.arange(stamp.shape[0]) - stamp.shape[0] // 2
    return np.sum(stamp * u[None, :] ** 2) / stamp.sum()


def to_model(psf, fwhm_pix, beta=None):
    return match_psf(psf, moffat_psf(fwhm_pix, beta, psf.shape[0]), kernel_size_pix=31)


@pytest.mark.parametrize(("fwhm_pix", "e1"), [(3.6, 0.0), (4.2, 0.1), (4.6, -0.05)])
@pytest.mark.parametrize("beta", [None, 3.5])
def test_the_matched_psf_is_the_model(fwhm_pix, e1, beta):
    """A Moffat star, round or not, convolved with its kernel is the model PSF to 1% rms."""
    psf = moffat(fwhm_pix, e1=e1)
    fit = to_model(psf, 4.85, beta)
    model = moffat_psf(4.85, beta, 41)
    difference = (fftconvolve(psf, fit.kernel, mode="same") - model)[5:-5, 5:-5]
    assert np.sqrt(np.sum(difference**2) / np.sum(model**2)) < 0.01
    assert fit.residual < 0.01
    assert fit.kernel.sum() == pytest.approx(1.0, abs=1e-12)
    assert fit.noise_gain == pytest.approx(np.sum(fit.kernel**2))


def test_widths_add_in_quadrature():
    """The kernel between two Gaussians is the Gaussian that adds the difference of the squared widths."""
    fit = to_model(moffat_psf(3.5, None, 41), 5.5)
    assert second_moment(fit.kernel) == pytest.approx((5.5**2 - 3.5**2) / FWHM_PER_SIGMA**2, rel=0.01)
    np.testing.assert_allclose(fit.kernel, moffat_psf(np.sqrt(5.5**2 - 3.5**2), None, 31), atol=2e-4)


def test_sharpening_shows_in_the_numbers():
    """The more an exposure must be sharpened, the more negative its kernel is and the noisier the result."""
    fits = [to_model(moffat_psf(f, 4.0, 41), 4.85, 4.0) for f in (4.0, 5.2, 6.5)]
    assert fits[0].negative < 0.1 < 1.0 < fits[2].negative
    assert fits[0].noise_gain < fits[1].noise_gain < fits[2].noise_gain


@pytest.mark.parametrize("beta", [2.5, 3.0, 4.765, 8.0])
def test_the_wings_are_told_by_the_effective_area(beta):
    """FWHM and effective area of a Moffat profile give its beta back; those of a Gaussian give none."""
    psf = moffat_psf(6.0, beta, 401)
    assert moffat_beta(6.0, 1.0 / np.sum(psf**2)) == pytest.approx(beta, rel=0.02)
    gaussian = moffat_psf(6.0, None, 101)
    assert moffat_beta(6.0, 1.0 / np.sum(gaussian**2)) is None
    assert np.sum(gaussian[50]) / gaussian[50, 50] == pytest.approx(6.0 * np.sqrt(np.pi / (4 * np.log(2))), rel=1e-3)


def test_noise_of_a_homogenized_warp_is_as_predicted():
    """Variance and lag-1 correlation of white noise, warped and matched, equal the product of the powers to 2%."""
    matrix = turned(20.0, 1.05)
    white = np.random.default_rng(1).normal(size=(1000, 1000)).astype(np.float32)
    warped = affine_warp(white, matrix, origin=(500, 500), shape=(640, 640))
    kernel = to_model(moffat(4.0), 4.85).kernel
    matched = convolve(warped.image, KernelField(kernel[None, None], 1024))[20:-20, 20:-20].astype(float)
    power = noise.interpolation_power(96, matrix) * noise.kernel_power(kernel, 96)
    stamp = noise.autocovariance(power, 1)
    assert matched.var() == pytest.approx(power.mean(), rel=0.02)
    assert np.mean(matched[:, 1:] * matched[:, :-1]) == pytest.approx(stamp[1, 2], abs=0.02 * stamp[1, 1])
