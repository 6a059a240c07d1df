"""Why a unit of work failed: whose fault it is, and what is kept of an error nobody foresaw.

An error is caught in `dbpipe.runner.worker.work` and recorded by `dbpipe.runner.pipeline`; when the unit is tried again
says ``pending`` in `sql/catalog/unit.sql`.
"""

import errno
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dbpipe
from dbpipe.errors import DataError, DbpipeError, TransientError

DATA, TRANSIENT, BUG, DIED = "data", "transient", "bug", "died"
TIME_LIMIT, MEMORY_LIMIT = "time_limit", "memory_limit"
UNEXPECTED = (BUG, DIED, TIME_LIMIT, MEMORY_LIMIT)
"""Kinds of failure that no input should bring about: a command that met one says so by its exit code."""
MAX_RUN = 3
"""Runs that try a unit whose worker died or ran into a limit, and that wait for it; then only --retry-failed does."""

_OF_THE_RUN = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}
"""What goes wrong on a disk for every unit alike."""
_MAX_REASON, _MAX_TRACEBACK = 300, 12_000
"""Characters kept: a line to read, and some 80 frames."""
_PLACES = (f"{Path(dbpipe.__file__).parent.parent}/", f"{Path(traceback.__file__).parent}/", f"{sys.prefix}/")
"""Folders whose names say nothing of the error but something of the machine."""


@dataclass(frozen=True)
class Failure:
    """What is kept of an error that one unit met."""

    kind: str
    reason: str
    numbers: dict[str, Any] = field(default_factory=dict)
    traceback: str | None = None


def stops_run(error: BaseException) -> bool:
    """Return whether an error is not of one unit: settings, catalog, a full disk, or a query that was interrupted."""
    if isinstance(error, DbpipeError):
        return not isinstance(error, DataError)
    if isinstance(error, OSError):
        return error.errno in _OF_THE_RUN
    return isinstance(error, RuntimeError) and str(error) == "Query interrupted"  # how DuckDB passes a signal on


def failure_of(error: BaseException) -> Failure:
    """Return the `Failure` that an error of one unit is."""
    if isinstance(error, DataError):
        kind = TRANSIENT if isinstance(error, TransientError) else DATA
        return Failure(kind, clean(error.message), error.numbers)
    kind = BUG
    if isinstance(error, MemoryError):
        kind = MEMORY_LIMIT
    elif isinstance(error, OSError) and error.errno is not None:
        kind = TRANSIENT
    text = " ".join(str(error).split())[:_MAX_REASON]
    return Failure(kind, clean(f"{type(error).__name__}: {text}" if text else type(error).__name__), {}, _trace(error))


def clean(text: str) -> str:
    """Return a text that can be stored: what is no Unicode (parts of file names) is written as ``\\udcff``."""
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _trace(error: BaseException) -> str:
    """Return the traceback without the folders of this machine; of a long one the beginning and the end."""
    text = clean("".join(traceback.format_exception(error)))
    for place in _PLACES:
        text = text.replace(place, "")
    half = _MAX_TRACEBACK // 2
    return text if len(text) <= _MAX_TRACEBACK else f"{text[:half]}\n  ...\n{text[-half:]}"
