"""Settings: strict TOML into frozen dataclasses, one section per stage, and their documentation from the source."""

import ast
import difflib
import inspect
import json
import math
import textwrap
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path

from dbpipe.errors import ConfigError
from dbpipe.ranges import describe_range, shorten


class Settings(Mapping):
    """The settings in force: ``settings["calibrate"].psf_size_pix`` or ``settings.calibrate.psf_size_pix``."""

    def __init__(self, sections):
        self._sections = dict(sections)

    def __getitem__(self, name):
        return self._sections[name]

    def __iter__(self):
        return iter(self._sections)

    def __len__(self):
        return len(self._sections)

    def __getattr__(self, name):
        try:
            return self.__dict__["_sections"][name]
        except KeyError:
            raise AttributeError(f"no section {name} in the settings") from None

    def as_dict(self):
        """Return every value as plain dictionaries."""
        return {name: asdict(section) for name, section in self._sections.items()}


def read_settings(path, sections):
    """Read a settings file.

    Parameters
    ----------
    path : path or None
        TOML file; None gives the defaults.
    sections : dict
        Section name -> frozen dataclass.

    Raises
    ------
    ConfigError
        If the file is not TOML, has a section, key or type that is not known, or a value outside of its range.
    """
    found = {} if path is None else _read_toml(path)
    where = "settings" if path is None else str(path)
    for name, value in found.items():
        if name not in sections:
            raise ConfigError(f"{where}: unknown section [{name}]{_nearest(name, sections)}")
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {name} is a section; write [{name}] on a line of its own")
    return Settings({name: _build(cls, found.get(name, {}), f"{where} [{name}]") for name, cls in sections.items()})


def _read_toml(path):
    if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for
        raise ConfigError(f"{path} is not a file")
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there: not a survey? (`dbpipe init SURVEY` makes one)") from None
    except (ValueError, RecursionError) as error:  # not all that tomllib raises is its own error
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _build(cls, values, where):
    """Make one section, checking every key and type."""
    kinds = typing.get_type_hints(cls)
    for name in values:
        if name not in kinds:
            raise ConfigError(f"{where}: unknown key {name}{_nearest(name, kinds)}")
    checked = {name: _convert(value, kinds[name], f"{where} {name}") for name, value in values.items()}
    try:
        return cls(**checked)
    except ConfigError as error:  # the ranges and rules of the section itself
        raise ConfigError(f"{where} {error}") from error


def _nearest(name, known):
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.3)
    return f"; did you mean {near[0]}?" if near else f"; known are: {', '.join(known)}"


def _convert(value, kind, where):
    """Return the value as the kind that the dataclass declares, or refuse it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        exact = [k for k in arguments if type(value) is k]
        for choice in exact or arguments:
            if _fits(value, choice):
                return _convert(value, choice, where)
    elif origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[1:] == (Ellipsis,) else arguments
        if len(kinds) == len(value):
            return tuple(
                _convert(item, k, f"{where}[{i}]") for i, (item, k) in enumerate(zip(value, kinds, strict=True))
            )
    elif origin is dict and isinstance(value, dict):
        return {key: _convert(item, arguments[1], f"{where}.{key}") for key, item in value.items()}
    elif origin is typing.Literal:
        if value in arguments:
            return value
    elif _fits(value, kind):
        return _as_float(value) if kind is float else value
    raise ConfigError(f"{where} = {_shown(value)}: expected {_kind_name(kind)}, got {type(value).__name__}")


def _as_float(value):
    """Return a number as float; a whole number that is too large for one, in TOML there is no limit, is infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _shown(value):
    return shorten(value) if isinstance(value, int) else format_value(value)


def _fits(value, kind):
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, typing.get_origin(kind) or kind)


def _kind_name(kind):
    if typing.get_origin(kind) is typing.Literal:
        return "one of " + ", ".join(map(repr, typing.get_args(kind)))
    names = {int: "a whole number", float: "a number", str: "text in quotes", bool: "true or false"}
    return names.get(kind, str(kind).replace("dict[str, str]", "a table of names"))


@dataclass(frozen=True)
class Documented:
    """One setting with its explanation."""

    section: str
    name: str
    default: object
    text: str
    allowed: str
    """Its range, or the few values that it may have; empty where anything of its type will do."""


def document(sections):
    """Return every setting with the text that stands under its field, in order."""
    return [
        Documented(section, item.name, _default(item), texts.get(item.name, ""), describe_range(hints[item.name]))
        for section, cls in sections.items()
        for texts, hints in [(_field_texts(cls), typing.get_type_hints(cls, include_extras=True))]
        for item in fields(cls)
    ]


def _default(item):
    return item.default if item.default is not MISSING else item.default_factory()


def _field_texts(cls):
    """Read the strings under the fields of a dataclass from its source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body
    texts = {}
    for statement, following in zip(body, body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(following, ast.Expr):
            continue
        if isinstance(following.value, ast.Constant) and isinstance(following.value.value, str):
            texts[statement.target.id] = inspect.cleandoc(following.value.value)
    return texts


def default_text(sections, heading):
    """Return a settings file in which every setting stands with its explanation, commented out at its default."""
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    for section, cls in sections.items():
        lines += ["", f"[{section}]", f"# {inspect.cleandoc(cls.__doc__ or '').splitlines()[0]}"]
        for setting in document({section: cls}):
            lines += [f"# {line}".rstrip() for line in setting.text.splitlines()]
            allowed = f"  # {setting.allowed}" if setting.allowed else ""
            lines.append(f"# {setting.name} = {format_value(setting.default)}{allowed}")
    return "\n".join(lines) + "\n"


def format_value(value):
    """Write a value the way TOML does."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {format_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return "(unset)" if value is None else repr(value)
