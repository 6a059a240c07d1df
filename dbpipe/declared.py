"""Tables of TOML into frozen dataclasses, and those into flat names: for settings and descriptions of instruments.

A field that is a dataclass is a table of its own: ``[detect.trail]``. Where it has to be known by one flat name, in
fingerprints and in the record of a run, that name is ``trail_score``, or what `group` says.
"""

import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, is_dataclass
from typing import Any

from dbpipe.errors import ConfigError
from dbpipe.names import did_you_mean, did_you_mean_or_all
from dbpipe.ranges import shorten

COMPUTED = {"computed": True}
"""Metadata of a field that no file may give."""


def group(cls: Any, *, prefix: str | None = None, **flat_names: str) -> Any:
    """Return a field that holds a dataclass, with its defaults.

    Parameters
    ----------
    cls : frozen dataclass
    prefix : str, optional
        What flat names begin with; the name of the field and ``_`` if it is not given.
    flat_names : str
        Field of ``cls`` -> its flat name, where that is another one: results on record are known by it.
    """
    return field(default_factory=cls, metadata={"prefix": prefix, "flat_names": flat_names})


def flat_paths(cls: Any) -> dict[str, tuple[str, ...]]:
    """Return flat name -> names of the fields that lead there, of every value of a dataclass."""
    kinds = typing.get_type_hints(cls)
    paths: dict[str, tuple[str, ...]] = {}
    for item in fields(cls):
        if not is_dataclass(kinds[item.name]):
            paths[item.name] = (item.name,)
            continue
        prefix, known = item.metadata.get("prefix"), item.metadata.get("flat_names", {})
        prefix = f"{item.name}_" if prefix is None else prefix
        for name, path in flat_paths(kinds[item.name]).items():
            paths[known.get(name, prefix + name)] = (item.name, *path)
    return paths


def value_at(section: Any, path: tuple[str, ...]) -> Any:
    """Return the value to which names of fields lead."""
    for name in path:
        section = getattr(section, name)
    return section


def flatten(section: Any) -> dict[str, Any]:
    """Return every value by its flat name."""
    return {name: value_at(section, path) for name, path in flat_paths(type(section)).items()}


def unflatten(cls: Any, values: Mapping[str, Any]) -> Any:
    """Return the dataclass with these values by flat name, as a record in JSON holds them: it knows no tuples."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *outer, last = flat_paths(cls)[name]
        table = nested
        for step in outer:
            table = table.setdefault(step, {})
        table[last] = tuple(value) if isinstance(value, list) else value
    return _made(cls, nested)


def _made(cls: Any, values: Mapping[str, Any]) -> Any:
    kinds = typing.get_type_hints(cls)
    return cls(**{k: _made(kinds[k], v) if is_dataclass(kinds[k]) else v for k, v in values.items()})


def parse_toml(content: bytes, where: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the tables of a TOML file; ``content`` is bytes.

    Raises
    ------
    ConfigError
        If it is not TOML.
    """
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # not all that tomllib raises is its own error
        raise ConfigError(f"{where} is not valid TOML: {error}") from error


def build(cls: Any, table: Mapping[str, Any], where: str, *, path: str = "") -> Any:
    """Make a dataclass from a table, checking every key, type, range and rule.

    Parameters
    ----------
    cls : dataclass
    table : what the file holds there
    where : str
        The file, for messages.
    path : str
        Name of the table in the file.

    Raises
    ------
    ConfigError
        Names the place, what was found and what may stand there.
    """
    here = f"{where} [{path}]" if path else where
    if not isinstance(table, dict):
        raise ConfigError(f"{here} is a table; write [{path}] on a line of its own and what it holds below")
    known = {item.name: item for item in fields(cls) if not item.metadata.get("computed")}
    for name in table:
        if name not in known:
            raise ConfigError(f"{here}{_unknown(name, cls, known, path)}")
    missing = [
        name for name, item in known.items()
        if item.default is MISSING and item.default_factory is MISSING and name not in table
    ]  # fmt: skip
    if missing:
        raise ConfigError(f"{here}: missing {', '.join(missing)}")
    kinds = typing.get_type_hints(cls)
    values: dict[str, Any] = {name: _convert(value, kinds[name], (where, path, name)) for name, value in table.items()}
    try:
        return cls(**values)
    except ConfigError as error:  # the ranges and rules of the table itself
        raise ConfigError(f"{here} {error}") from error


def _unknown(name: str, cls: Any, known: Mapping[str, Any], path: str) -> str:
    """Say which key was meant: one that has moved, one of this table, or one of a table in it."""
    homes = {flat: way for flat, way in flat_paths(cls).items() if len(way) > 1}
    if name in homes:
        return f" {name} is now {_place(path, homes[name])}"
    inner = {way[-1]: way for way in homes.values()}
    meant = did_you_mean(name, [*known, *homes, *inner])
    best = meant.removeprefix("; did you mean ").removesuffix("?")
    if best in known or not meant:
        return f": unknown key {name}{meant or did_you_mean_or_all(name, known)}"
    return f": unknown key {name}; did you mean {_place(path, homes.get(best) or inner[best])}?"


def _place(path: str, way: tuple[str, ...]) -> str:
    *tables, last = way
    return f"[{'.'.join([path, *tables] if path else tables)}] {last}"


def _convert(value: Any, kind: Any, place: tuple[str, ...]) -> Any:
    """Return the value as the kind that the dataclass declares, or refuse it; ``place`` is file, table and key."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    where, path, name = place
    if is_dataclass(kind):
        return build(kind, value, where, path=f"{path}.{name}" if path else name)
    if origin in (types.UnionType, typing.Union):
        exact = [k for k in arguments if type(value) is k]
        fitting = [k for k in exact or arguments if _fits(value, k)]
        if fitting or arguments[1:] == (types.NoneType,):
            return _convert(value, (fitting or arguments)[0], place)
    elif origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[1:] == (Ellipsis,) else arguments
        if len(kinds) == len(value):
            items = enumerate(zip(value, kinds, strict=True))
            return tuple(_convert(item, k, (where, path, f"{name}[{i}]")) for i, (item, k) in items)
    elif origin is dict and isinstance(value, dict):
        return {key: _convert(item, arguments[1], (where, path, f"{name}.{key}")) for key, item in value.items()}
    elif origin is typing.Literal:
        if value in arguments:
            return value
    elif _fits(value, kind):
        return _as_float(value) if kind is float else value
    at = f"{where} [{path}] {name}" if path else f"{where}: {name}"
    raise ConfigError(f"{at} = {_shown(value)}: expected {_kind_name(kind)}, got {type(value).__name__}")


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else shorten(value)


def _as_float(value: float) -> float:
    """Return a number as float; a whole number that is too large for one, in TOML there is no limit, is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _fits(value: Mapping[str, str] | float | str, kind: type | type[Any]) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, dict if is_dataclass(kind) else typing.get_origin(kind) or kind)


def _kind_name(kind: Any) -> str:
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(str, typing.get_args(kind)))
    if (typing.get_origin(kind) or kind) in (tuple, dict):
        return "a list" if typing.get_origin(kind) is tuple else "a table of names"
    return {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}.get(kind, str(kind))
