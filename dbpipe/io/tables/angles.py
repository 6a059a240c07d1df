"""Right ascension and declination as catalogs write them: in degrees, radians or hours, as numbers or in sixties."""

from typing import Any

import numpy as np
import pyarrow as pa
from astropy import units
from astropy.coordinates import Angle

from dbpipe.errors import ConfigError
from dbpipe.sky.sphere import unit_vectors

_UNITS = {
    **dict.fromkeys(("deg", "degree", "degrees", "deg.", "°", "d", "d:m:s", "dms"), units.deg),
    **dict.fromkeys(("rad", "radian", "radians"), units.rad),
    **dict.fromkeys(("hourangle", "h", "hr", "hour", "hours", "h:m:s", "hms"), units.hourangle),
}
"""Spellings, beside those of astropy; an hour of right ascension is 15 degrees."""
_SLACK_DEG = 1.0
"""Stars this far outside of an exposure are still of its field: catalogs are cut generously."""
_LOOKED_AT = 50
"""Exposures that are compared with all stars."""
_WAYS = {"deg": (1.0, 1.0), "rad": (np.degrees(1.0), np.degrees(1.0)), "hourangle": (15.0, 1.0)}
"""What numbers without a unit may be -> factors that make them degrees."""
_WORD = {"rad": "radians", "hourangle": "hours"}


def find_unit(text: str, name: str) -> Any:
    """Return the unit of an angle that a text means; ConfigError if it is none."""
    known = _UNITS.get(text.strip().strip('"').lower())
    if known is not None:
        return known
    try:
        unit = units.Unit(text)
        unit.to(units.deg)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"column {name} is in {text}, not in deg") from error
    return unit


def parse_sexagesimal(column: pa.ChunkedArray, name: str, *, unit: Any) -> np.ndarray:
    """Return angles [deg] of text such as 12:34:56.7, 12h34m56.7s, -27 26 24 or 188d44m; NULL is NaN.

    Parameters
    ----------
    column : Arrow array of text
    name : str
    unit : astropy unit
        Of the first number, where the text does not say it itself.
    """
    texts, angles = column.to_pylist(), np.full(len(column), np.nan)
    for k, text in enumerate(texts):
        if text is not None:
            try:
                angles[k] = Angle(text, unit).degree
            except (ValueError, TypeError, units.UnitsError) as error:
                hint = "; decimal points are points" if "," in text else ""
                raise ConfigError(
                    f"column {name} is not a number and no angle: {text!r} in row {k + 1}{hint}"
                ) from error
    return angles


def is_text(column: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether an Arrow column is text."""
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def refuse_if_not_degrees(ra: np.ndarray, dec: np.ndarray, *, fields: np.ndarray, what: str) -> None:
    """Refuse positions without a unit that look as if they were not in degrees.

    Where exposures are known, the catalog must have stars in one of them if it is believed: in degrees, or it is
    refused as one in radians or hours. Where none says, numbers within 0 to 2 pi and -pi/2 to pi/2 could be either.

    Parameters
    ----------
    ra, dec : (n,) float arrays
    fields : (m, 3) array
        Right ascension, declination and radius [deg] of the exposures.
    what : str
        Names the file and the columns.
    """
    found = f"{what}: from {ra.min():g} to {ra.max():g} and from {dec.min():g} to {dec.max():g}, without a unit."
    may_be_radians = -np.pi <= ra.min() and ra.max() <= 2 * np.pi and np.abs(dec).max() <= np.pi / 2
    may_be = {"deg": True, "rad": may_be_radians, "hourangle": ra.min() >= 0 and ra.max() <= 24.0}
    for unit, (ra_factor, dec_factor) in _WAYS.items() if len(fields) else ():
        if may_be[unit] and _is_near(ra * ra_factor, dec * dec_factor, fields):
            if unit == "deg":
                return
            raise ConfigError(
                f"{found} In degrees no star is in the field of an exposure, in {_WORD[unit]} some are: say "
                f"--map ra_unit={unit} (or ra_unit=deg if they are degrees)"
            )
    if may_be_radians:
        raise ConfigError(
            f"{found} Are these degrees or radians? Say --map ra_unit=rad or --map ra_unit=deg, or ingest exposures of "
            "the field first"
        )


def _is_near(ra: np.ndarray, dec: np.ndarray, fields: np.ndarray) -> bool:
    """Return whether a star is in the field of an exposure, of those looked at."""
    if np.abs(dec).max() > 90.0:
        return False
    stars = unit_vectors(ra, dec)
    looked_at = fields[:: len(fields) // _LOOKED_AT + 1]
    reach = np.cos(np.radians(looked_at[:, 2] + _SLACK_DEG))
    centers = unit_vectors(looked_at[:, 0], looked_at[:, 1])
    return any((stars @ center > least).any() for center, least in zip(centers, reach, strict=True))
