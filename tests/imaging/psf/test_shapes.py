"""Adaptive second moments."""

import numpy as np
import pytest
from point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions, noise_image

from dbpipe.imaging.mask import BAD
from dbpipe.imaging.psf.shapes import adaptive_moments, gaussian_moments


def test_moments_of_an_elliptical_gaussian():
    """A Gaussian has the second moments that it was made with, whatever its sign."""
    y, x = np.mgrid[:61, :61] - 30.0
    covariance = np.array([[6.0, 1.5], [1.5, 4.0]])
    inverse = np.linalg.inv(covariance)
    image = -500 * np.exp(-0.5 * (inverse[0, 0] * x * x + 2 * inverse[0, 1] * x * y + inverse[1, 1] * y * y))
    moments = adaptive_moments(
        image.astype(np.float32), np.zeros(image.shape, np.uint16), x=[30.0], y=[30.0], sigma_pix=1.7, radius_pix=20
    )
    np.testing.assert_allclose(np.ravel(moments), [6.0, 4.0, 1.5], rtol=2e-3)


def test_moments_of_faint_sources_are_unbiased():
    """Noise at S/N 20 scatters the moments about those of the PSF, without a bias above 3%."""
    rng = np.random.default_rng(1)
    image, _, mask = noise_image(rng, (1000, 1000), 10.0)
    x, y = grid_positions(rng, image.shape, 40)
    for u, v in zip(x, y, strict=True):
        add_source(image, u, v, flux_of_snr(20, 10.0, 4.0), 4.0)
    ixx, iyy, ixy = adaptive_moments(image, mask, x=x, y=y, sigma_pix=1.7, radius_pix=10)
    expected, same, cross = gaussian_moments(gaussian_psf(31, 4.0))
    assert expected == pytest.approx((4 / 2.3548) ** 2 + 1 / 12, rel=1e-3) and same == pytest.approx(expected)
    assert np.isfinite(ixx).mean() > 0.99
    assert np.nanmedian(ixx) == pytest.approx(expected, rel=0.03)
    assert np.nanmedian(iyy) == pytest.approx(expected, rel=0.03)
    assert abs(np.nanmedian(ixy) - cross) < 0.03 * expected


def test_no_moments_on_bad_pixels_or_on_nothing():
    """A source on a bad pixel, and a place where there is nothing, have no moments."""
    image, mask = np.zeros((60, 60), np.float32), np.zeros((60, 60), np.uint16)
    add_source(image, 20, 20, 1000.0, 4.0)
    mask[20, 21] = BAD
    ixx, _, _ = adaptive_moments(image, mask, x=[20.0, 50.0], y=[20.0, 50.0], sigma_pix=1.7, radius_pix=8)
    assert np.isnan(ixx).all()
