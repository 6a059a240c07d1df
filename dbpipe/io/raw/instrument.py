"""Instrument descriptions: what a camera's header keywords and file names mean, as TOML instead of Python.

``dbpipe/instruments/phosim-eimage.toml`` explains every key. Nothing is assumed that a description does not say:
no gain, no time scale, no orientation.
"""

import hashlib
import os
import re
import string
from dataclasses import dataclass, field, replace
from importlib.abc import Traversable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from dbpipe.declared import COMPUTED, build, parse_toml
from dbpipe.errors import ConfigError
from dbpipe.names import did_you_mean
from dbpipe.ranges import Range, Ranged

INSTRUMENT_FILE = "instrument.toml"
"""A survey's copy of its instrument description, in its folder."""
_PixelValue = Annotated[float, Range()]
"""Whatever a file can hold; NaN and infinite pixels are bad by themselves."""


def _exactly_one(rule: "DetectorRule | Quantity | VisitRule", names: tuple[str, ...]) -> None:
    """Raise ConfigError unless exactly one of the attributes is given."""
    given = [name for name in names if getattr(rule, name) is not None]
    if len(given) != 1:
        raise ConfigError(f"needs exactly one of {', '.join(names)}; found {', '.join(given) or 'none'}")


@dataclass(frozen=True)
class Quantity(Ranged):
    """A number, or the keyword that holds it, with its unit."""

    unit: Literal["electron", "adu", "electron/adu"]
    value: Annotated[float, Range(at_least=0.0, at_most=1e12)] | None = None
    keyword: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _exactly_one(self, ("value", "keyword"))


@dataclass(frozen=True)
class FilenameRule:
    """What the file name says; a name that does not fit the pattern says nothing."""

    pattern: str
    """Regular expression for the start of the base name; its groups may be called visit, band and detector."""
    same_as: dict[str, str] = field(default_factory=dict)
    """Group -> keyword that must hold the same value."""

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groupindex
        except re.error as error:
            raise ConfigError(f"pattern is not a regular expression: {error}") from error
        for group in self.same_as:
            if group not in groups:
                raise ConfigError(f"same_as names the group '{group}', which the pattern does not have")


@dataclass(frozen=True)
class VisitRule:
    """Where the visit id comes from: a keyword, a group of the file name, or a format of several of both."""

    keyword: str | None = None
    group: str | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        _exactly_one(self, ("keyword", "group", "format"))


