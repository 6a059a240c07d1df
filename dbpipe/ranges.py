"""The range of every number that a user may set, declared with its field and checked wherever the section is made.

    @dataclass(frozen=True)
    class KernelConfig(Ranged):
        order: Annotated[int, Range(at_least=0, at_most=4)] = 2

A value that is not finite is outside every range. Settings and descriptions of instruments share this.
"""

import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, cast

from dbpipe.errors import ConfigError

_LONGEST_SHOWN = 60
"""Characters of a refused value that a message shows: a whole number in a file can have thousands of digits."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers that make sense for a field."""

    above: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    or_exactly: float | None = None
    """A value outside that has a meaning of its own."""
    odd: bool = False

    def __contains__(self, value: float) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if self.or_exactly is not None and value == self.or_exactly:
            return True
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (not self.odd or value % 2 == 1)
        )

    def __str__(self) -> str:
        words = []
        if self.at_least is not None and self.at_most is not None:
            words = [f"{_plain(self.at_least)} to {_plain(self.at_most)}"]
        else:
            ends = (("above", self.above), ("at least", self.at_least), ("at most", self.at_most))
            words = [" and ".join(f"{word} {_plain(value)}" for word, value in ends if value is not None)]
        words = [word for word in words if word] or ["finite"]
        if self.or_exactly is not None:
            words.insert(0, f"{_plain(self.or_exactly)} or")
        return ("odd, " if self.odd else "") + " ".join(words)


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


class Ranged:
    """A frozen dataclass whose numbers are checked against the ranges of their fields.

    Raises
    ------
    ConfigError
        Names the field, the value, what it may be and the default.
    """

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        for item in fields(cast(Any, self)):
            for place, value, hint in _leaves(item.name, getattr(self, item.name), hints[item.name]):
                wanted = _refusal(value, hint)
                if wanted:
                    raise ConfigError(f"{place} = {shorten(value)}: must be {wanted}{_said_default(item)}")


def shorten(value: object) -> str:
    """Return a value as text that fits into a message."""
    if isinstance(value, int) and abs(value) >= 10**_LONGEST_SHOWN:
        return f"a whole number of about {int(math.log10(abs(value))) + 1} digits"  # str() of it may be refused
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def describe_range(hint: Any) -> str:
    """Return what a field may be, in words: its range or its few values; empty if anything of its type will do."""
    if typing.get_origin(hint) is typing.Annotated:
        return str(hint.__metadata__[0])
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(map(str, typing.get_args(hint)))
    inner = [describe_range(kind) for kind in typing.get_args(hint) if kind not in (type(None), Ellipsis)]
    return next((text for text in reversed(inner) if text), "")


def _leaves(place: str, value: Mapping[str, str] | None, hint: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, value, hint) of a field, or of every item of a list or table."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, tuple | list):
        kinds = [arguments[0]] * len(value) if arguments[1:] == (Ellipsis,) else arguments
        for k, (item, kind) in enumerate(zip(value, kinds, strict=False)):
            yield from _leaves(f"{place}[{k}]", item, kind)
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(f"{place}.{key}", item, arguments[1])
    elif origin in (types.UnionType, typing.Union):
        fitting = [kind for kind in arguments if _is_number(value) == (typing.get_origin(kind) is typing.Annotated)]
        if value is not None and fitting:
            yield place, value, fitting[0]
    else:
        yield place, value, hint


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refusal(value: Any, hint: Any) -> str:
    """Return what a value must be if it is not that, else an empty text."""
    if typing.get_origin(hint) is typing.Literal:
        return "" if value in typing.get_args(hint) else "one of " + ", ".join(map(str, typing.get_args(hint)))
    if typing.get_origin(hint) is not typing.Annotated:
        return ""
    kind, allowed = hint.__origin__, hint.__metadata__[0]
    fits = _is_number(value) and (kind is float or isinstance(value, int))
    if fits and value in allowed:
        return ""
    return f"{'a whole number' if kind is int else 'a number'}, {allowed}"


def _said_default(item: Any) -> str:
    if item.default is MISSING:
        return ""
    return f" (the default is {item.default!r})" if item.default is not None else ""
