"""When an exposure was taken: the time keywords of a header, in every way in which cameras write them.

The scale of the description holds for keywords that say it themselves (``TAI``, ``UTC-OBS``) and for headers without
TIMESYS, which governs all others (FITS 4.0, section 9.2.1; Rots et al. 2015, A&A 574, A36, table 2).
"""

import datetime
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from astropy.time import Time, TimeDelta

from dbpipe.errors import DataError
from dbpipe.io.fits.cards import exact_number, missing_card, read_number
from dbpipe.io.raw.instrument import TimeRule
from dbpipe.names import nearest

SECOND_PER_DAY = 86400.0
EARLIEST_MJD, LATEST_MJD = 40587.0, 88069.0
"""1970-01-01 (the first CCD images are younger) and 2100-01-01: a time outside is a broken clock."""
_MJD_0_ORDINAL = datetime.date(1858, 11, 17).toordinal()
_GPS_BEHIND_TAI_S = 19.0
"""GPS time started with UTC at 1980-01-06, when TAI - UTC was 19 s, and has had no leap second since."""
_TIMESYS = {
    "UTC": "utc", "UT": "utc", "GMT": "utc", "UT1": "utc", "TAI": "tai", "IAT": "tai", "TT": "tt", "TDT": "tt",
    "ET": "tt", "TDB": "tdb", "TCB": "tcb", "TCG": "tcg", "GPS": "gps",
}  # fmt: skip
"""UT and UT1 are taken as UTC, from which they differ by less than 0.9 s by tables that change every week."""
_DATE = re.compile(r"(\d{4})([-/])(\d\d?)\2(\d\d?)", re.ASCII)
_OLD_DATE = re.compile(r"(\d\d?)/(\d\d?)/(\d\d)", re.ASCII)
_CLOCK = re.compile(r"(\d\d?):(\d\d?)(?::(\d\d?(?:\.\d*)?))?\s*(Z|UTC?|[+-]\d\d:?\d\d)?", re.ASCII | re.IGNORECASE)
_TIME_KEYWORDS = ("UT", "UTC", "UT-OBS", "UTC-OBS", "TIME-OBS", "UTSTART", "UTCSTART", "TIME", "UTSHUT", "TIME-BEG")
"""Where headers with a date alone keep the time of day."""


def read_midpoint(header: Mapping[str, Any], rules: tuple[TimeRule, ...], exposure_s: float) -> float:
    """Return the middle of the exposure [MJD TAI] by the first rule whose keywords are all there.

    Raises
    ------
    DataError
        A keyword is missing, or what it says is no time, or its scale is in dispute.
    """
    rule = next((rule for rule in rules if all(keyword in header for keyword in rule.keywords)), None)
    if rule is None:
        missing = next(keyword for keyword in rules[0].keywords if keyword not in header)
        raise missing_card(header, missing)
    scale = _scale(header, rule)
    if rule.format in ("mjd", "jd"):
        value = read_number(header, rule.keywords[0])
        day = value - 2400000.5 if rule.format == "jd" else value
        # the limits are checked first: astropy cannot turn an absurd UTC into TAI
        _check_time(day, rule.keywords, value)
        moment = _moment(value, rule.format, scale)
    else:
        moment = _read_text(header, rule, scale)
    to_middle = {"start": 0.5, "mid": 0.0, "end": -0.5}[rule.refers_to]
    return float(moment.tai.mjd) + to_middle * exposure_s / SECOND_PER_DAY


def _scale(header: Mapping[str, Any], rule: TimeRule) -> str:
    """Return the time scale of a rule's keywords, in astropy's words or ``gps``."""
    own_name = {part for keyword in rule.keywords for part in re.split(r"[^A-Z0-9]", keyword.upper())}
    if rule.scale.upper() in own_name or "TIMESYS" not in header:
        return "utc" if rule.scale == "header" else rule.scale  # the default of the standard
    said = header["TIMESYS"]
    name = str(said).upper().partition("(")[0].strip()
    scale = _TIMESYS.get(name)
    if scale is None and (name or rule.scale == "header"):
        raise DataError(
            "TIMESYS names no time scale that can be used", TIMESYS=str(said), scale_of_description=rule.scale,
            known=list(_TIMESYS), similar=nearest(name, _TIMESYS),
        )  # fmt: skip
    if rule.scale not in ("header", scale or rule.scale):
        raise DataError(
            f"time scale disagrees between TIMESYS and the description for {' + '.join(rule.keywords)}",
            TIMESYS=str(said), scale_of_description=rule.scale,
            needed='the right header, or scale = "header" in [[time]] of instrument.toml if TIMESYS is right',
        )  # fmt: skip
    return scale or rule.scale


