"""Settings: strict TOML into frozen dataclasses, one section per stage, and their documentation from the source."""

import ast
import inspect
import json
import textwrap
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from dbpipe.declared import build, flatten, parse_toml
from dbpipe.errors import ConfigError
from dbpipe.names import did_you_mean_or_all
from dbpipe.ranges import describe_range


class Settings(Mapping[str, Any]):
    """The settings in force: ``settings["calibrate"].psf.size_pix`` or ``settings.calibrate.psf.size_pix``."""

    def __init__(self, sections: Mapping[str, Any]) -> None:
        self._sections = dict(sections)

    def __getitem__(self, name: str) -> Any:
        return self._sections[name]

    def __iter__(self) -> Any:
        return iter(self._sections)

    def __len__(self) -> Any:
        return len(self._sections)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_sections"][name]
        except KeyError:
            raise AttributeError(f"no section {name} in the settings") from None

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """Return every value by section and flat name (`dbpipe.declared`), as the record of a run has it."""
        return {name: flatten(section) for name, section in self._sections.items()}


def read_settings(path: Path | None, sections: Mapping[str, Any]) -> Settings:
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
            raise ConfigError(f"{where}: unknown section [{name}]{did_you_mean_or_all(name, sections)}")
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: {name} is a section; write [{name}] on a line of its own")
    return Settings({name: build(cls, found.get(name, {}), where, path=name) for name, cls in sections.items()})


def _read_toml(path: Path) -> dict[str, dict[str, Any]]:
    if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for
        raise ConfigError(f"{path} is not a file")
    try:
        return parse_toml(Path(path).read_bytes(), path)
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there: not a survey? (`dbpipe init SURVEY` makes one)") from None


@dataclass(frozen=True)
class Documented:
    """One setting with its explanation."""

    section: str
    """The table of the file in which it stands, as `detect` or `detect.trail`."""
    name: str
    default: Any
    text: str
    allowed: str
    """Its range, or the few values that it may have; empty where anything of its type will do."""


def document(sections: Mapping[str, Any]) -> list[Documented]:
    """Return every setting with the text that stands under its field, in the order of the file."""
    return [
        Documented(table, item.name, _default(item), texts.get(item.name, ""), describe_range(hints[item.name]))
        for table, cls in tables(sections)
        for texts, hints in [(_field_texts(cls), typing.get_type_hints(cls, include_extras=True))]
        for item in fields(cls)
        if not is_dataclass(hints[item.name])
    ]


def tables(sections: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the name of every table in the file with its dataclass: each section, then the tables in it."""
    for name, cls in sections.items():
        yield name, cls
        kinds = typing.get_type_hints(cls)
        yield from tables({f"{name}.{k}": kind for k, kind in kinds.items() if is_dataclass(kind)})


def _default(item: Any) -> Any:
    return item.default if item.default is not MISSING else item.default_factory()


def _field_texts(cls: Any) -> dict[str, str]:
    """Read the strings under the fields of a dataclass from its source."""
    declared: Any = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    body = declared.body
    texts = {}
    for statement, following in zip(body, body[1:], strict=False):
        if not isinstance(getattr(statement, "target", None), ast.Name) or not isinstance(following, ast.Expr):
            continue
        if isinstance(following.value, ast.Constant) and isinstance(following.value.value, str):
            texts[statement.target.id] = inspect.cleandoc(following.value.value)
    return texts


def default_text(sections: Mapping[str, Any], heading: str) -> str:
    """Return a settings file in which every setting stands with its explanation, commented out at its default."""
    lines = [f"# {line}".rstrip() for line in heading.splitlines()]
    settings = document(sections)
    for table, cls in tables(sections):
        lines += ["", f"[{table}]", f"# {inspect.cleandoc(cls.__doc__ or '').splitlines()[0]}"]
        for setting in (setting for setting in settings if setting.section == table):
            lines += [f"# {line}".rstrip() for line in setting.text.splitlines()]
            allowed = f"  # {setting.allowed}" if setting.allowed else ""
            lines.append(f"# {setting.name} = {format_value(setting.default)}{allowed}")
    return "\n".join(lines) + "\n"


def format_value(value: Mapping[str, Any] | None) -> str:
    """Write a value the way TOML does."""
    if isinstance(value, dict):
        inner = ", ".join(f"{key} = {format_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, bool | str):
        return json.dumps(value)
    return "(unset)" if value is None else repr(value)
