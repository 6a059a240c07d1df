"""The geometry of a visit agrees with the FITS standard."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from dbpipe.simulate.camera.visits import PIXEL_SCALE_ARCSEC, plan_visits, sky_to_pixel
from dbpipe.simulate.write import make_header


@pytest.fixture(scope="module")
def visits():
    return plan_visits({"g": 4, "r": 4}, ra=53.0, dec=-27.4, size_pix=(500, 400), rng=np.random.default_rng(11))


def test_both_parities_occur(visits):
    """A survey has visits of either parity."""
    assert {visit.flipped for visit in visits} == {True, False}


def test_the_distortion_is_a_fraction_of_a_pixel(visits):
    """The true WCS is a TAN projection, as astropy computes it, but for a distortion of up to 0.6 pix."""
    for visit in visits:
        cd = visit.cd_matrix()
        tan = WCS(naxis=2)
        tan.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        tan.wcs.crval, tan.wcs.crpix, tan.wcs.cd = [visit.ra, visit.dec], [visit.nx / 2, visit.ny / 2], cd
        x, y = np.meshgrid(np.linspace(0, visit.nx - 1, 5), np.linspace(0, visit.ny - 1, 5))
        shift = np.hypot(*(np.array(sky_to_pixel(visit, *tan.all_pix2world(x, y, 0))) - [x, y]))
        assert 0.1 < shift.max() < 0.6
        assert shift[2, 2] < 0.02


def test_the_header_is_wrong_by_what_the_truth_says(visits):
    """The header's WCS is off by up to 2" at the center, and its scale is 0.2" a pixel."""
    for visit in visits:
        header = make_header(visit, utc=False, name="x")
        del header["MJD-OBS"]  # astropy would warn that it derives DATE-OBS
        wcs = WCS(header)
        center = (visit.nx / 2 - 1, visit.ny / 2 - 1)
        x, y = sky_to_pixel(visit, *wcs.all_pix2world(*center, 0))
        off = np.hypot(x - center[0], y - center[1]) * PIXEL_SCALE_ARCSEC
        assert off == pytest.approx(np.hypot(*visit.header_offset_arcsec), abs=0.01)
        assert off < 2.0
        assert np.sqrt(abs(np.linalg.det(wcs.wcs.cd))) * 3600.0 == pytest.approx(PIXEL_SCALE_ARCSEC, rel=1e-6)


def test_the_clock_can_be_utc(visits):
    """With the clock of newer files MJD-OBS is 37 s before TAI; otherwise they are one."""
    same, utc = (make_header(visits[0], utc=flag, name="x") for flag in (False, True))
    assert same["TAI"] == same["MJD-OBS"]
    assert (utc["TAI"] - utc["MJD-OBS"]) * 86400.0 == pytest.approx(37.0, abs=1e-3)
    assert isinstance(same, fits.Header)
