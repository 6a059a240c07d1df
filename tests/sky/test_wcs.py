import numpy as np
import pytest
from astropy.wcs import WCS, Sip

from dbpipe.errors import DataError
from dbpipe.sky.sphere import separation_deg
from dbpipe.sky.wcs import (
    check_celestial,
    corners,
    local_affine,
    pixel_map,
    pixel_scale_arcsec,
    pixel_to_sky,
    sky_to_pixel,
    tan_wcs,
)

SCALE = 0.2 / 3600.0
SHAPE = (1000, 1200)


def rotated_cd(angle_deg, *, scale=SCALE, mirror=-1.0):
    """Return the matrix of a camera turned by an angle."""
    a = np.radians(angle_deg)
    return scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([mirror, 1.0])


def distorted(ra=53.0, dec=-27.4, *, angle_deg=30.0, radial_pix=5.0, center=(599.5, 499.5)):
    """Return a TAN-SIP WCS whose radial and quadratic distortion at 1000 px from the center is ``radial_pix``."""
    wcs = tan_wcs(ra, dec, crpix=center, cd=rotated_cd(angle_deg))
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0] = a[1, 2] = b[0, 3] = b[2, 1] = radial_pix / 1000.0**3
    a[2, 0], b[1, 1] = 0.3 * radial_pix / 1000.0**2, -0.2 * radial_pix / 1000.0**2
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


@pytest.mark.parametrize("ra, dec", [(53.0, -27.4), (0.001, 10.0), (120.0, 89.99), (120.0, -90.0)])
def test_sky_to_pixel_undoes_pixel_to_sky(ra, dec):
    """A pixel survives the way to the sky and back to a millionth, with distortion, at RA 0 and at the poles."""
    wcs = distorted(ra, dec)
    x, y = np.random.default_rng(1).uniform(-50, 1250, (2, 30, 5))
    back = sky_to_pixel(wcs, *pixel_to_sky(wcs, x, y))
    assert back[0].shape == (30, 5)
    np.testing.assert_allclose(back, [x, y], atol=1e-6)


def test_inverse_agrees_with_astropy():
    """The inverse is that of astropy's own iteration, to a micro-pixel."""
    wcs = distorted()
    ra, dec = pixel_to_sky(wcs, np.array([3.0, 900.0, 1100.0]), np.array([5.0, 100.0, 950.0]))
    np.testing.assert_allclose(sky_to_pixel(wcs, ra, dec), wcs.all_world2pix(ra, dec, 0, tolerance=1e-9), atol=1e-6)


def test_inverse_is_quiet_far_away():
    """A direction behind the projection or far outside the distortion is NaN, and the others are right all the same."""
    wcs = distorted(radial_pix=200.0)
    x, y = sky_to_pixel(wcs, [233.0, 53.0, 58.0, np.nan], [27.4, -27.4, -30.0, 0.0])
    assert np.isnan(x[[0, 2, 3]]).all() and np.isnan(y[[0, 2, 3]]).all()
    np.testing.assert_allclose([x[1], y[1]], [599.5, 499.5], atol=1e-6)


def test_tan_wcs_puts_the_tangent_point_at_crpix():
    """The 0-based reference pixel is the tangent point."""
    wcs = tan_wcs(10.0, 20.0, crpix=(7.0, -3.0), cd=rotated_cd(0.0))
    np.testing.assert_allclose(pixel_to_sky(wcs, 7.0, -3.0), (10.0, 20.0), atol=1e-12)
    ra, dec = pixel_to_sky(wcs, 7.0, 97.0)
    assert dec - 20.0 == pytest.approx(100 * SCALE, rel=1e-6)


