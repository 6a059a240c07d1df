"""Point-source fits on difference images."""

import numpy as np
import pytest
from point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions, noise_image

from dbpipe.imaging.mask import BAD
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.sources.forced_fit import joint_flux
from dbpipe.imaging.sources.point_fit import fit_point_sources

FWHM, SIGMA = 4.0, 10.0


def simulate(snr, *, pair=None, shape=(1000, 1000), step=40, seed=1):
    rng = np.random.default_rng(seed)
    image, variance, mask = noise_image(rng, shape, SIGMA)
    x, y = grid_positions(rng, shape, step)
    if pair is not None:
        x, y = np.concatenate([x, x + pair[0]]), np.concatenate([y, y + pair[1]])
    flux = flux_of_snr(snr, SIGMA, FWHM)
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, flux, FWHM)
    return image, variance, mask, x, y, flux


def splines(n):
    return np.repeat(spline_coefficients(gaussian_psf(31, FWHM)[None]), n, axis=0)


def fit(image, variance, mask, x, y):
    return fit_point_sources(
        image, variance, mask, psf_spline=splines(len(x)), x=np.round(x), y=np.round(y), radius_pix=2.5 * FWHM
    )


@pytest.mark.parametrize("snr", [-20.0, 20.0, 300.0])
def test_pulls_are_normal(snr):
    """Fluxes and positions scatter about the truth by their errors, for either sign."""
    *planes, x, y, flux = simulate(snr)
    result = fit(*planes, x, y)
    assert result.converged.all()
    n = len(x)
    pulls = {
        "flux": (result.flux - flux * (1 + snr**-2.0)) / result.flux_err,
        "x": (result.x - x) / result.x_err,
        "y": (result.y - y) / result.y_err,
    }
    for name, pull in pulls.items():
        assert abs(np.mean(pull)) < 4 / np.sqrt(n), name
        assert abs(np.std(pull) - 1) < 4 / np.sqrt(2 * n), name
    assert np.mean(result.chi2 / (result.n_pix - 3)) == pytest.approx(1.0, abs=0.01)


def test_bias_at_low_snr_is_one_over_snr_squared():
    """Fitting the position makes sources of S/N 7 brighter by 2%: no less, and not much more."""
    *planes, x, y, flux = simulate(7.0, shape=(2000, 2000), step=36)
    result = fit(*planes, x, y)
    good = result.converged
    assert good.mean() > 0.995
    assert np.mean(result.flux[good]) / flux - 1 == pytest.approx(7.0**-2, abs=0.012)


@pytest.mark.parametrize("separation_fwhm", [1.0, 1.5, 2.0])
def test_close_pairs_are_both_right(separation_fwhm):
    """Of two sources one to two FWHM apart each has its own flux and place, with honest errors."""
    shift = np.array([0.8, 0.6]) * separation_fwhm * FWHM
    *planes, x, y, flux = simulate(20.0, pair=shift, step=60)
    result = fit(*planes, x, y)
    assert result.converged.all()
    n = len(x)
    pull = (result.flux - flux * (1 + 20.0**-2)) / result.flux_err
    assert abs(np.mean(pull)) < 4 / np.sqrt(n)
    assert abs(np.std(pull) - 1) < 4 / np.sqrt(2 * n)
    assert abs(np.std((result.x - x) / result.x_err) - 1) < 4 / np.sqrt(2 * n)


