"""Light is put where it belongs, all of it."""

import numpy as np
import pytest

from dbpipe.simulate.camera.psf import Psf, shear_covariance
from dbpipe.simulate.camera.render import add_sources

SHAPE = (121, 131)
CENTER = 60.3, 59.6
PIXEL_ARCSEC = 0.2


def _psf(fwhm_pix, beta=4.2):
    return Psf(fwhm_pix, beta, g1=(0.03, 0.0, 0.0), g2=(-0.02, 0.0, 0.0), fwhm_slope=(0.0, 0.0))


def _drawn(psf, flux_e=1e5):
    image = np.zeros(SHAPE)
    add_sources(image, [CENTER[0]], [CENTER[1]], [flux_e], psf)
    return image


@pytest.mark.parametrize("fwhm_pix", [3.25, 4.0, 5.5])
def test_a_star_keeps_its_flux_and_place(fwhm_pix):
    """The flux in the image is that of the star to 0.1%, its centroid that of the star to 2 mas."""
    image = _drawn(_psf(fwhm_pix))
    y, x = np.indices(SHAPE)
    total = image.sum()
    assert total == pytest.approx(1e5, rel=1e-3)
    assert abs((image * x).sum() / total - CENTER[0]) * PIXEL_ARCSEC < 0.002
    assert abs((image * y).sum() / total - CENTER[1]) * PIXEL_ARCSEC < 0.002


@pytest.mark.parametrize("fwhm_pix", [3.25, 4.5])
def test_the_profile_is_a_moffat_integrated_over_square_pixels(fwhm_pix):
    """Summed Gaussians agree with 6x6-point Gauss-Legendre integration of the Moffat formula, to 0.3% of the peak.

    The tolerance is the square pixel's fourth cumulant, which the Gaussian pixel of the simulator lacks.
    """
    psf = _psf(fwhm_pix)
    alpha = fwhm_pix / (2.0 * np.sqrt(2.0 ** (1.0 / psf.beta) - 1.0))
    xx, xy, yy = shear_covariance(psf.g1[0], psf.g2[0])
    node, weight = np.polynomial.legendre.leggauss(6)
    y, x = np.indices(SHAPE)
    expected = np.zeros(SHAPE)
    for node_y, weight_y in zip(node / 2, weight / 2, strict=True):
        for node_x, weight_x in zip(node / 2, weight / 2, strict=True):
            dx, dy = x + node_x - CENTER[0], y + node_y - CENTER[1]
            radius2 = yy * dx**2 - 2.0 * xy * dx * dy + xx * dy**2
            expected += weight_x * weight_y * (1.0 + radius2 / alpha**2) ** -psf.beta
    expected *= 1e5 * (psf.beta - 1.0) / (np.pi * alpha**2)
    np.testing.assert_allclose(_drawn(psf), expected, rtol=0, atol=3e-3 * expected.max())


def test_the_stated_widths_are_those_of_the_image():
    """FWHM, moments' FWHM and effective area of the truth tables are what the drawn star has."""
    psf = Psf(4.0, 4.2, g1=(0.0, 0.0, 0.0), g2=(0.0, 0.0, 0.0), fwhm_slope=(0.0, 0.0))
    image = np.zeros((121, 121))
    add_sources(image, [60.0], [60.0], [1.0], psf, faintest_e=1e-9)
    widths = psf.central_widths()
    assert image.sum() ** 2 / np.sum(image**2) == pytest.approx(widths.effective_area_pix, rel=1e-4)
    row = image[60, 60:] / image[60, 60]
    assert 2.0 * np.interp(-0.5, -row, np.arange(len(row))) == pytest.approx(widths.fwhm_pix, rel=0.01)
    y, x = np.indices(image.shape) - 60.0
    sigma2 = (widths.fwhm_det_pix / 2.3548) ** 2
    weighted = image * np.exp(-0.5 * (x**2 + y**2) / sigma2)
    assert 2.0 * (weighted * x**2).sum() / weighted.sum() == pytest.approx(sigma2, rel=1e-3)


def test_photutils_measures_the_flux_that_was_put_in():
    """An independent aperture code finds the light of a star inside a wide aperture."""
    aperture = pytest.importorskip("photutils.aperture")
    image = _drawn(_psf(3.6))
    table = aperture.aperture_photometry(image, aperture.CircularAperture([CENTER], r=50.0))
    assert table["aperture_sum"][0] == pytest.approx(1e5, rel=1e-3)


def test_an_extended_source_is_wider_by_its_own_size_squared():
    """Second moments add: PSF and source in quadrature."""
    psf = Psf(3.5, 4.8, g1=(0.0, 0.0, 0.0), g2=(0.0, 0.0, 0.0), fwhm_slope=(0.0, 0.0))
    images = np.zeros((2, *SHAPE))
    add_sources(images[0], [CENTER[0]], [CENTER[1]], [1e6], psf)
    own = np.array([[[6.0, 1.5, 3.0]]])
    add_sources(images[1], [CENTER[0]], [CENTER[1]], [1e6], psf, shape_weight=np.ones((1, 1)), shape_covariance=own)
    y, x = np.indices(SHAPE)
    near = (x - CENTER[0]) ** 2 + (y - CENTER[1]) ** 2 < 55.0**2
    xx = [(np.where(near, image, 0) * (x - CENTER[0]) ** 2).sum() / image.sum() for image in images]
    yy = [(np.where(near, image, 0) * (y - CENTER[1]) ** 2).sum() / image.sum() for image in images]
    assert xx[1] - xx[0] == pytest.approx(6.0, rel=0.01)
    assert yy[1] - yy[0] == pytest.approx(3.0, rel=0.01)
