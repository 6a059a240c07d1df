"""What is expected of noise, against noise."""

import numpy as np
import pytest
from noise_survey import expect
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.imaging.psf.homogenize import moffat_psf


def test_kaiser_and_the_exact_rate_agree_for_a_gaussian():
    """The PSF of which Kaiser's formula speaks gives the same number by way of the correlation function."""
    expected = expect(moffat_psf(4.0, None, 41))
    np.testing.assert_allclose(expected.continuous, expected.kaiser, rtol=0.01)
    sigma = 4.0 / FWHM_PER_SIGMA
    # 66 per square degree at 0.8 arcsec and 5 sigma (DMTN-006)
    assert expected.kaiser[2] == pytest.approx(5.0 * np.exp(-12.5) / (2**2.5 * np.pi**1.5 * sigma**2), rel=1e-3)
    assert expected.kaiser[2] * (3600.0 / 0.2) ** 2 == pytest.approx(66.0, abs=1.0)


def test_sampled_peaks_are_those_that_noise_has():
    """Maxima of filtered white noise are as many as expected, within the Poisson error."""
    psf = moffat_psf(3.5, 3.5, 41)
    noise = np.random.default_rng(6).normal(size=(2400, 2400))
    score = fftconvolve(noise, psf / np.sqrt(np.sum(psf**2)), mode="valid")
    for nu, rate in zip((3.0, 3.5), expect(psf, (3.0, 3.5)).sampled, strict=True):
        found = np.sum((score == maximum_filter(score, 3)) & (score >= nu))
        assert found == pytest.approx(rate * score.size, abs=3.0 * np.sqrt(rate * score.size))