def _moment(value: float | str, kind: str, scale: str) -> Time:
    """Return an astropy Time; GPS time is TAI but for a constant."""
    if scale == "gps":
        return Time(value, format=kind, scale="tai") + TimeDelta(_GPS_BEHIND_TAI_S, format="sec")
    return Time(value, format=kind, scale=scale)


def _read_text(header: Mapping[str, Any], rule: TimeRule, scale: str) -> Time:
    """Return the time that a date and a clock give, in one card or two."""
    values: list[Any] = [header[keyword] for keyword in rule.keywords]
    clock: Any
    shown = "T".join(str(value).strip() for value in values)
    if rule.format == "isot":
        date, _, clock = re.sub(r"\s*[Tt]\s*|\s+", " ", shown, count=1).partition(" ")
        if not clock and _date(date):
            raise DataError(
                f"{rule.keywords[0]} has a date but no time of day", value=shown,
                beside={keyword: str(header[keyword]) for keyword in _TIME_KEYWORDS if keyword in header},
                needed='format = "date+time" with two keywords, if the time has its own card',
            )  # fmt: skip
    else:
        date, clock = re.sub(r"[Tt ]+0*[0:.]*$", "", str(values[0]).strip()), values[1]
    day = _date(date)
    number = exact_number(clock) if rule.format == "date+time" else None
    of_day = _clock(str(clock).strip()) if number is None else (_seconds(number, rule.keywords[-1]), None, None)
    if day is None or of_day is None:
        raise DataError(
            "date cannot be understood", keyword=" + ".join(rule.keywords), value=shown,
            needed="2022-01-13T02:36:14.0, or a date alone and the time in a card of its own",
        )  # fmt: skip
    second_of_day, offset_s, plain = of_day
    mjd = float(day.toordinal() - _MJD_0_ORDINAL)
    _check_time(mjd, rule.keywords, shown)
    if offset_s is not None and scale != "utc":
        raise DataError("time has an offset from UTC, but its scale is another", value=shown, scale=scale)
    if plain:
        moment = _moment(f"{day}T{plain}", "isot", scale)
    else:
        # elapsed seconds, not a part of the day: 60 is a leap second where there is one, else the next minute's first
        moment = _moment(mjd, "mjd", scale).tai + TimeDelta(second_of_day, format="sec")
    return moment - TimeDelta(offset_s, format="sec") if offset_s else moment


def _date(text: str) -> date | None:
    """Return the date of a text, None if it is none; DD/MM/YY is of the 20th century (FITS 4.0, section 9.1.1)."""
    match, old = _DATE.fullmatch(text), _OLD_DATE.fullmatch(text)
    try:
        if match:
            return datetime.date(int(match[1]), int(match[3]), int(match[4]))
        return datetime.date(1900 + int(old[3]), int(old[2]), int(old[1])) if old else None
    except ValueError:
        return None


def _clock(text: str) -> tuple[float, float | None, str | None] | None:
    """Return what a time of day says, None if it is none.

    Returns
    -------
    (float, float or None, str or None)
        Seconds since midnight; the offset from UTC [s], where it is said; and hh:mm:ss.s again, unless it is a second
        60 or an hour 24.
    """
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    hour, minute, second = int(match[1]), int(match[2]), float(match[3] or 0.0)
    if not (hour < 24 or (hour, minute, second) == (24, 0, 0.0)) or minute > 59 or second >= 61.0:
        return None
    zone, offset_s = (match[4] or "").upper(), None
    if zone:
        offset_s = 0.0 if zone[0] in "ZU" else float(f"{zone[0]}1") * (3600.0 * int(zone[1:3]) + 60.0 * int(zone[-2:]))
    plain = f"{hour:02}:{minute:02}:{(match[3] or '0').rjust(2, '0')}" if hour < 24 and second < 60.0 else None
    return 3600.0 * hour + 60.0 * minute + second, offset_s, plain


def _seconds(number: float, keyword: str) -> float:
    """Return a plain number as seconds of the day, if it can be nothing else."""
    if 24.0 <= number <= SECOND_PER_DAY:
        return number
    raise DataError(
        f"{keyword} is a number that is no clear time of day", value=number,
        needed="hh:mm:ss.s, or seconds since midnight; below 24 these could be hours",
    )  # fmt: skip


def _check_time(mjd: float, keywords: tuple[str, ...], value: float | str) -> None:
    """Raise DataError if no CCD can have been exposed at this time."""
    if not EARLIEST_MJD <= mjd <= LATEST_MJD:
        raise DataError(
            "time of the exposure is absurd", keyword=" + ".join(keywords), value=value, mjd=mjd,
            earliest_mjd=EARLIEST_MJD, latest_mjd=LATEST_MJD,
        )  # fmt: skip