def test_corners_go_around_the_outer_edge():
    """The corners are the outer corners of the corner pixels, lower left first, then lower right."""
    wcs = tan_wcs(10.0, 20.0, crpix=(0.0, 0.0), cd=rotated_cd(0.0))
    x, y = sky_to_pixel(wcs, *corners(wcs, SHAPE))
    np.testing.assert_allclose(x, [-0.5, 1199.5, 1199.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(y, [-0.5, -0.5, 999.5, 999.5], atol=1e-6)


@pytest.mark.parametrize("mirror", [-1.0, 1.0])
@pytest.mark.parametrize("dec", [-90.0, 0.0, 65.0])
def test_scale_is_that_of_the_matrix(mirror, dec):
    """The pixel scale does not depend on rotation, handedness or place on the sky."""
    wcs = tan_wcs(10.0, dec, crpix=(599.5, 499.5), cd=rotated_cd(77.0, mirror=mirror))
    assert pixel_scale_arcsec(wcs, SHAPE) == pytest.approx(0.2, rel=1e-7)


def test_pixel_map_is_good_to_two_thousandths():
    """Bilinear interpolation between nodes 32 px apart is right to 0.002 px for a distorted, rotated image."""
    wcs_in, wcs_out = distorted(radial_pix=2.0), tan_wcs(53.4, -27.1, crpix=(-6000.0, -5000.0), cd=rotated_cd(0.0))
    start = np.floor(np.array(sky_to_pixel(wcs_out, *pixel_to_sky(wcs_in, 600.0, 500.0)))) - 400
    wcs_out = tan_wcs(53.4, -27.1, crpix=(-6000.0, -5000.0) - start, cd=rotated_cd(0.0))
    nodes = pixel_map(wcs_out, wcs_in, (801, 790))
    assert nodes.x.shape == (27, 26) and nodes.x.dtype == np.float64
    x, y = np.random.default_rng(2).uniform(0, [[789], [800]], (2, 5000))
    exact = sky_to_pixel(wcs_in, *pixel_to_sky(wcs_out, x, y))
    assert np.abs(np.array(nodes.at(x, y)) - exact).max() < 0.002


def test_local_affine_is_the_derivative():
    """The matrix takes a small step in one image to the step in the other; its determinant is the ratio of areas."""
    wcs_from = distorted(angle_deg=200.0)
    wcs_to = tan_wcs(53.0, -27.4, crpix=(0.0, 0.0), cd=rotated_cd(0.0, scale=2 * SCALE))
    matrix = local_affine(wcs_from, wcs_to, np.array([100.0, 900.0]), np.array([200.0, 300.0]))
    assert matrix.shape == (2, 2, 2)
    before = np.array(sky_to_pixel(wcs_to, *pixel_to_sky(wcs_from, 100.0, 200.0)))
    after = np.array(sky_to_pixel(wcs_to, *pixel_to_sky(wcs_from, 100.5, 199.7)))
    np.testing.assert_allclose(matrix[0] @ [0.5, -0.3], after - before, atol=1e-5)
    assert np.linalg.det(matrix[0]) == pytest.approx(0.25, rel=0.02)
    assert local_affine(wcs_from, wcs_to, 100.0, 200.0).shape == (2, 2)


def test_other_projections_are_read():
    """An FK5 header with CDELT and CROTA is celestial, and its pixels go to the sky and back."""
    header = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 250.0, "CRVAL2": 62.0, "CRPIX1": 500.0, "CRPIX2": 500.0,
        "CDELT1": -1e-4, "CDELT2": 1e-4, "CROTA2": 12.0, "EQUINOX": 2000.0,
    }  # fmt: skip
    wcs = WCS(header)
    check_celestial(wcs)
    ra, dec = pixel_to_sky(wcs, 499.0, 499.0)
    assert separation_deg(ra, dec, 250.0, 62.0) < 1e-10


@pytest.mark.parametrize(
    "ctype, radesys, message",
    [
        (["GLON-TAN", "GLAT-TAN"], "", "not a map"),
        (["LINEAR", "LINEAR"], "", "not a map"),
        (["DEC--TAN", "RA---TAN"], "ICRS", "before right"),
        (["RA---TAN", "DEC--TAN"], "FK4", "neither ICRS"),
    ],
)
def test_what_is_not_ra_and_dec_is_refused(ctype, radesys, message):
    """A WCS of other axes or of B1950 stops the unit with its numbers."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.radesys = ctype, radesys
    wcs.wcs.cdelt = [-1e-4, 1e-4]
    with pytest.raises(DataError, match=message):
        check_celestial(wcs)
