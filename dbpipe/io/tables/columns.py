"""Which column of a reference catalog holds what: a section of the settings."""

from dataclasses import dataclass, field
from typing import Annotated

from dbpipe.ranges import Range, Ranged


@dataclass(frozen=True)
class RefcatColumns(Ranged):
    """Which column holds what; what is not named is looked for under its usual names."""

    id: str | None = None
    """Name or number of the star; none: there is none."""
    ra: str | None = None
    """ICRS right ascension [deg, unless the column or ra_unit says otherwise]."""
    dec: str | None = None
    """ICRS declination [as the right ascension; degrees if that is in hours]."""
    ra_unit: str | None = None
    """deg, rad or hourangle, for both, where the file does not say it or is wrong."""
    dec_unit: str | None = None
    """deg or rad, where declination is in another unit than right ascension."""
    pm_ra: str | None = None
    """Proper motion in right ascension times cos(dec) [mas/yr, unless the column says otherwise]."""
    pm_dec: str | None = None
    """Proper motion in declination [mas/yr, unless the column says otherwise]."""
    epoch: str | Annotated[float, Range(at_least=0.0, at_most=1e6)] | None = None
    """Column, or one number for all (text of one is fine too): a year (1800 to 2200) or an MJD."""
    magnitudes: dict[str, str] = field(default_factory=dict)
    """Band -> column. If any is given, no others are looked for."""
    magnitude_errors: dict[str, str] = field(default_factory=dict)
    """Band -> column."""
