"""Finding raw files: folders are searched, files that are named are taken as they are.

Whatever is found and not taken is told, by kind and with an example; nothing but regular files is ever opened.
"""

import glob
import os
import re
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbpipe.catalog.work.request import place_of
from dbpipe.disk.ledger import LEDGER
from dbpipe.errors import ConfigError
from dbpipe.failures import clean

_FITS = re.compile(r"\.(fits|fit|fts)(\.(gz|fz|bz2))?$", re.IGNORECASE)
NOT_FITS = "not named like FITS"


@dataclass
class LeftAlone:
    """What was found and not taken."""

    counts: Counter[str] = field(default_factory=Counter)
    """Kind -> number."""
    examples: dict[str, Any] = field(default_factory=dict)
    """Kind -> the first path of it, as text that can be stored and printed."""

    def add(self, kind: str, path: str) -> None:
        """Put a path aside."""
        self.counts[kind] += 1
        self.examples.setdefault(kind, clean(path))

    def __int__(self) -> int:
        return self.counts.total()


def find_raw_files(
    names: Sequence[str | os.PathLike[str]], *, leave_out: Path | None = None
) -> tuple[list[str], LeftAlone]:
    """Return the files that the user means.

    Parameters
    ----------
    names : sequence of path
        Files, folders (searched to the bottom for FITS files, links to other folders included) or patterns with ``*``.
    leave_out : path, optional
        Folder whose files are never taken: the survey itself, which need not be there yet.

    Returns
    -------
    (list of str, LeftAlone)
        Absolute paths without links to folders, sorted, each file once; and what was found beside them: files that are
        not named like FITS, links to nothing, pipes and the like, folders that cannot be read, names that are no text.

    Raises
    ------
    ConfigError
        If something is not there.
    """
    left = LeftAlone()
    seen = {_identity(leave_out)} if leave_out is not None and os.path.exists(leave_out) else set()
    found: dict[tuple[int, int], str] = {}
    for name in names:
        for path in _expand(os.fspath(name)):
            for place, is_named in _walk(path, seen, left):
                _take(place, found, left, is_named=is_named)
    return sorted(found.values()), left


def _take(path: str, found: dict[tuple[int, int], str], left: LeftAlone, *, is_named: bool) -> None:
    """Add a path to the files found, or put it aside."""
    try:
        state = os.stat(path)
    except OSError as error:
        left.add("link to nothing" if os.path.islink(path) else f"cannot be looked at ({error.strerror})", path)
        return
    if not is_named and not _FITS.search(os.path.basename(path)):
        left.add(NOT_FITS, path)
    elif not stat.S_ISREG(state.st_mode):
        left.add("not a regular file", path)
    elif not _is_text(path):
        left.add("name is not UTF-8", path)
    else:
        known = found.setdefault((state.st_dev, state.st_ino), path)
        found[state.st_dev, state.st_ino] = min(known, path, key=lambda p: (os.path.islink(p), p))


def _walk(path: str, seen: set[tuple[int, int]], left: LeftAlone) -> Iterator[Any]:
    """Yield the files of a folder with False, or the path itself with True where it is none.

    A folder is entered once, by whatever links it is reached.
    """
    if not os.path.isdir(path):
        yield place_of(path), True
        return
    folders = [os.path.realpath(path)]
    while folders:
        folder = folders.pop()
        try:
            identity = _identity(folder)
            entries = [] if identity in seen else sorted(os.listdir(folder))
        except OSError as error:
            left.add(f"folder cannot be read ({error.strerror})", folder)
            continue
        seen.add(identity)
        for entry in entries:
            if entry == LEDGER:
                continue
            inside = os.path.join(folder, entry)
            if os.path.isdir(inside):
                folders.append(os.path.realpath(inside))
            else:
                yield inside, False


def _identity(path: str | os.PathLike[str]) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_dev, state.st_ino


def _is_text(path: str) -> bool:
    """Return whether a path can be stored: not every name on a disk is UTF-8."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def split_settled(
    paths: Sequence[str],
    *,
    settle_s: float,
    now: Callable[..., Any] = time.time,
    sleep: Callable[..., Any] = time.sleep,
) -> tuple[list[str], list[str]]:
    """Tell files that are whole from those that somebody is still writing to.

    A file that changed less than ``settle_s`` seconds ago is looked at again after that time: if it has changed, it is
    still being copied. Without such files there is nothing to wait for.

    Returns
    -------
    (list of str, list of str)
        Settled ones, growing ones; each in the given order.
    """
    before = {path: _state(path) for path in paths}
    young = [path for path, state in before.items() if state is None or now() - state[1] / 1e9 < settle_s]
    if not young:
        return list(paths), []
    sleep(settle_s)
    growing = {path for path in young if before[path] is None or _state(path) != before[path]}
    return [path for path in paths if path not in growing], [path for path in paths if path in growing]


def _state(path: str) -> tuple[int, int] | None:
    """Size and time of change [ns]; None if it has just been moved away, or cannot be looked at."""
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def _expand(name: str) -> list[str]:
    """Return the paths that a name stands for; one that is there is meant, whatever signs of patterns it contains."""
    home = os.path.expanduser(name)
    for path in (name, home):
        if os.path.lexists(path):
            return [path]
    matches = sorted(glob.glob(home, recursive=True))
    if not matches:
        raise ConfigError(f"{clean(name)} is not there")
    return matches
