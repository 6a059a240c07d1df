"""Finding raw files: folders are searched, files that are named are taken as they are."""

import glob
import os
import re
import time
from pathlib import Path

from dbpipe.catalog.request import place_of
from dbpipe.errors import ConfigError

_FITS = re.compile(r"\.(fits|fit|fts)(\.(gz|fz|bz2))?$", re.IGNORECASE)


def find_raw_files(names, *, leave_out=None):
    """Return the files that the user means.

    Parameters
    ----------
    names : sequence of path
        Files, folders (searched to the bottom for FITS files) or patterns with ``*``.
    leave_out : path, optional
        Folder whose files are never taken: the survey itself.

    Returns
    -------
    (list of str, int)
        Absolute paths, sorted, each once whatever links lead to its folder; and how many files of the folders do not
        look like FITS.

    Raises
    ------
    ConfigError
        If something is not there.
    """
    found, n_other = set(), 0
    for name in names:
        for path in _expand(str(name)):
            if not path.is_dir():
                found.add(place_of(path))
                continue
            inside = [p for p in path.rglob("*") if p.is_file() and not _is_under(p, leave_out)]
            fits = {place_of(p) for p in inside if _FITS.search(p.name)}
            found |= fits
            n_other += len(inside) - len(fits)
    return sorted(found), n_other


def split_settled(paths, *, settle_s, now=time.time, sleep=time.sleep):
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


def _state(path):
    """Size and time of change [ns]; None if it has just been moved away."""
    try:
        state = os.stat(path)
    except FileNotFoundError:
        return None
    return state.st_size, state.st_mtime_ns


def _expand(name):
    path = Path(name).expanduser()
    if path.exists():
        return [path]
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    if not matches:
        raise ConfigError(f"{name} is not there")
    return matches


def _is_under(path, folder):
    return folder is not None and Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))
