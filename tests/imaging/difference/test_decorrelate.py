"""The whitening filter on noise of known power."""

import numpy as np
import pytest
from point_sources import gaussian_psf
from scipy.signal import fftconvolve

from dbpipe.imaging import noise
from dbpipe.imaging.convolve import convolve
from dbpipe.imaging.difference.decorrelate import FFT_SIZE, spread, whiten_field
from dbpipe.imaging.difference.score_image import blank_statistics, score_image

SIZE, S_SIGMA, T_SIGMA = 900, 28.0, 12.0
KERNEL = gaussian_psf(25, 3.0)
COLOR = gaussian_psf(15, 2.5)
"""What made the template's noise smooth."""
PSF = gaussian_psf(41, 4.0) / gaussian_psf(41, 4.0).sum()


def whiten(convolved):
    power = noise.kernel_power(COLOR, FFT_SIZE)
    return whiten_field(
        KERNEL[None, None],
        PSF[None, None],
        science_variance=np.full((1, 1), S_SIGMA**2),
        template_variance=np.full((1, 1), T_SIGMA**2),
        template_noise=noise.uniform_noise(power / power.mean(), (1, 1)),
        convolved=convolved,
        filter_size_pix=31,
        block_pix=2048,
    )


def noise_difference(convolved):
    """Return noise like that of S - K * T or K * S - T."""
    rng = np.random.default_rng(1)
    science = rng.normal(0, S_SIGMA, (SIZE, SIZE))
    template = fftconvolve(rng.normal(size=(SIZE, SIZE)), COLOR, mode="same")
    template *= T_SIGMA / np.sqrt(np.sum(COLOR**2))
    if convolved == "template":
        return (science - fftconvolve(template, KERNEL, mode="same")).astype(np.float32)
    return (fftconvolve(science, KERNEL, mode="same") - template).astype(np.float32)


@pytest.fixture(scope="module", params=["template", "science"])
def whitened(request):
    """The filter of one direction, and noise that went through it, edges cut off."""
    whitening = whiten(request.param)
    raw = noise_difference(request.param)
    return request.param, whitening, raw, convolve(raw, whitening.filter)[40:-40, 40:-40]


def test_the_noise_is_white(whitened):
    """Adjacent pixels of S - K * T are uncorrelated to 1%; of K * S - T only as far as the PSF sees."""
    convolved, _, raw, white = whitened
    everywhere = np.ones(white.shape, bool)
    before = blank_statistics(white, raw[40:-40, 40:-40], everywhere)[1]
    after = blank_statistics(white, white, everywhere)[1]
    if convolved == "template":
        assert abs(after) < 0.01 < abs(before)
    else:
        assert after < 0.7 * before


def test_the_score_has_unit_width(whitened):
    """The variance claimed makes the matched filter's noise 1.00 +- 0.01 in both directions."""
    _, whitening, _, white = whitened
    variance = whitening.science_gain[0, 0] * S_SIGMA**2 + whitening.template_gain[0, 0] * T_SIGMA**2
    score = score_image(
        white, np.full(white.shape, variance, np.float32), np.zeros(white.shape, bool), whitening.psf
    ).score
    assert np.std(score[20:-20, 20:-20]) == pytest.approx(1.0, abs=0.01)


def test_fluxes_stay_fluxes(whitened):
    """The PSF of the result has unit sum and is what a point source of flux 1 becomes."""
    convolved, whitening, _, _ = whitened
    image = np.zeros((161, 161), np.float32)
    image[60:101, 60:101] = PSF
    if convolved == "science":
        image = fftconvolve(image, KERNEL, mode="same").astype(np.float32)
    result = convolve(image, whitening.filter)[60:101, 60:101]
    psf = whitening.psf.kernels[0, 0]
    assert psf.sum() == pytest.approx(1.0, abs=1e-5)
    assert np.abs(result - psf).max() < 2e-3 * psf.max()


def test_white_noise_needs_no_filter():
    """Without noise in the template the filter is the identity and the variance is that of the science image."""
    whitening = whiten_field(
        KERNEL[None, None],
        PSF[None, None],
        science_variance=np.full((1, 1), 100.0),
        template_variance=np.zeros((1, 1)),
        template_noise=noise.uniform_noise(np.ones((FFT_SIZE, FFT_SIZE)), (1, 1)),
        convolved="template",
        filter_size_pix=31,
        block_pix=128,
    )
    expected = np.zeros((31, 31))
    expected[15, 15] = 1.0
    np.testing.assert_allclose(whitening.filter.kernels[0, 0], expected, atol=1e-4)
    assert whitening.science_gain[0, 0] == pytest.approx(1.0, abs=1e-4)


def test_blocks_are_spread_over_the_image():
    """Every pixel has the value of its block."""
    image = spread(np.array([[1.0, 2.0], [3.0, 4.0]]), (5, 6), 3)
    assert image[2, 2] == 1 and image[2, 3] == 2 and image[3, 0] == 3 and image[4, 5] == 4


def test_a_science_image_that_was_resampled_is_whitened_too():
    """With the science image's own noise power in the filter, its correlation goes and the score has unit width."""
    tap = np.array([[0.02, 0.1, 0.02], [0.1, 0.9, 0.1], [0.02, 0.1, 0.02]])
    power = noise.kernel_power(tap, FFT_SIZE)
    whitening = whiten_field(
        KERNEL[None, None],
        PSF[None, None],
        science_variance=np.full((1, 1), S_SIGMA**2),
        template_variance=np.zeros((1, 1)),
        template_noise=noise.uniform_noise(np.ones((FFT_SIZE, FFT_SIZE)), (1, 1)),
        science_power=power / power.mean(),
        convolved="template",
        filter_size_pix=31,
        block_pix=2048,
    )
    power_of_score = []
    for seed in range(4):  # one field knows the width to 0.5% only
        raw = fftconvolve(np.random.default_rng(seed).normal(size=(SIZE, SIZE)), tap, mode="same")
        raw *= S_SIGMA / np.sqrt(np.sum(tap**2))
        white = convolve(raw.astype(np.float32), whitening.filter)[40:-40, 40:-40]
        everywhere = np.ones(white.shape, bool)
        assert abs(blank_statistics(white, white, everywhere)[1]) < 0.01
        variance = np.full(white.shape, whitening.science_gain[0, 0] * S_SIGMA**2, np.float32)
        score = score_image(white, variance, ~everywhere, whitening.psf).score
        power_of_score.append(np.mean(score[20:-20, 20:-20] ** 2))
    assert np.sqrt(np.mean(power_of_score)) == pytest.approx(1.0, abs=0.01)