@dataclass(frozen=True)
class DetectorRule(Ranged):
    """Which sensor: always the same one (value), or a keyword; ``names`` turns names into numbers by their place."""

    value: Annotated[int, Range(at_least=0, at_most=255)] | None = None
    keyword: str | None = None
    name: str | None = None
    """Name of the only sensor."""
    names: tuple[str, ...] = ()
    """Names of the sensors in the order of their numbers, from 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _exactly_one(self, ("value", "keyword"))
        if len(self.names) > 256:
            raise ConfigError(f"names has {len(self.names)} entries; a detector number must fit into 0 to 255")


@dataclass(frozen=True)
class BandRule:
    """Which filter: every keyword that is there must say the same, and so must the file name."""

    keywords: tuple[str, ...]
    rename: dict[str, str] = field(default_factory=dict)
    """Header value or number -> band."""
    allowed: tuple[str, ...] = ()
    """Bands that may occur, after renaming; empty means any."""


@dataclass(frozen=True)
class TimeRule:
    """One way in which the header may give the time."""

    keywords: tuple[str, ...]
    """One keyword, or the date's and the time's."""
    format: Literal["mjd", "jd", "isot", "date+time"]
    scale: Literal["utc", "tai", "tt", "tdb", "gps", "header"]
    """``header`` follows TIMESYS, UTC without it; any other that TIMESYS contradicts is a refusal."""
    refers_to: Literal["start", "mid", "end"]

    def __post_init__(self) -> None:
        n_needed = 2 if self.format == "date+time" else 1
        if len(self.keywords) != n_needed:
            raise ConfigError(f"format {self.format} needs {n_needed} keyword(s), found {len(self.keywords)}")


@dataclass(frozen=True)
class Instrument(Ranged):
    """A camera. See ``phosim-eimage.toml`` for the meaning of every key."""

    name: str
    pixel_unit: Literal["electron", "adu"]
    bleed: Literal["rows", "columns", "both", "none"]
    visit: VisitRule
    detector: DetectorRule
    band: BandRule
    time: tuple[TimeRule, ...]
    exposure_keyword: str
    gain: Quantity
    read_noise: Quantity
    saturation: Quantity
    airmass_keyword: str | None = None
    filename: FilenameRule | None = None
    require: dict[str, str] = field(default_factory=dict)
    forbid: tuple[str, ...] = ()
    hdu: Annotated[int, Range(at_least=0, at_most=9999)] | str | None = None
    trim: str | None = None
    bad_values: tuple[_PixelValue, ...] = ()
    bad_below: _PixelValue | None = None
    site_longitude_deg: Annotated[float, Range(at_least=-180.0, at_most=360.0)] | None = None
    site_latitude_deg: Annotated[float, Range(at_least=-90.0, at_most=90.0)] | None = None
    sha256: str = field(default="", metadata=COMPUTED)
    """Hash of the file that this was read from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gain", "saturation"):
            if getattr(self, name).value == 0.0:
                raise ConfigError(f"{name} must be above 0")
        if self.gain.unit != "electron/adu":
            raise ConfigError(f"gain must be in electron/adu, not {self.gain.unit}")
        for name in ("read_noise", "saturation"):
            if getattr(self, name).unit == "electron/adu":
                raise ConfigError(f"{name} must be in electron or adu")
        if not self.time:
            raise ConfigError("needs at least one [[time]]")
        self._check_visit_names()

    def _check_visit_names(self) -> None:
        """Raise ConfigError if the visit rule uses a group that the file name pattern does not have."""
        groups = re.compile(self.filename.pattern).groupindex if self.filename else {}
        wanted = [self.visit.group] if self.visit.group else []
        if self.visit.format:
            # upper-case fields are header keywords, the others groups of the file name
            wanted += [name for _, name, _, _ in string.Formatter().parse(self.visit.format) if name and name.islower()]
        for name in wanted:
            if name not in groups:
                hint = did_you_mean(name, groups)
                raise ConfigError(f"visit uses the group '{name}', which filename.pattern does not have{hint}")


def instrument_names() -> list[str]:
    """Return the names of the descriptions that come with dbpipe, sorted."""
    return sorted(entry.name.removesuffix(".toml") for entry in _shipped().iterdir() if entry.name.endswith(".toml"))


def load_instrument(name_or_path: str | os.PathLike[str]) -> Instrument:
    """Read an instrument description.

    Parameters
    ----------
    name_or_path : str or Path
        A shipped name (see `instrument_names`), or the path of a TOML file: anything that ends in ``.toml``.

    Raises
    ------
    ConfigError
        Unknown name, no such file, not TOML, or a key that is unknown, missing or of the wrong kind.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        source: Path | Traversable = Path(text)
        if not source.is_file():
            raise ConfigError(f"there is no instrument description {source}")
    else:
        if text not in instrument_names():
            known = instrument_names()
            raise ConfigError(
                f"unknown instrument '{text}'{did_you_mean(text, known)} (known: {', '.join(known)}; "
                "or give the path of a .toml file)"
            )
        source = _shipped() / f"{text}.toml"
    content = source.read_bytes()
    instrument = build(Instrument, parse_toml(content, text), text)
    return replace(instrument, sha256=hashlib.sha256(content).hexdigest())


def _shipped() -> Traversable:
    """Return the folder of the descriptions that come with dbpipe."""
    return files("dbpipe") / "instruments"
