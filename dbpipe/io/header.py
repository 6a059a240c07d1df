"""What a header and a file name say about an exposure, read by the rules of an instrument description."""

import datetime
import math
import re
from dataclasses import dataclass

from astropy.time import Time

from dbpipe.errors import DataError
from dbpipe.ids import DETECTOR_LIMIT, VISIT_LIMIT
from dbpipe.io.names import nearest

SECOND_PER_DAY = 86400.0
EARLIEST_MJD, LATEST_MJD = 40587.0, 88069.0
"""1970-01-01 (the first CCD images are younger) and 2100-01-01: a time outside is a broken clock."""
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


def read_facts(header, filename, instrument):
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
    exposure_s = _number(header, instrument.exposure_keyword)
    if not exposure_s > 0:
        raise DataError("exposure time is not positive", keyword=instrument.exposure_keyword, exposure_s=exposure_s)
    midpoint_mjd_tai = _midpoint_mjd_tai(header, instrument.time, exposure_s)
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


def local_night(midpoint_mjd_tai, longitude_deg):
    """Return the night as YYYYMMDD: the date, in local mean time, 12 hours before the exposure."""
    utc_mjd = Time(midpoint_mjd_tai, format="mjd", scale="tai").utc.mjd
    date = datetime.date.fromordinal(math.floor(utc_mjd + longitude_deg / 360.0 - 0.5) + _MJD_0_ORDINAL)
    return date.year * 10000 + date.month * 100 + date.day


def _check_kind(header, instrument):
    """Raise DataError if the header shows that this is another kind of image than the description is for."""
    for keyword, pattern in instrument.require.items():
        found = _plain(_value(header, keyword))
        if not re.fullmatch(pattern, found):
            raise DataError(f"not an image of {instrument.name} by its {keyword}", found=found, required=pattern)
    present = [keyword for keyword in instrument.forbid if keyword in header]
    if present:
        raise DataError(f"not an image of {instrument.name}: its header has {', '.join(present)}", keywords=present)


def _filename_groups(header, filename, instrument):
    """Return the groups of the file name as text, after comparing those that must equal a keyword."""
    rule = instrument.filename
    match = re.match(rule.pattern, filename) if rule else None
    if match is None:
        return {}
    groups = {name: text for name, text in match.groupdict().items() if text is not None}
    for name, keyword in rule.same_as.items():
        if name in groups and keyword in header:
            _agree(name, {"file name": _plain(groups[name]), keyword: _plain(header[keyword])})
    return groups


def _visit(header, groups, rule):
    """Return the visit id; a group called visit must agree with it."""
    if rule.keyword is not None:
        found = {} if rule.keyword not in header and "visit" in groups else {rule.keyword: _value(header, rule.keyword)}
    elif rule.group is not None:
        found = {"file name": _group(groups, rule.group)}
    else:
        found = {"format": _formatted(header, groups, rule.format)}
    if "visit" in groups:
        found["file name"] = groups["visit"]
    visit = _agree("visit id", {where: _whole_number("visit id", value) for where, value in found.items()})
    if not 0 <= visit < VISIT_LIMIT:
        raise DataError("visit id does not fit into 41 bits", visit=visit, limit=VISIT_LIMIT)
    return visit


def _formatted(header, groups, pattern):
    """Fill the format of a visit id with groups of the file name and header values."""
    values = {**header, **{name: int(text) if text.isdigit() else text for name, text in groups.items()}}
    try:
        return pattern.format_map(values)
    except KeyError as error:
        raise DataError(
            f"visit id needs {error.args[0]}, which neither the file name nor the header has",
            missing=error.args[0], similar=nearest(error.args[0], values),
        ) from error  # fmt: skip
    except ValueError as error:
        raise DataError("visit id cannot be formatted", format=pattern, problem=str(error)) from error


def _detector(header, groups, rule):
    """Return number and name of the sensor."""
    if rule.value is not None:
        found, name = {"description": rule.value}, rule.name or str(rule.value)
    else:
        missing = rule.keyword not in header and "detector" in groups
        found = {} if missing else {rule.keyword: _detector_number(_value(header, rule.keyword), rule)}
        name = None
    if "detector" in groups:
        found["file name"] = _detector_number(groups["detector"], rule)
    number = _agree("detector", found)
    return number, name or (rule.names[number] if rule.names else str(number))


def _detector_number(value, rule):
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


