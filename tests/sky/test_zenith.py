"""Where the zenith is."""

import numpy as np
import pytest
from astropy.coordinates import Longitude
from astropy.time import Time
from astropy.utils import iers

from dbpipe.sky.sphere import separation_deg
from dbpipe.sky.zenith import zenith_direction

SITE = {"longitude_deg": -70.749, "latitude_deg": -30.244}


def sidereal_time_deg(mjd_tai):
    utc = Time(mjd_tai, format="mjd", scale="tai").utc
    as_ut1 = Time(utc.mjd, format="mjd", scale="ut1")  # within a second
    with iers.conf.set_temp("auto_download", False):  # the tables that came with astropy will do
        return float(as_ut1.sidereal_time("mean", Longitude(SITE["longitude_deg"], "deg")).deg)


@pytest.mark.parametrize("mjd_tai", [57000.2, 59580.1234, 61000.9])
def test_the_zenith_is_where_sidereal_time_says(mjd_tai):
    """A direction at sidereal time and latitude has altitude 90; altitude is 90 less the distance from there."""
    zenith = sidereal_time_deg(mjd_tai), SITE["latitude_deg"]
    for ra, dec in ((zenith[0] + 1e-9, zenith[1]), (zenith[0] + 35, -50), (zenith[0] - 60, 10), (53.0, -27.4)):
        altitude_deg, _ = zenith_direction(ra, dec, mjd_tai, **SITE)
        assert altitude_deg == pytest.approx(90.0 - float(separation_deg(ra, dec, *zenith)), abs=0.01)


@pytest.mark.parametrize(("hours_west", "dec"), [(0.0, 10.0), (0.0, -80.0), (3.0, -30.0), (-3.0, -30.0)])
def test_a_step_toward_the_angle_comes_nearer_to_the_zenith(hours_west, dec):
    """The parallactic angle is the position angle, north through east, in which altitude grows one for one."""
    mjd_tai = 59580.25
    ra = sidereal_time_deg(mjd_tai) - 15 * hours_west
    altitude_deg, angle_deg = zenith_direction(ra, dec, mjd_tai, **SITE)
    step, angle = 0.1, np.radians(angle_deg)
    moved = ra + step * np.sin(angle) / np.cos(np.radians(dec)), dec + step * np.cos(angle)
    assert zenith_direction(*moved, mjd_tai, **SITE)[0] - altitude_deg == pytest.approx(step, rel=0.01)
    if hours_west:
        assert np.sign(angle_deg) == np.sign(hours_west)
