"""Questions that come with dbpipe: named queries of ``sql/cookbook/``, their parameters and defaults.

The comment under ``-- name: x`` begins with the question; a line ``-- $radius_arcsec = 60: [arcsec] radius`` is a
parameter. Values are handed to the database beside the text, never pasted into it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dbpipe.catalog.sql.queries import directory, load
from dbpipe.errors import CatalogError, ConfigError
from dbpipe.names import did_you_mean_or_all

_PARAMETER = re.compile(r"^-- \$(\w+)(?: = (\S+))?: (.+)$")
_CONSTANTS = {"null": None, "true": True, "false": False}


@dataclass(frozen=True)
class Parameter:
    """A value that a recipe asks for."""

    name: str
    default: str | None
    """Text as on the command line; None: it must be given."""
    meaning: str


@dataclass(frozen=True)
class Recipe:
    """A named query."""

    name: str
    question: str
    query: str
    parameters: tuple[Parameter, ...]

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of all parameters: those given, and the defaults of the others.

        Raises
        ------
        ConfigError
            If one is missing, or not known.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise ConfigError(f"{self.name} has no parameter ${name}{did_you_mean_or_all(name, known)}")
        for name, parameter in known.items():
            if name not in given and parameter.default is None:
                raise ConfigError(f"{self.name} needs ${name}: {parameter.meaning} (--set {name}=...)")
        return {name: given[name] if name in given else parse_value(p.default or "") for name, p in known.items()}


def read_recipes() -> dict[str, Recipe]:
    """Return every recipe, name -> `Recipe`, in the order of the files."""
    recipes = {}
    for path in sorted((directory("sql") / "cookbook").glob("*.sql")):
        for name, text in load(path).items():
            if name in recipes:
                raise CatalogError(f"{path} gives the name {name} a second time")
            recipes[name] = _recipe(name, text)
    return recipes


def find_recipe(name: str) -> Recipe:
    """Return a recipe, or raise ConfigError that names the nearest one."""
    recipes = read_recipes()
    if name not in recipes:
        raise ConfigError(f"the cookbook has no {name}{did_you_mean_or_all(name, recipes)}")
    return recipes[name]


def parse_value(text: str) -> bool | float | str | None:
    """Return the value that a text means: a number, true, false, null, else the text; quotes make anything text."""
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _recipe(name: str, text: str) -> Recipe:
    lines = text.splitlines()
    head = [line for line in lines if line.startswith("--")]
    parameters = tuple(Parameter(*match.groups()) for line in head if (match := _PARAMETER.match(line)))
    question = " ".join(line[2:].strip() for line in head if not _PARAMETER.match(line))
    return Recipe(name, question, text, parameters)
