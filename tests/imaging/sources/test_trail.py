"""Trails of fast movers against point sources."""

import numpy as np
import pytest
from point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions, noise_image

from dbpipe.imaging.psf.shapes import adaptive_moments, gaussian_moments
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.settings import Trailing
from dbpipe.imaging.sources.point_fit import fit_point_sources
from dbpipe.imaging.sources.trail import find_trails

FWHM, SIGMA, SIZE = 4.0, 10.0, 41
PSF = gaussian_psf(SIZE, FWHM)


def add_trail(image, x, y, flux, length, angle_deg, n=40):
    """Add a trail as many point sources: an independent model."""
    for t in (np.arange(n) + 0.5) / n - 0.5:
        dx, dy = length * t * np.cos(np.radians(angle_deg)), length * t * np.sin(np.radians(angle_deg))
        add_source(image, x + dx, y + dy, flux / n, FWHM)


def fit(image, variance, mask, x, y, psf=PSF):
    spline = np.repeat(spline_coefficients(psf[None]), len(x), axis=0)
    points = fit_point_sources(image, variance, mask, psf_spline=spline, x=np.round(x), y=np.round(y), radius_pix=10.0)
    moments = np.stack(adaptive_moments(image, mask, x=points.x, y=points.y, sigma_pix=FWHM / 2.355, radius_pix=10.0))
    return find_trails(
        image, variance, mask, psf_spline=spline, fit=points, moments=moments.T,
        psf_moments=np.array(gaussian_moments(psf)), radius_pix=10.0, fwhm_pix=FWHM, trailing=Trailing(),
    )[0]  # fmt: skip


@pytest.mark.parametrize(("length_fwhm", "snr"), [(1.25, 50.0), (1.5, 30.0), (2.0, -20.0)])
def test_trails_are_measured(length_fwhm, snr):
    """Length, angle, flux and midpoint of trails are unbiased and their errors honest."""
    rng = np.random.default_rng(1)
    image, variance, mask = noise_image(rng, (1000, 1000), SIGMA)
    x, y = grid_positions(rng, image.shape, 60)
    angle, length, flux = rng.uniform(-90, 90, len(x)), length_fwhm * FWHM, flux_of_snr(snr, SIGMA, FWHM)
    for k in range(len(x)):
        add_trail(image, x[k], y[k], flux, length, angle[k])
    result = fit(image, variance, mask, x, y)
    assert len(result.source) > 0.95 * len(x)
    assert result.is_trail.mean() > 0.95
    t = result.take(result.is_trail)
    turn = (t.angle_deg - angle[t.source] + 90) % 180 - 90
    pulls = {
        "flux": (t.flux - flux) / t.flux_err,
        "length": (t.length_pix - length) / t.length_err_pix,
        "x": (t.x - x[t.source]) / t.x_err,
        "y": (t.y - y[t.source]) / t.y_err,
    }
    for name, pull in pulls.items():
        assert abs(np.mean(pull)) < 0.35, name
        assert 0.85 < np.std(pull) < 1.2, name
    assert abs(np.mean(turn)) < 4 * np.std(turn) / np.sqrt(len(turn))
    assert np.mean(t.chi2 / t.n_pix) == pytest.approx(1.0, abs=0.02)
    assert np.mean(t.flux) == pytest.approx(flux, rel=0.01)
    assert np.mean(t.length_pix) == pytest.approx(length, rel=0.03)


@pytest.mark.parametrize("snr", [8.0, 20.0, 300.0])
@pytest.mark.parametrize("true_fwhm", [3.88, 4.0, 4.12])
def test_points_are_no_trails(snr, true_fwhm):
    """None of 1000 point sources is called a trail, with a PSF model that is right, or wrong by 3%."""
    rng = np.random.default_rng(2)
    image, variance, mask = noise_image(rng, (1000, 1000), SIGMA)
    x, y = grid_positions(rng, image.shape, 30)
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, flux_of_snr(snr, SIGMA, FWHM), true_fwhm, size=21)
    assert not fit(image, variance, mask, x, y).is_trail.any()