def test_joint_fit_is_the_least_squares_solution():
    """Fluxes of an isolated pair equal those of one dense least-squares fit of both."""
    from scipy.optimize import least_squares

    rng = np.random.default_rng(3)
    image, variance, mask = noise_image(rng, (60, 60), SIGMA)
    truth = np.array([[4000.0, 28.2, 29.7], [2500.0, 33.1, 31.0]])
    for flux, x, y in truth:
        add_source(image, x, y, flux, FWHM, size=41)
    result = fit(image, variance, mask, truth[:, 1], truth[:, 2])

    def residual(p):
        model = np.zeros_like(image, dtype=float)
        for flux, x, y in p.reshape(2, 3):
            add_source(model, x, y, flux, FWHM, size=41)
        return ((image - model) / SIGMA).ravel()

    dense = least_squares(residual, truth.ravel())
    error = np.sqrt(np.diag(np.linalg.inv(dense.jac.T @ dense.jac))).reshape(2, 3)
    dense = dense.x.reshape(2, 3)
    # the fit looks at a circle per source, the dense one at all pixels: they may differ by little noise
    assert np.abs((result.flux - dense[:, 0]) / error[:, 0]).max() < 0.15
    assert np.abs((result.x - dense[:, 1]) / error[:, 1]).max() < 0.15
    np.testing.assert_allclose(result.flux_err, error[:, 0], rtol=0.03)


def test_masked_pixels_do_not_count():
    """A wild value under the mask changes nothing."""
    image, variance, mask = noise_image(np.random.default_rng(2), (60, 60), SIGMA)
    add_source(image, 30.2, 29.9, 5000.0, FWHM)
    mask[31, 30] = BAD
    before = fit(image, variance, mask, [30.0], [30.0])
    image[31, 30] = 1e6
    after = fit(image, variance, mask, [30.0], [30.0])
    assert before.flux[0] == after.flux[0]
    assert before.n_pix[0] == after.n_pix[0] < np.pi * 101


def test_no_pixels_is_a_failed_fit():
    """A source on pixels that are all masked has no flux, and says that it failed."""
    image, variance, mask = noise_image(np.random.default_rng(2), (60, 60), SIGMA)
    mask[:] = BAD
    result = fit(image, variance, mask, [30.0], [30.0])
    assert not result.converged[0] and np.isnan(result.flux[0]) and result.n_pix[0] == 0
    flux, flux_err = joint_flux(image, variance, mask, psf_spline=splines(1), x=[30.0], y=[30.0], radius_pix=10)
    assert np.isnan(flux[0]) and np.isnan(flux_err[0])


def test_nothing_to_fit():
    """No source in, no source out."""
    image, variance, mask = noise_image(np.random.default_rng(2), (30, 30), SIGMA)
    assert len(fit(image, variance, mask, np.zeros(0), np.zeros(0)).flux) == 0


def test_forced_flux_has_no_bias():
    """At a known position the flux is unbiased even at S/N 3, and its pulls are normal."""
    *planes, x, y, flux = simulate(3.0, step=30)
    measured, error = joint_flux(*planes, psf_spline=splines(len(x)), x=x, y=y, radius_pix=2.5 * FWHM)
    pull = (measured - flux) / error
    assert abs(np.mean(pull)) < 4 / np.sqrt(len(x))
    assert abs(np.std(pull) - 1) < 4 / np.sqrt(2 * len(x))
    assert np.median(error) == pytest.approx(flux / 3.0, rel=0.02)


@pytest.mark.parametrize("snr", [5.0, 7.0, 12.0])
def test_debiased_flux_has_no_bias_of_the_position(snr):
    """A fitted position raises the S/N q by about 1 / q; the factor sqrt(1 - 2 / q_fit^2) takes that away."""
    image, variance, mask = noise_image(np.random.default_rng(31), (2000, 2000), 10.0)
    x, y = grid_positions(np.random.default_rng(32), image.shape, 30)
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, flux_of_snr(snr, 10.0, 4.0), 4.0, size=25)
    spline = np.repeat(spline_coefficients(gaussian_psf(31, 4.0)[None]), len(x), axis=0)
    fit = fit_point_sources(image, variance, mask, psf_spline=spline, x=x, y=y, radius_pix=10.0)
    q = (fit.flux / fit.flux_err)[fit.converged]
    debiased = q * np.sqrt(np.maximum(1 - 2 / q**2, 0))
    assert fit.converged.mean() > 0.98
    assert np.mean(q) - snr == pytest.approx(1 / snr, abs=0.06)
    assert np.mean(debiased) == pytest.approx(snr, abs=0.06)
