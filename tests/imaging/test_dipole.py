"""Dipoles against single sources."""

import numpy as np
import pytest
from imaging.point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions, noise_image

from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.dipole import fit_dipoles, is_dipole
from dbpipe.imaging.psf_spline import spline_coefficients
from dbpipe.imaging.score import score_image

FWHM, SIGMA = 4.0, 10.0


def fit(image, variance, mask, x, y, model_fwhm=FWHM):
    psf = gaussian_psf(31, model_fwhm).astype(np.float32)
    field = KernelField(psf[None, None], 10**6)
    score = score_image(image, variance, mask != 0, field).score
    spline = np.repeat(spline_coefficients(psf[None]), len(x), axis=0)
    settings = {"radius_pix": 2.5 * FWHM, "reach_pix": 1.5 * FWHM}
    return fit_dipoles(image, variance, mask, score=score, psf_spline=spline, x=x, y=y, **settings)


def flagged(result, flux_beneath=0.0):
    beneath = np.full(len(result.n_pix), flux_beneath)
    return is_dipole(result, flux_beneath=beneath, psf_fwhm_pix=FWHM)


@pytest.mark.parametrize("separation_fwhm", [0.5, 0.75])
def test_dipoles_are_measured(separation_fwhm):
    """Both lobes of a moved star are found with their flux, distance and direction."""
    rng = np.random.default_rng(1)
    image, variance, mask = noise_image(rng, (800, 800), SIGMA)
    x, y = grid_positions(rng, image.shape, 50)
    flux, half = flux_of_snr(100, SIGMA, FWHM), 0.5 * separation_fwhm * FWHM
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v + half, flux, FWHM)
        add_source(image, u, v - half, -flux, FWHM)
    result = fit(image, variance, mask, np.round(x), np.round(y + half))
    assert flagged(result).mean() > 0.99
    assert np.median(result.separation_pix) == pytest.approx(2 * half, rel=0.03)
    assert np.median(result.angle_deg) == pytest.approx(90.0, abs=1.0)
    assert np.median(result.mean_flux) == pytest.approx(flux, rel=0.03)
    assert np.mean(result.chi2 / result.n_pix) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("snr", [7.0, -30.0, 300.0])
@pytest.mark.parametrize("model_fwhm", [FWHM, 1.03 * FWHM])
def test_lone_sources_are_no_dipoles(snr, model_fwhm):
    """Fewer than 0.5% of lone sources are called dipoles, of any S/N, even with a PSF model 3% too wide."""
    rng = np.random.default_rng(2)
    image, variance, mask = noise_image(rng, (1000, 1000), SIGMA)
    x, y = grid_positions(rng, image.shape, 40)
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, flux_of_snr(snr, SIGMA, FWHM), FWHM)
    assert flagged(fit(image, variance, mask, np.round(x), np.round(y), model_fwhm)).mean() < 0.005


def test_two_distant_sources_are_no_dipole():
    """A rise and a fall two FWHM apart are two sources."""
    image, variance, mask = noise_image(np.random.default_rng(3), (80, 80), SIGMA)
    flux = flux_of_snr(50, SIGMA, FWHM)
    add_source(image, 36, 40, flux, FWHM)
    add_source(image, 36 + 2 * FWHM, 40, -flux, FWHM)
    assert not flagged(fit(image, variance, mask, np.array([36.0, 44.0]), np.array([40.0, 40.0]))).any()


def test_unequal_lobes_are_no_dipole():
    """A transient of ten times the flux of a negative residual beside it is not called a dipole."""
    image, variance, mask = noise_image(np.random.default_rng(3), (80, 80), SIGMA)
    flux = flux_of_snr(200, SIGMA, FWHM)
    add_source(image, 40, 40, flux, FWHM)
    add_source(image, 43, 40, -0.1 * flux, FWHM)
    assert not flagged(fit(image, variance, mask, np.array([40.0]), np.array([40.0]))).any()


@pytest.mark.parametrize(("fraction", "is_one"), [(0.02, True), (0.3, False), (1.0, True)])
def test_flux_beneath_tells_dipoles_from_two_variables(fraction, is_one):
    """A few per cent of the flux beneath is misregistration, all of it a moved star; a part of it is two variables."""
    image, variance, mask = noise_image(np.random.default_rng(3), (80, 80), SIGMA)
    flux = flux_of_snr(50, SIGMA, FWHM)
    add_source(image, 38.4, 40, flux, FWHM)
    add_source(image, 41.8, 40, -0.8 * flux, FWHM)
    result = fit(image, variance, mask, np.array([38.0]), np.array([40.0]))
    assert flagged(result, flux / fraction).tolist() == [is_one]
