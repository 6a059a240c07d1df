"""Dipoles: displaced static sources against transients and against pairs of variables."""

import numpy as np
import pytest
from point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions

from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.difference.score_image import score_image
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.settings import DipoleLimits
from dbpipe.imaging.sources.dipole import find_static_sources, fit_dipoles, is_dipole, second_lobes

FWHM, SIGMA = 4.0, 10.0
SCIENCE_SIGMA, TEMPLATE_SIGMA = 0.9 * SIGMA, np.sqrt(0.19) * SIGMA
SHAPE = (500, 500)


def flux_of(snr):
    return flux_of_snr(snr, SIGMA, FWHM)


def noise_images(seed, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return [rng.normal(0.0, s, shape).astype(np.float32) for s in (SCIENCE_SIGMA, TEMPLATE_SIGMA)]


def fit(science, template, x, y, model_fwhm=FWHM):
    """Fit dipoles at places on the difference of two images of the same PSF."""
    shape = science.shape
    mask = np.zeros(shape, np.uint16)
    variance = [np.full(shape, s**2, np.float32) for s in (SIGMA, SCIENCE_SIGMA, TEMPLATE_SIGMA)]
    psf = gaussian_psf(31, model_fwhm).astype(np.float32)
    difference = science - template
    score = score_image(difference, variance[0], mask != 0, KernelField(psf[None, None], 10**6)).score
    spline = np.repeat(spline_coefficients(psf[None]), len(x), axis=0)
    settings = {"psf_spline": spline, "radius_pix": 2.5 * FWHM}
    tried, middle_x, middle_y = second_lobes(score, x, y, reach_pix=1.5 * FWHM)
    static = find_static_sources(
        (science, variance[1]),
        (template, variance[2]),
        mask,
        x=middle_x,
        y=middle_y,
        chosen=tried,
        fwhm_pix=FWHM,
        **settings,
    )
    return fit_dipoles(
        difference, variance[0], mask, score=score, x=x, y=y, reach_pix=1.5 * FWHM, static=static, **settings
    )


def flagged(result, shift_pix=None):
    return is_dipole(result, psf_fwhm_pix=FWHM, shift_pix=shift_pix, limits=DipoleLimits())


@pytest.mark.parametrize(("shift_pix", "snr"), [(0.1, 1000.0), (0.3, 300.0), (2.0, 60.0), (3.0, 60.0)])
def test_displaced_static_sources_are_dipoles(shift_pix, snr):
    """A star that is off, or moved, is a dipole, with its flux, its displacement and errors that are not too small."""
    science, template = noise_images(1)
    x, y = grid_positions(np.random.default_rng(2), SHAPE, 50)
    for u, v in zip(x, y, strict=True):
        add_source(science, u, v + 0.5 * shift_pix, flux_of(snr), FWHM)
        add_source(template, u, v - 0.5 * shift_pix, flux_of(snr), FWHM)
    result = fit(science, template, np.round(x), np.round(y + 2.0))
    assert flagged(result).mean() > 0.97
    assert np.median(result.shift_pix) == pytest.approx(shift_pix, rel=0.04)
    assert np.median(result.science_flux) == pytest.approx(flux_of(snr), rel=0.03)
    assert np.median(result.template_flux) == pytest.approx(flux_of(snr), rel=0.03)
    assert np.median(result.chi2_static / result.n_pix) == pytest.approx(1.0, abs=0.03)
    assert np.std((result.shift_pix - shift_pix) / result.shift_err_pix) < 1.2  # a tenth of the flux is allowed for


@pytest.mark.parametrize("snr", [7.0, -30.0, 300.0])
@pytest.mark.parametrize("model_fwhm", [FWHM, 1.03 * FWHM])
def test_lone_sources_are_no_dipoles(snr, model_fwhm):
    """Fewer than 0.5% of lone sources are called dipoles, of any S/N, even with a PSF model 3% too wide."""
    science, template = noise_images(3)
    x, y = grid_positions(np.random.default_rng(4), SHAPE, 40)
    for u, v in zip(x, y, strict=True):
        add_source(science if snr > 0 else template, u, v, flux_of(abs(snr)), FWHM)
    assert flagged(fit(science, template, np.round(x), np.round(y), model_fwhm)).mean() < 0.005


@pytest.mark.parametrize("snr", [6.0, 30.0])
@pytest.mark.parametrize(("offset_pix", "shift_pix"), [(0.0, 0.02), (1.0, 0.0), (2.5, 0.02)])
def test_transients_in_bright_hosts_are_no_dipoles(snr, offset_pix, shift_pix):
    """Of transients in hosts of S/N 300, up to 0.6 FWHM off the nucleus, at most 1% are called dipoles, even if
    the host is off by 0.02 pixels."""
    science, template = noise_images(5)
    x, y = grid_positions(np.random.default_rng(6), SHAPE, 40)
    for u, v in zip(x, y, strict=True):
        add_source(science, u, v + shift_pix, flux_of(300), FWHM)
        add_source(template, u, v, flux_of(300), FWHM)
        add_source(science, u + offset_pix, v, flux_of(snr), FWHM)
    assert flagged(fit(science, template, np.round(x + offset_pix), np.round(y))).mean() <= 0.01


def test_two_distant_sources_are_no_dipole():
    """A rise and a fall two FWHM apart are two sources."""
    science, template = noise_images(7, (80, 80))
    add_source(science, 36, 40, flux_of(50), FWHM)
    add_source(template, 36 + 2 * FWHM, 40, flux_of(50), FWHM)
    assert not flagged(fit(science, template, np.array([36.0, 44.0]), np.array([40.0, 40.0]))).any()


@pytest.mark.parametrize("separation_fwhm", [0.8, 1.0])
def test_two_variables_are_no_dipole(separation_fwhm):
    """Two stars of which one rises and one falls by 30%, resolved in the difference, are no displaced star."""
    science, template = noise_images(8)
    x, y = grid_positions(np.random.default_rng(9), SHAPE, 50)
    for u, v in zip(x, y, strict=True):
        for image, parts in ((science, (1.3, 1.0)), (template, (1.0, 1.3))):
            add_source(image, u, v, parts[0] * flux_of(200), FWHM)
            add_source(image, u + separation_fwhm * FWHM, v, parts[1] * flux_of(200), FWHM)
    assert flagged(fit(science, template, np.round(x), np.round(y))).mean() < 0.02


def test_known_misregistration_forgives_a_poor_fit():
    """Where the image is known to be off by as much, a displaced galaxy is a dipole though it is no point source."""
    science, template = noise_images(10)
    x, y = grid_positions(np.random.default_rng(11), SHAPE, 50)
    for u, v in zip(x, y, strict=True):
        add_source(science, u + 0.3, v, flux_of(400), 1.3 * FWHM)
        add_source(template, u, v, flux_of(400), 1.3 * FWHM)
    result = fit(science, template, np.round(x + 2), np.round(y))
    assert flagged(result, shift_pix=0.3).mean() > 0.95
