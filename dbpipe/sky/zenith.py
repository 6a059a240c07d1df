"""Where the zenith is: the direction in which the atmosphere refracts."""

import math

_GMST_AT_J2000_DEG, _GMST_RATE_DEG = 280.46061837, 360.98564736629
"""Greenwich mean sidereal time at JD 2451545.0 UT1 and its rate a day (Meeus 1998, Astronomical Algorithms, 12.4)."""
_J2000_MJD = 51544.5
_TAI_MINUS_UTC_D = 37.0 / 86400.0


def zenith_direction(
    ra: float, dec: float, midpoint_mjd_tai: float, *, longitude_deg: float, latitude_deg: float
) -> tuple[float, float]:
    """Return altitude and parallactic angle [deg] of a direction [deg] at a time.

    The parallactic angle is the position angle of the zenith, from north through east, positive west of the meridian.
    Coordinates are taken as of date and UT1 as TAI - 37 s: good to half a degree.
    """
    days = midpoint_mjd_tai - _TAI_MINUS_UTC_D - _J2000_MJD
    hour_angle = math.radians(_GMST_AT_J2000_DEG + _GMST_RATE_DEG * days + longitude_deg - ra)
    latitude, dec = math.radians(latitude_deg), math.radians(dec)
    sine = math.sin(latitude) * math.sin(dec) + math.cos(latitude) * math.cos(dec) * math.cos(hour_angle)
    toward_east = math.cos(latitude) * math.sin(hour_angle)
    toward_north = math.sin(latitude) * math.cos(dec) - math.cos(latitude) * math.sin(dec) * math.cos(hour_angle)
    return math.degrees(math.asin(max(-1.0, min(1.0, sine)))), math.degrees(math.atan2(toward_east, toward_north))