def _band(header, groups, rule):
    """Return the filter on which all keywords and the file name agree."""
    found = {keyword: header[keyword] for keyword in rule.keywords if keyword in header}
    if "band" in groups:
        found["file name"] = groups["band"]
    if not found:
        raise _missing(header, rule.keywords[0])
    found = {where: rule.rename.get(_plain(value), _plain(value)) for where, value in found.items()}
    band = _agree("filter", found)
    if not band or rule.allowed and band not in rule.allowed:
        raise DataError("filter is not one of this instrument", band=band, allowed=list(rule.allowed))
    return band


def _midpoint_mjd_tai(header, rules, exposure_s):
    """Return the middle of the exposure [MJD TAI] by the first rule whose keywords are all there."""
    rule = next((rule for rule in rules if all(keyword in header for keyword in rule.keywords)), None)
    if rule is None:
        raise _missing(header, next(keyword for keyword in rules[0].keywords if keyword not in header))
    if rule.format in ("mjd", "jd"):
        value = _number(header, rule.keywords[0])
        day = value - 2400000.5 if rule.format == "jd" else value
        # the limits are checked first: astropy cannot turn an absurd UTC into TAI
        _check_time(day, rule.keywords, value)
        moment = Time(value, format=rule.format, scale=rule.scale)
    else:
        text = "T".join(str(_value(header, keyword)).strip() for keyword in rule.keywords)
        if "T" not in text:
            raise DataError(f"{rule.keywords[0]} has a date but no time of day", value=text)
        try:
            moment = Time(text, format="isot", scale=rule.scale)
        except ValueError as error:
            raise DataError("date cannot be understood", keyword=" + ".join(rule.keywords), value=text) from error
        _check_time(moment.mjd, rule.keywords, text)
    to_middle = {"start": 0.5, "mid": 0.0, "end": -0.5}[rule.refers_to]
    return float(moment.tai.mjd) + to_middle * exposure_s / SECOND_PER_DAY


def _check_time(mjd, keywords, value):
    """Raise DataError if no CCD can have been exposed at this time."""
    if not EARLIEST_MJD <= mjd <= LATEST_MJD:
        raise DataError(
            "time of the exposure is absurd", keyword=" + ".join(keywords), value=value, mjd=mjd,
            earliest_mjd=EARLIEST_MJD, latest_mjd=LATEST_MJD,
        )  # fmt: skip


def _airmass(header, keyword):
    """Return the airmass, or None where the header has none that can be true."""
    value = header.get(keyword) if keyword else None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0.99 <= value < 100.0:
        return float(value)
    return None


def _quantity(header, quantity):
    """Return the number of a quantity in its own unit."""
    return quantity.value if quantity.keyword is None else _number(header, quantity.keyword)


def _in_electrons(header, quantity, gain):
    """Return the number of a quantity in electrons."""
    return _quantity(header, quantity) * (gain if quantity.unit == "adu" else 1.0)


def _positive(what, value):
    if not value > 0:
        raise DataError(f"{what} is not positive", value=value)
    return value


def _value(header, keyword):
    """Return a header value."""
    if keyword not in header:
        raise _missing(header, keyword)
    return header[keyword]


def _missing(header, keyword):
    """Return the error that says which keyword is missing and which ones look like it."""
    return DataError(f"keyword {keyword} is missing", missing=keyword, similar=nearest(keyword, header))


def _number(header, keyword):
    """Return a finite header value as float."""
    value = _value(header, keyword)
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"keyword {keyword} is not a number", value=str(value))
    return number


def _whole_number(what, value):
    """Return a whole number given as integer, text or float that is exactly one; never through a lossy float."""
    if isinstance(value, str) and value.strip().isdigit():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2.0**53:
        return int(value)
    raise DataError(f"{what} is not a whole number", value=str(value))


def _group(groups, name):
    if name not in groups:
        raise DataError("file name does not fit the pattern of the instrument", missing=name)
    return groups[name]


def _plain(value):
    """Return a header value as text, numbers without decoration: 2, 2.0, "2 " and "02" are the same filter."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return str(int(text)) if text.isdigit() else text


def _agree(what, found):
    """Return the one value that all places have, or raise DataError with what each of them says."""
    if len(set(found.values())) > 1:
        raise DataError(f"{what} disagrees between {' and '.join(found)}", found=found)
    return next(iter(found.values()))
