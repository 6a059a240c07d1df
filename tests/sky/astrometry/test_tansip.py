import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS, Sip

from dbpipe.sky.astrometry.tansip import Plate, monomials, plate_from_wcs, powers, wcs_from_plate
from dbpipe.sky.sphere import separation_deg
from dbpipe.sky.wcs import pixel_to_sky, sky_to_pixel, tan_wcs

SHAPE = (1024, 900)
CD = 5.5e-5 * np.array([[-0.8, -0.6], [-0.6, 0.8]])


def distorted_plate(degree=3, *, size_pix=2.0):
    """Return a plate with distortion terms of up to ``size_pix`` at the edge."""
    rng = np.random.default_rng(degree)
    coefficients = 5.5e-5 * size_pix * rng.uniform(-0.5, 0.5, (2, len(powers(degree))))
    coefficients[:, 0], coefficients[:, 1:3] = 0.0, CD * 512.0
    return Plate(53.0, -27.4, (449.5, 511.5), 512.0, coefficients)


def grid():
    """Return positions over the image, edges included."""
    y, x = np.mgrid[-0.5 : SHAPE[0] - 0.5 : 9j, -0.5 : SHAPE[1] - 0.5 : 9j]
    return x.ravel(), y.ravel()


def test_monomials_follow_powers():
    """Terms come by increasing total degree, the constant first."""
    assert powers(2) == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    np.testing.assert_allclose(monomials(2.0, 3.0, 2), [1, 2, 3, 4, 6, 9])


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_wcs_shows_the_sky_of_its_plate(degree):
    """The TAN-SIP WCS puts every pixel where the plate does, to a micro-arcsecond, and so does its header text."""
    plate = distorted_plate(degree)
    wcs = wcs_from_plate(plate, SHAPE)
    x, y = grid()
    for seen in (wcs, WCS(fits.Header.fromstring(wcs.to_header(relax=True).tostring()))):
        plane = plate.project(*pixel_to_sky(seen, x, y))
        assert np.abs(plane - plate.plane(x, y)).max() * 3.6e9 < 1.0
    assert wcs.wcs.radesys == "ICRS"
    assert list(wcs.wcs.ctype) == (["RA---TAN", "DEC--TAN"] if degree == 1 else ["RA---TAN-SIP", "DEC--TAN-SIP"])


@pytest.mark.parametrize("degree", [2, 3, 4])
def test_inverse_polynomials_invert(degree):
    """AP and BP, which other programs use, lead back to the pixel within 0.01 px over the whole image."""
    wcs = wcs_from_plate(distorted_plate(degree), SHAPE)
    x, y = grid()
    back = wcs.sip_foc2pix(*wcs.sip_pix2foc(x, y, 0), 0)
    assert np.abs(np.array(back) - [x, y]).max() < 0.01


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_plate_from_wcs_finds_the_degree(degree):
    """The plate of a TAN-SIP WCS is the one it was made from, and no more complicated."""
    plate = distorted_plate(degree)
    found = plate_from_wcs(wcs_from_plate(plate, SHAPE), SHAPE)
    assert found.degree == degree
    np.testing.assert_allclose(found.coefficients, plate.coefficients, atol=1e-10)


def test_plate_of_an_outer_detector_recenters():
    """A detector half a degree off the tangent point gets a plate about its own center, good to 0.002 px."""
    wcs = tan_wcs(10.0, 89.0, crpix=(9000.0, -3000.0), cd=CD)
    plate = plate_from_wcs(wcs, SHAPE)
    x, y = grid()
    error = np.hypot(*(plate.plane(x, y) - plate.project(*pixel_to_sky(wcs, x, y))).T) / plate.pixel_scale_deg
    assert error.max() < 2e-3
    assert separation_deg(plate.ra, plate.dec, *pixel_to_sky(wcs, 449.5, 511.5)) < 1e-9


def test_a_large_header_distortion_is_described():
    """A SIP header whose reference pixel lies far outside the image keeps its distortion."""
    wcs = tan_wcs(187.0, 14.6, crpix=(6900.0, 3700.0), cd=3.4e-4 * np.array([[-1.0, 0.01], [0.01, 1.0]]))
    a, b = np.zeros((4, 4)), np.zeros((4, 4))
    a[3, 0], b[0, 3], a[2, 0] = 2e-10, 2e-10, 1e-7
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.sip = Sip(a, b, None, None, wcs.wcs.crpix)
    wcs.wcs.set()
    again = wcs_from_plate(plate_from_wcs(wcs, (1850, 1850)), (1850, 1850))
    x, y = np.random.default_rng(0).uniform(0, 1850, (2, 200))
    np.testing.assert_allclose(sky_to_pixel(again, *pixel_to_sky(wcs, x, y)), [x, y], atol=3e-3)
