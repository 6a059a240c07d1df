"""Verdicts and apertures on difference images."""

import numpy as np
import pytest
from point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions, noise_image

from dbpipe.imaging.mask import BAD, SATURATED
from dbpipe.imaging.mask_near import mask_bits
from dbpipe.imaging.psf.shapes import adaptive_moments, psf_size
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.settings import Splitting
from dbpipe.imaging.sources import verdicts
from dbpipe.imaging.sources.peaks import Peaks
from dbpipe.imaging.sources.point_fit import fit_point_sources

FWHM, SIGMA = 4.0, 10.0
PSF = gaussian_psf(31, FWHM)


def splines(n, psf=PSF):
    return np.repeat(spline_coefficients(psf[None]), n, axis=0)


def unlike(image, variance, mask, x, y, beneath=np.nan):
    fit = fit_point_sources(image, variance, mask, psf_spline=splines(len(x)), x=x, y=y, radius_pix=10.0)
    ixx, iyy, _ = adaptive_moments(image, mask, x=fit.x, y=fit.y, sigma_pix=1.7, radius_pix=10.0)
    settings = {"psf_trace_pix2": psf_size(PSF).trace_pix2, "isolation_pix": 10.0, "model_error": 0.15}
    return verdicts.unlike_point_source(fit, ixx, iyy, flux_beneath=np.full(len(x), beneath), **settings)


def test_psf_size_is_the_fwhm():
    """The FWHM of a Gaussian is measured to 1%, pixel included."""
    assert psf_size(PSF).fwhm_pix == pytest.approx(2.3548 * np.sqrt((4 / 2.3548) ** 2 + 1 / 12), rel=0.01)


@pytest.mark.parametrize("snr", [6.0, 50.0, 500.0])
@pytest.mark.parametrize("true_fwhm", [4.0, 4.12])
def test_point_sources_look_like_point_sources(snr, true_fwhm):
    """Under 1% of point sources fail the shape test, even when the PSF model is 3% too narrow."""
    rng = np.random.default_rng(1)
    image, variance, mask = noise_image(rng, (1000, 1000), SIGMA)
    x, y = grid_positions(rng, image.shape, 40)
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, flux_of_snr(snr, SIGMA, FWHM), true_fwhm)
    assert unlike(image, variance, mask, np.round(x), np.round(y)).mean() < 0.01


def test_hot_pixels_do_not():
    """Single pixels of a score above 6 fail the shape test, all of them."""
    rng = np.random.default_rng(1)
    image, variance, mask = noise_image(rng, (600, 600), SIGMA)
    x, y = (np.round(p) for p in grid_positions(rng, image.shape, 40))
    image[y.astype(int), x.astype(int)] += SIGMA * np.linspace(20, 200, len(x)).astype(np.float32)
    assert unlike(image, variance, mask, x, y).all()


def test_neighbors_are_not_judged():
    """Two hot pixels closer than the isolation spoil each other's fit, and neither is called anything."""
    image, variance, mask = noise_image(np.random.default_rng(4), (100, 100), SIGMA)
    x, y = np.array([30.0, 38.0, 70.0]), np.array([50.0, 50.0, 50.0])
    image[50, x.astype(int)] += 100 * SIGMA
    assert unlike(image, variance, mask, x, y).tolist() == [False, False, True]


def test_a_bright_source_beneath_is_an_excuse():
    """A poor fit on top of a star far brighter may be the star's; on empty sky it is a poor fit."""
    image, variance, mask = noise_image(np.random.default_rng(5), (100, 100), SIGMA)
    add_source(image, 50, 50, flux_of_snr(60, SIGMA, FWHM), 1.6 * FWHM)
    at = (np.array([50.0]), np.array([50.0]))
    beneath = (np.nan, 100 * flux_of_snr(60, SIGMA, FWHM))
    assert [unlike(image, variance, mask, *at, beneath=b)[0] for b in beneath] == [True, False]


def test_aperture_flux_is_the_flux():
    """The corrected aperture flux is that of the source, with normal pulls."""
    rng = np.random.default_rng(2)
    image, variance, mask = noise_image(rng, (1000, 1000), SIGMA)
    x, y = grid_positions(rng, image.shape, 40)
    flux = flux_of_snr(100, SIGMA, FWHM)
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, flux, FWHM)
    measured, error = verdicts.aperture_flux(image, variance, mask, psf=PSF, x=x, y=y, radius_pix=6.0)
    pull = (measured - flux) / error
    assert abs(np.mean(measured) / flux - 1) < 0.003
    assert abs(np.std(pull) - 1) < 4 / np.sqrt(2 * len(x))
    place = {"x": np.array([2.0]), "y": np.array([500.0])}
    edge, _ = verdicts.aperture_flux(image, variance, mask, psf=PSF, **place, radius_pix=6.0)
    assert np.isnan(edge[0])


def test_a_peak_that_a_brighter_source_explains_is_dropped():
    """A second peak on the flank of a bright source goes; a real neighbor stays."""
    image, variance, mask = noise_image(np.random.default_rng(3), (100, 100), SIGMA)
    for x, snr in ((30, 300), (70, 100), (78, 30)):
        add_source(image, x, 50, flux_of_snr(snr, SIGMA, FWHM), FWHM)
    peaks = Peaks(np.array([30, 70, 33, 78]), np.array([50, 50, 52, 50]), np.array([300.0, 100.0, 60.0, 30.0]))
    settings = {"radius_pix": 10.0, "fwhm_pix": FWHM, "threshold": 4.0, "splitting": Splitting()}
    peak, score, fit = verdicts.fit_peaks(image, variance, mask, peaks=peaks, psf_spline=splines(4), **settings)
    assert peak.tolist() == [0, 1, 3] and score.tolist() == [300, 100, 30]
    np.testing.assert_allclose(np.abs(fit.flux) / fit.flux_err, [300, 100, 30], rtol=0.1)


def test_mask_bits_are_those_in_reach():
    """Bits count within the radius, not beyond, and positions at the edge are fine."""
    mask = np.zeros((50, 60), np.uint16)
    mask[20, 23], mask[20, 30], mask[0, 0] = SATURATED, BAD, BAD
    bits = mask_bits(mask, [20.0, 20.0, 0.0], [20.0, 30.0, 1.0], radius_pix=3.2)
    assert bits.tolist() == [SATURATED, 0, BAD]


def test_near_edge_on_every_side():
    """Each of the four sides counts, the middle does not."""
    x, y = np.array([3.0, 96.0, 50.0, 50.0, 50.0]), np.array([40.0, 40.0, 3.0, 76.0, 40.0])
    assert verdicts.near_edge((80, 100), x, y, margin_pix=5).tolist() == [True, True, True, True, False]


def test_bright_star_residuals_are_small_parts_of_bright_stars():
    """A difference of 0.5% beside a bright star is a residual; of 5%, far from it or beside a faint star it is not."""
    star_x, star_y, star_flux = np.array([50.0, 200.0]), np.array([50.0, 200.0]), np.array([1e5, 1e3])
    x, y = np.array([52.0, 50.0, 50.0, 90.0, 200.0]), np.full(5, 50.0)
    y[4] = 200.0
    flux = np.array([500.0, -500.0, 5000.0, 500.0, 500.0])
    stars = {"star_x": star_x, "star_y": star_y, "star_flux": star_flux}
    result = verdicts.residual_of_star(x, y, flux, **stars, fwhm_pix=FWHM, fraction=0.01)
    assert result.tolist() == [True, True, False, False, False]
