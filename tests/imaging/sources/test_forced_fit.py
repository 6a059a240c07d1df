"""Fluxes at known places."""

import numpy as np
import pytest
from point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions, noise_image

from dbpipe.imaging.mask import BAD
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.sources.forced_fit import find_groups, joint_flux

FWHM, SIGMA = 4.0, 10.0
RADIUS = 2.5 * FWHM


def splines(n):
    return np.repeat(spline_coefficients(gaussian_psf(31, FWHM)[None]), n, axis=0)


def measure(planes, x, y):
    return joint_flux(*planes, psf_spline=splines(len(x)), x=x, y=y, group=find_groups(x, y, RADIUS), radius_pix=RADIUS)


@pytest.mark.parametrize("snr", [0.0, 3.0, -40.0])
def test_alone_its_pulls_are_normal(snr):
    """A source without neighbors: no bias, also on blank sky, and errors as claimed; groups of one change nothing."""
    rng = np.random.default_rng(4)
    planes = noise_image(rng, (1000, 1000), SIGMA)
    x, y = grid_positions(rng, (1000, 1000), 30)
    flux = flux_of_snr(snr, SIGMA, FWHM)
    for u, v in zip(x, y, strict=True):
        add_source(planes[0], u, v, flux, FWHM)
    measured, error = measure(planes, x, y)
    single, single_error = joint_flux(*planes, psf_spline=splines(len(x)), x=x, y=y, radius_pix=RADIUS)
    np.testing.assert_allclose(measured, single, rtol=1e-12)
    np.testing.assert_allclose(error, single_error, rtol=1e-12)
    pull = (measured - flux) / error
    assert abs(np.mean(pull)) < 4 / np.sqrt(len(x))
    assert abs(np.std(pull) - 1) < 4 / np.sqrt(2 * len(x))


@pytest.mark.parametrize("separation_fwhm", [0.4, 0.75, 1.0, 2.0])
def test_images_of_a_lens_are_told_apart(separation_fwhm):
    """One of two close images that varies leaves the other's flux alone: no bias, errors as large as the scatter."""
    rng = np.random.default_rng(5)
    planes = noise_image(rng, (1200, 1200), SIGMA)
    x, y = grid_positions(rng, (1200, 1200), 60)
    n = len(x)
    x, y = np.append(x, x + 0.8 * separation_fwhm * FWHM), np.append(y, y + 0.6 * separation_fwhm * FWHM)
    flux = np.repeat([flux_of_snr(50.0, SIGMA, FWHM), 0.0], n)
    for u, v, f in zip(x, y, flux, strict=True):
        add_source(planes[0], u, v, f, FWHM)
    measured, error = measure(planes, x, y)
    for part in (slice(0, n), slice(n, None)):
        pull = ((measured - flux) / error)[part]
        assert abs(np.mean(pull)) < 4 / np.sqrt(n)
        assert abs(np.std(pull) - 1) < 4 / np.sqrt(2 * n)


def test_the_joint_fit_is_the_dense_least_squares_solution():
    """Fluxes and errors of five blended sources are those of numpy's least squares over the whole image."""
    rng = np.random.default_rng(6)
    image, variance, mask = noise_image(rng, (70, 70), SIGMA)
    variance *= rng.uniform(0.5, 2.0, variance.shape).astype(np.float32)
    x, y = np.array([30.2, 33.4, 36.1, 31.0, 38.8]), np.array([30.9, 32.2, 35.3, 36.4, 38.1])
    mask[33, 30:34] = BAD
    design = np.zeros((5, 70, 70))
    for k in range(5):
        add_source(design[k], x[k], y[k], 1.0, FWHM, size=31)
        image += (k * 500.0 * design[k]).astype(np.float32)
    root = np.where(mask == 0, 1 / np.sqrt(variance), 0.0).ravel()
    dense = np.linalg.lstsq((design.reshape(5, -1) * root).T, image.ravel() * root, rcond=None)[0]
    covariance = np.linalg.inv((design.reshape(5, -1) * root**2) @ design.reshape(5, -1).T)
    measured, error = measure((image, variance, mask), x, y)
    # the fit sees a circle of 2.5 FWHM, numpy every pixel
    np.testing.assert_allclose(measured, dense, atol=0.02 * error.max())
    np.testing.assert_allclose(error, np.sqrt(np.diag(covariance)), rtol=1e-3)


def test_a_group_alone_gives_the_numbers_it_gives_among_all():
    """Bit by bit the same, whatever else is measured."""
    rng = np.random.default_rng(7)
    planes = noise_image(rng, (400, 400), SIGMA)
    x, y = rng.uniform(20, 380, (2, 120))
    group = find_groups(x, y, RADIUS)
    flux, flux_err = measure(planes, x, y)
    assert np.bincount(group).max() > 2
    for g in range(group.max() + 1):
        mine = group == g
        alone = measure(planes, x[mine], y[mine])
        assert np.array_equal(alone[0], flux[mine]) and np.array_equal(alone[1], flux_err[mine])


def test_what_has_no_pixels_spoils_no_neighbor():
    """A member of a group on masked pixels has no flux; the others are fitted as if it were not there."""
    image, variance, mask = noise_image(np.random.default_rng(8), (60, 60), SIGMA)
    mask[:, 30:] = BAD
    x, y = np.array([18.0, 27.0, 35.0, 44.0]), np.full(4, 30.0)
    flux, flux_err = measure((image, variance, mask), x, y)
    assert np.isfinite(flux[:3]).all() and np.isnan(flux[3]) and np.isnan(flux_err[3])
    assert np.array_equal(flux[:3], measure((image, variance, mask), x[:3], y[:3])[0])


def test_nothing_to_measure():
    """No place in, no flux out."""
    planes = noise_image(np.random.default_rng(2), (30, 30), SIGMA)
    assert len(measure(planes, np.zeros(0), np.zeros(0))[0]) == 0
