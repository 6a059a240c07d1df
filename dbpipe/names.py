"""Help for names that do not exist: say which known one is nearest."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def nearest(name: str, known: Iterable[str], *, n: int = 3) -> list[str]:
    """Return up to ``n`` known names that resemble ``name``, best first; upper and lower case count as the same."""
    by_lower: dict[str, str] = {}
    for candidate in known:
        by_lower.setdefault(str(candidate).lower(), str(candidate))
    found = difflib.get_close_matches(str(name).lower(), by_lower, n=n, cutoff=0.6)
    return [by_lower[lower] for lower in found]


def did_you_mean(name: str, known: Mapping[str, Any] | Sequence[str] | set[str]) -> str:
    """Return a hint to append to an error message, or an empty string if nothing resembles ``name``."""
    best = nearest(name, known, n=1)
    return f"; did you mean {best[0]}?" if best else ""


def did_you_mean_or_all(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """Return a hint to append to an error message; where nothing resembles ``name``, it lists what there is."""
    return did_you_mean(name, known) or f"; known are: {', '.join(map(str, known)) or 'none'}"
