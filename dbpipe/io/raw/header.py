"""What a header and a file name say about an exposure, read by the rules of an instrument description."""

import datetime
import math
import re
from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, cast

from astropy.time import Time

from dbpipe.errors import DataError
from dbpipe.ids import DETECTOR_LIMIT, VISIT_LIMIT
from dbpipe.io.fits.cards import exact_number, missing_card, read_number
from dbpipe.io.raw.instrument import BandRule, DetectorRule, Instrument, Quantity, VisitRule
from dbpipe.io.raw.times import SECOND_PER_DAY, read_midpoint
from dbpipe.names import nearest

LONGEST_EXPOSURE_S = SECOND_PER_DAY
"""No shutter is open for longer than a day."""
MAX_E = 1e12
"""More electrons than any pixel holds; descriptions may say as much where nothing saturates."""
_MAX_DIGIT = 100
"""More than a card has room for."""
_MJD_0_ORDINAL = datetime.date(1858, 11, 17).toordinal()


@dataclass(frozen=True, kw_only=True)
class HeaderFacts:
    """What is known about an exposure without looking at its pixels."""

    visit: int
    detector: int
    detector_name: str
    band: str
    midpoint_mjd_tai: float
    exposure_s: float
    airmass: float | None
    night: int
    """Local night as YYYYMMDD."""
    gain: float
    """[electron/adu]"""
    read_noise_e: float
    saturation_e: float


def read_facts(header: Mapping[str, Any], filename: str, instrument: Instrument) -> HeaderFacts:
    """Interpret a header and a file name.

    Parameters
    ----------
    header : dict of keyword -> value
    filename : str
        Base name of the file.
    instrument : Instrument

    Raises
    ------
    DataError
        A keyword is missing or makes no sense, or the header and the file name contradict each other.
    """
    _check_kind(header, instrument)
    groups = _filename_groups(header, filename, instrument)
    detector, detector_name = _detector(header, groups, instrument.detector)
    exposure_s = _exposure_s(header, instrument.exposure_keyword)
    midpoint_mjd_tai = read_midpoint(header, instrument.time, exposure_s)
    gain = _positive("gain", _quantity(header, instrument.gain))
    return HeaderFacts(
        visit=_visit(header, groups, instrument.visit),
        detector=detector,
        detector_name=detector_name,
        band=_band(header, groups, instrument.band),
        midpoint_mjd_tai=midpoint_mjd_tai,
        exposure_s=exposure_s,
        airmass=_airmass(header, instrument.airmass_keyword),
        night=local_night(midpoint_mjd_tai, instrument.site_longitude_deg or 0.0),
        gain=gain,
        read_noise_e=_positive("read noise", _in_electrons(header, instrument.read_noise, gain)),
        saturation_e=_positive("saturation level", _in_electrons(header, instrument.saturation, gain)),
    )


def local_night(midpoint_mjd_tai: float, longitude_deg: float) -> int:
    """Return the night as YYYYMMDD: the date, in local mean time, 12 hours before the exposure."""
    utc_mjd = Time(midpoint_mjd_tai, format="mjd", scale="tai").utc.mjd
    date = datetime.date.fromordinal(math.floor(utc_mjd + longitude_deg / 360.0 - 0.5) + _MJD_0_ORDINAL)
    return date.year * 10000 + date.month * 100 + date.day


def _check_kind(header: Mapping[str, Any], instrument: Instrument) -> None:
    """Raise DataError if the header shows that this is another kind of image than the description is for."""
    for keyword, pattern in instrument.require.items():
        found = _plain(_value(header, keyword))
        if not re.fullmatch(pattern, found):
            raise DataError(
                f"not an image of {instrument.name}: the whole value of {keyword} must match",
                found=found,
                required=pattern,
            )
    present = [keyword for keyword in instrument.forbid if keyword in header]
    if present:
        raise DataError(f"not an image of {instrument.name}: its header has {', '.join(present)}", keywords=present)


def _filename_groups(header: Mapping[str, Any], filename: str, instrument: Instrument) -> dict[str, str]:
    """Return the groups of the file name as text, after comparing those that must equal a keyword."""
    rule = instrument.filename
    match = re.match(rule.pattern, filename) if rule else None
    if rule is None or match is None:
        return {}
    groups = {name: text for name, text in match.groupdict().items() if text is not None}
    for name, keyword in rule.same_as.items():
        if name in groups and keyword in header:
            _agree(name, {"file name": _plain(groups[name]), keyword: _plain(header[keyword])})
    return groups


def _visit(header: Mapping[str, Any], groups: Mapping[str, str], rule: VisitRule) -> int:
    """Return the visit id; a group called visit must agree with it."""
    if rule.keyword is not None:
        found = {} if rule.keyword not in header and "visit" in groups else {rule.keyword: _value(header, rule.keyword)}
    elif rule.group is not None:
        found = {"file name": _group(groups, rule.group)}
    else:
        found = {"format": _formatted(header, groups, rule.format or "")}
    if "visit" in groups:
        found["file name"] = groups["visit"]
    visit = _agree("visit id", {where: _whole_number("visit id", value) for where, value in found.items()})
    if not 0 <= visit < VISIT_LIMIT:
        raise DataError("visit id does not fit into 41 bits", visit=visit, limit=VISIT_LIMIT)
    return visit


