"""Companions of fitted sources on difference images."""

import numpy as np
import pytest
from point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions, noise_image

from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.settings import Splitting
from dbpipe.imaging.sources import verdicts
from dbpipe.imaging.sources.peaks import find_peaks, score_response

FWHM, SIGMA, SIZE = 4.0, 10.0, 31
PSF = gaussian_psf(SIZE, FWHM)


def detect(image, variance, mask):
    """Peaks, fits and companions, as the detect stage makes them."""
    score = np.fft.irfft2(np.fft.rfft2(image) * np.conj(np.fft.rfft2(PSF, image.shape)), image.shape)
    score = np.roll(score, (SIZE // 2, SIZE // 2), (0, 1)) / (SIGMA * np.sqrt(np.sum(PSF**2)))
    peaks = find_peaks(score.astype(np.float32), mask, response=score_response(PSF))
    spline = np.repeat(spline_coefficients(PSF[None]), len(peaks.x), axis=0)
    settings = {"radius_pix": 2.5 * FWHM, "fwhm_pix": FWHM, "threshold": 4.0, "splitting": Splitting()}
    return verdicts.fit_peaks(image, variance, mask, peaks=peaks, psf_spline=spline, **settings)


def fits_within(fit, x, y, radius_pix):
    """How many rows each place has."""
    return np.array([np.sum(np.hypot(fit.x - u, fit.y - v) < radius_pix) for u, v in zip(x, y, strict=True)])


@pytest.mark.parametrize("snr", [10.0, 50.0, 300.0])
@pytest.mark.parametrize("true_fwhm", [3.88, 4.0, 4.12])
def test_point_sources_stay_single(snr, true_fwhm):
    """None of 529 isolated sources is split, with a PSF model that is right, or wrong by 3%."""
    image, variance, mask = noise_image(np.random.default_rng(4), (1000, 1000), SIGMA)
    x, y = grid_positions(np.random.default_rng(5), image.shape, 40)
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, flux_of_snr(snr, SIGMA, FWHM), true_fwhm)
    _, _, fit = detect(image, variance, mask)
    assert np.all(fits_within(fit, x, y, 1.5 * FWHM) == 1)


@pytest.mark.parametrize(
    ("separation_fwhm", "snr", "ratio"),
    [(0.6, 60.0, 1.0), (0.7, 50.0, -0.8), (0.8, 30.0, 0.6), (0.8, 12.0, -1.0), (1.0, 20.0, -0.4), (1.2, 60.0, 1.0)],
)
def test_close_pairs_become_two(separation_fwhm, snr, ratio):
    """Pairs that make one peak, of like or opposite sign, become two rows, with honest fluxes, errors and scores."""
    image, variance, mask = noise_image(np.random.default_rng(6), (600, 600), SIGMA)
    rng = np.random.default_rng(7)
    x, y = grid_positions(rng, image.shape, 50)
    angle = rng.uniform(0, 2 * np.pi, len(x))
    x2, y2 = x + separation_fwhm * FWHM * np.cos(angle), y + separation_fwhm * FWHM * np.sin(angle)
    flux = flux_of_snr(snr, SIGMA, FWHM)
    for k in range(len(x)):
        add_source(image, x[k], y[k], flux, FWHM)
        add_source(image, x2[k], y2[k], ratio * flux, FWHM)
    _, score, fit = detect(image, variance, mask)
    both = fits_within(fit, x, y, 2.5 * FWHM) == 2
    assert both.mean() > 0.9
    pull = []
    for k in np.flatnonzero(both):
        for u, v, true in ((x[k], y[k], flux), (x2[k], y2[k], ratio * flux)):
            j = np.argmin(np.hypot(fit.x - u, fit.y - v) + 100.0 * (fit.flux * true < 0))
            assert score[j] * np.sign(true) > 4.0
            pull.append((fit.flux[j] - true) / fit.flux_err[j])
    assert 1.4826 * np.median(np.abs(pull)) < 1.4


def test_three_in_a_blend_are_three():
    """A blend of three that two sources do not explain is found all the same."""
    image, variance, mask = noise_image(np.random.default_rng(8), (100, 100), SIGMA)
    truth = [(50.2, 50.1, -26.0), (54.1, 52.3, -22.0), (52.4, 46.6, -15.0)]
    for x, y, snr in truth:
        add_source(image, x, y, flux_of_snr(2 * snr, SIGMA, FWHM), FWHM)
    _, _, fit = detect(image, variance, mask)
    assert fits_within(fit, [52.0], [50.0], 2.0 * FWHM) == 3
    for x, y, _ in truth:
        assert np.hypot(fit.x - x, fit.y - y).min() < 0.5


def test_hot_pixels_are_not_blends():
    """A hit of one or two pixels stays one row: no set of point sources fits it."""
    image, variance, mask = noise_image(np.random.default_rng(9), (400, 400), SIGMA)
    rows, columns = np.mgrid[40:380:40, 40:380:40].reshape(2, -1)
    image[rows, columns] += np.linspace(300, 5000, len(rows)).astype(np.float32)
    image[rows, columns + 1] += np.linspace(200, 2000, len(rows)).astype(np.float32)
    _, _, fit = detect(image, variance, mask)
    assert np.all(fits_within(fit, columns, rows, 2.0 * FWHM) <= 1)


def test_no_peak_is_no_source():
    """An empty image has no companions."""
    image, variance, mask = (np.zeros((60, 60), dtype) for dtype in (np.float32, np.float32, np.uint16))
    peak, score, fit = detect(image, variance + 1, mask)
    assert len(peak) == len(score) == len(fit.x) == 0
