"""Shifting a PSF by splines."""

import numpy as np
import pytest
from point_sources import gaussian_psf

from dbpipe.imaging.mask import BAD
from dbpipe.imaging.psf.spline import cholesky_invert, cut_stamp, render, spline_coefficients


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.3, -0.4), (0.5, 0.5), (-1.7, 2.2)])
def test_shift_keeps_the_flux_and_moves_the_centroid(shift):
    """A shifted PSF has the flux it had, and its centroid moves by the shift."""
    coefficients = spline_coefficients(gaussian_psf(31, 4.0)[None])[0]
    psf, _, _ = render(coefficients, 40 + shift[0], 50 + shift[1], 20, 30, 41)
    y, x = np.mgrid[:41, :41]
    assert psf.sum() == pytest.approx(1.0, abs=1e-6)
    assert (psf * x).sum() - 20 == pytest.approx(shift[0], abs=1e-4)
    assert (psf * y).sum() - 20 == pytest.approx(shift[1], abs=1e-4)


@pytest.mark.parametrize(("fwhm", "tolerance"), [(2.5, 1e-2), (3.0, 2e-3), (4.0, 5e-4)])
def test_shifted_psf_is_the_true_one(fwhm, tolerance):
    """The shifted samples equal the PSF that falls on the shifted grid, to a fraction of its peak."""
    coefficients = spline_coefficients(gaussian_psf(31, fwhm)[None])[0]
    psf, _, _ = render(coefficients, 15.5, 14.6, 0, 0, 31)
    truth = gaussian_psf(31, fwhm, 0.5, -0.4)
    assert np.abs(psf - truth).max() < tolerance * truth.max()


def test_derivatives_are_those_of_the_model():
    """The derivatives agree with differences of shifted PSFs."""
    coefficients = spline_coefficients(gaussian_psf(31, 3.5)[None])[0]
    _, psf_x, psf_y = render(coefficients, 15.2, 14.9, 0, 0, 31)
    step = 1e-4
    right, left = (render(coefficients, 15.2 + d, 14.9, 0, 0, 31)[0] for d in (step, -step))
    up, down = (render(coefficients, 15.2, 14.9 + d, 0, 0, 31)[0] for d in (step, -step))
    np.testing.assert_allclose(psf_x, (right - left) / (2 * step), atol=1e-6)
    np.testing.assert_allclose(psf_y, (up - down) / (2 * step), atol=1e-6)


def test_bad_pixels_have_no_weight():
    """Masked, NaN, zero-variance and outside pixels count for nothing."""
    image, variance, mask = (
        np.ones((20, 20), np.float32),
        np.full((20, 20), 4, np.float32),
        np.zeros((20, 20), np.uint16),
    )
    mask[3, 3], image[4, 4], variance[5, 5] = BAD, np.nan, 0
    data, weight = cut_stamp(image, variance, mask, -2, -2, 8.0)
    assert (weight[5, 5], weight[6, 6], weight[7, 7], weight[1, 8]) == (0, 0, 0, 0)
    assert weight[8, 8] == 0.25 and data[8, 8] == 1 and np.isfinite(data).all()


def test_small_matrices_are_inverted():
    """The compiled inverse is NumPy's, and a singular matrix is refused."""
    a = np.random.default_rng(1).normal(size=(6, 9))
    inverse, solved = cholesky_invert(a @ a.T)
    assert solved
    np.testing.assert_allclose(inverse, np.linalg.inv(a @ a.T), rtol=1e-8)
    assert not cholesky_invert(np.ones((3, 3)))[1]