def _formatted(header: Mapping[str, Any], groups: Mapping[str, str], pattern: str) -> str:
    """Fill the format of a visit id with groups of the file name and header values."""
    own: dict[str, Any] = {name: int(text) if _is_whole(text) else text for name, text in groups.items()}
    values: Mapping[str, Any] = ChainMap(own, cast(MutableMapping[str, Any], header))
    try:
        return pattern.format_map(values)
    except KeyError as error:
        raise DataError(
            f"visit id needs {error.args[0]}, which neither the file name nor the header has",
            missing=error.args[0], similar=nearest(error.args[0], values),
        ) from error  # fmt: skip
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        raise DataError("visit id cannot be formatted", format=pattern, problem=str(error)) from error


def _detector(header: Mapping[str, Any], groups: Mapping[str, str], rule: DetectorRule) -> tuple[int, str]:
    """Return number and name of the sensor."""
    if rule.value is not None:
        found, name = {"description": rule.value}, rule.name or str(rule.value)
    else:
        keyword = rule.keyword or ""
        missing = keyword not in header and "detector" in groups
        found = {} if missing else {keyword: _detector_number(_value(header, keyword), rule)}
        name = None
    if "detector" in groups:
        found["file name"] = _detector_number(groups["detector"], rule)
    number = _agree("detector", found)
    return number, name or (rule.names[number] if rule.names else str(number))


def _detector_number(value: int | str, rule: DetectorRule) -> int:
    """Return the number of a sensor given by name or number."""
    if rule.names:
        name = _plain(value)
        if name not in rule.names:
            raise DataError("unknown detector", detector=name, similar=nearest(name, rule.names))
        return rule.names.index(name)
    number = _whole_number("detector", value)
    if not 0 <= number < DETECTOR_LIMIT:
        raise DataError("detector number does not fit into 8 bits", detector=number, limit=DETECTOR_LIMIT)
    return number


def _band(header: Mapping[str, Any], groups: Mapping[str, str], rule: BandRule) -> str:
    """Return the filter on which all keywords and the file name agree."""
    found = {keyword: header[keyword] for keyword in rule.keywords if keyword in header}
    if "band" in groups:
        found["file name"] = groups["band"]
    if not found:
        raise missing_card(header, rule.keywords[0])
    found = {where: rule.rename.get(_plain(value), _plain(value)) for where, value in found.items()}
    band = _agree("filter", found)
    if not band:
        raise DataError("filter has no name", found=found, needed="text that is not empty")
    if rule.allowed and band not in rule.allowed:
        raise DataError("filter is not one of this instrument", band=band, allowed=list(rule.allowed))
    return band


def _exposure_s(header: Mapping[str, Any], keyword: str) -> float:
    """Return the exposure time."""
    exposure_s = _number(header, keyword)
    if not exposure_s > 0:
        raise DataError("exposure time is not positive", keyword=keyword, exposure_s=exposure_s)
    if exposure_s > LONGEST_EXPOSURE_S:
        raise DataError("exposure time is absurd", keyword=keyword, exposure_s=exposure_s, limit_s=LONGEST_EXPOSURE_S)
    return exposure_s


def _airmass(header: Mapping[str, Any], keyword: str | None) -> float | None:
    """Return the airmass, or None where the header has none that can be true."""
    try:
        value = exact_number(header.get(keyword)) if keyword else None
    except DataError:  # a card that breaks the rules says nothing
        return None
    return value if value is not None and 0.99 <= value < 100.0 else None


def _quantity(header: Mapping[str, Any], quantity: Quantity) -> Any:
    """Return the number of a quantity in its own unit."""
    return quantity.value if quantity.keyword is None else _number(header, quantity.keyword)


def _in_electrons(header: Mapping[str, Any], quantity: Quantity, gain: float) -> float:
    """Return the number of a quantity in electrons."""
    return _quantity(header, quantity) * (gain if quantity.unit == "adu" else 1.0)


def _positive(what: str, value: float) -> float:
    if not value > 0:
        raise DataError(f"{what} is not positive", value=value)
    if value > MAX_E:
        raise DataError(f"{what} is absurd", value=value, limit=MAX_E)
    return value


def _value(header: Mapping[str, Any], keyword: str) -> Any:
    """Return a header value."""
    if keyword not in header:
        raise missing_card(header, keyword)
    return header[keyword]


def _number(header: Mapping[str, Any], keyword: str) -> float:
    """Return a finite header value as float."""
    _value(header, keyword)
    return read_number(header, keyword)


def _whole_number(what: str, value: Any) -> int:
    """Return a whole number given as integer, text or float that is exactly one; never through a lossy float."""
    if isinstance(value, str) and _is_whole(value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**53:
        return int(value)
    raise DataError(f"{what} is not a whole number", value=str(value))


def _group(groups: Mapping[str, str], name: str) -> str:
    if name not in groups:
        raise DataError("file name does not fit the pattern of the instrument", missing=name)
    return groups[name]


def _plain(value: Any) -> str:
    """Return a header value as text, numbers without decoration: 2, 2.0, "2 " and "02" are the same filter."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return str(int(text)) if _is_whole(text) else text


def _is_whole(text: str) -> bool:
    """Return whether a text is digits only, and few enough of them to be a number of anything."""
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGIT


def _agree(what: str, found: Mapping[str, Any]) -> Any:
    """Return the one value that all places have, or raise DataError with what each of them says."""
    if len(set(found.values())) > 1:
        raise DataError(f"{what} disagrees between {' and '.join(found)}", found=found)
    return next(iter(found.values()))
