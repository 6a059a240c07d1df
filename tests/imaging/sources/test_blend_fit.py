"""The equations of a few point sources that share their pixels."""

import numpy as np
import pytest
from point_sources import gaussian_psf, noise_image

from dbpipe.imaging.mask import BAD
from dbpipe.imaging.psf.spline import render, spline_coefficients
from dbpipe.imaging.sources.blend_fit import cut_box, point_equations, subtract_models

STATE = np.array([[500.0, 30.2, 29.7], [-80.0, 33.9, 31.1], [60.0, 27.5, 28.0]])


@pytest.mark.parametrize("m", [1, 2, 3])
def test_equations_are_those_of_the_whole_design(m):
    """Normal matrix, gradient and chi2 are products of the full design matrix, unseen pixels included with weight 0."""
    planes = noise_image(np.random.default_rng(3), (60, 60), 5.0)
    planes[2][31, 30] = BAD
    spline, state = spline_coefficients(np.repeat(gaussian_psf(31, 4.0)[None], m, axis=0)), STATE[:m].copy()
    box = cut_box(planes, state[:, 1], state[:, 2], 10.0)
    design, model = [], np.zeros_like(box.data)
    for k, (flux, x, y) in enumerate(state):
        psf, psf_x, psf_y = render(spline[k], x, y, box.left, box.bottom, len(box.data))
        design += [psf.ravel(), flux * psf_x.ravel(), flux * psf_y.ravel()]
        model += flux * psf
    weighted, residual = np.array(design) * box.weight.ravel(), (box.data - model).ravel()
    normal, gradient, chi2 = point_equations(*box, spline, state)
    np.testing.assert_allclose(normal, weighted @ np.array(design).T, rtol=1e-9, atol=1e-9 * np.abs(normal).max())
    np.testing.assert_allclose(gradient, weighted @ residual, rtol=1e-9, atol=1e-9 * np.abs(gradient).max())
    assert chi2 == pytest.approx(np.sum(box.weight.ravel() * residual**2), rel=1e-12)
    subtract_models(box, spline, state, range(m))
    np.testing.assert_allclose(box.data.ravel(), residual, atol=1e-9)


def test_a_box_holds_all_circles():
    """Each member's circle has its weights, pixels of none and those off the image have none."""
    image, variance, mask = noise_image(np.random.default_rng(3), (60, 60), 5.0)
    x, y = np.array([3.0, 9.4, 30.0]), np.array([2.0, 4.4, 5.0])
    box = cut_box((image, variance, mask), x, y, 5.0)
    v, u = np.indices(box.data.shape)
    column, row = u + box.left, v + box.bottom
    near = [np.hypot(column - np.floor(a + 0.5), row - np.floor(b + 0.5)) <= 5.0 for a, b in zip(x, y, strict=True)]
    seen = np.any(near, axis=0) & (column >= 0) & (row >= 0)
    assert ((box.weight > 0) == seen).all()
    assert (box.data[seen] == image[row[seen], column[seen]]).all()
