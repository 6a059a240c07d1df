"""Files that a user asked for: whole or not at all, and never in the place of one that dbpipe did not make.

Every folder that gets such a file has a ledger beside it, ``.dbpipe-made.json``: name -> SHA-256 of what was written. A
file is replaced only if it is in there and has not been changed since. While a file is replaced its name has two
hashes, that of before and that of after: whichever a kill leaves is known.
"""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dbpipe.disk.beside import hash_file, reserve_beside, sync_folder, write_beside, written
from dbpipe.disk.places import is_regular
from dbpipe.errors import ConfigError

LEDGER = ".dbpipe-made.json"
_MAX_SIZE_BYTE = 64 << 20
"""Of a ledger: half a million names."""
_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG}


def write_output(path: Path, write: Callable[..., Any]) -> tuple[str, int]:
    """Write a file that a user asked for.

    Parameters
    ----------
    path : path
        Its folder is made if need be.
    write : callable
        Called with the path to write to, in the same folder and with the same suffix.

    Returns
    -------
    (sha256, size_byte)

    Raises
    ------
    ConfigError
        If something is there that dbpipe did not make, or that was changed since; or if nothing can be written there.
    """
    path = check_output(path)
    with plain_errors(path):
        temporary = reserve_beside(path)
    with written(temporary, write) as (sha256, size), _locked(path.parent):
        require_own(path)
        known = _read(path.parent)
        _record(path.parent, known | {path.name: [*known.get(path.name, []), sha256]})
        os.replace(temporary, path)
        sync_folder(path.parent)
        _record(path.parent, known | {path.name: [sha256]})
    return sha256, size


def check_output(path: Path) -> Path:
    """Return a path, absolute, if a file may be written there, and make its folder; else ConfigError."""
    path = Path(os.path.abspath(path))
    with plain_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        require_own(path)
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "its folder is read-only, or not yours to write to")
    return path


def adopt(path: Path) -> None:
    """Take what stands in the place of an output for made by dbpipe: the user said that it may be overwritten."""
    path = Path(os.path.abspath(path))
    with plain_errors(path):
        if _require_regular(path):
            with _locked(path.parent):
                _record(path.parent, _read(path.parent) | {path.name: [hash_file(path)[0]]})


def is_own(path: Path) -> bool:
    """Return whether a file is as dbpipe made it."""
    path = Path(path)
    hashes = _read(path.parent).get(path.name) if is_regular(path) else None
    return hashes is not None and hash_file(path)[0] in hashes


def require_own(path: Path) -> None:
    """Raise ConfigError if something is there that is not as dbpipe made it."""
    if path.name == LEDGER:
        raise ConfigError(f"{path} is where dbpipe notes what it made: choose another name")
    if _require_regular(path) and not is_own(path):
        raise ConfigError(
            f"{path} is there and dbpipe did not make it, or it was changed since: choose another name "
            "(or --overwrite, where the command has it)"
        )


def _require_regular(path: Path) -> bool:
    """Return whether something is there; ConfigError if it is no regular file."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a link" if stat.S_ISLNK(mode) else "not a regular file"
        raise ConfigError(f"{path} is {kind}, so it is not replaced: choose another name")
    return True


@contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what the system says of a name where nothing can be written into a ConfigError of one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _OF_THE_DISK:
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path} cannot be written: {reason}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Have a folder's ledger for oneself."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: then nobody else may write there at the same moment
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read(folder: Path) -> dict[str, list[str]]:
    """Return name -> hashes; a file of this name that is no ledger is an error, for it would be overwritten."""
    path = folder / LEDGER
    if not os.path.lexists(path):
        return {}
    known = None
    with suppress(OSError, ValueError, RecursionError, AttributeError):
        if is_regular(path) and path.stat().st_size <= _MAX_SIZE_BYTE:
            known = json.loads(path.read_text(encoding="utf-8")).get("made_by_dbpipe")
    if not isinstance(known, dict) or not all(map(_is_hashes, known.values())):
        raise ConfigError(f"{path} is not a list that dbpipe made: move it away")
    return known


def _is_hashes(value: Sequence[int | str]) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _record(folder: Path, known: Mapping[str, list[str]]) -> None:
    text = json.dumps({"made_by_dbpipe": known}, indent=1, sort_keys=True) + "\n"
    write_beside(folder / LEDGER, lambda path: path.write_text(text, encoding="utf-8"))
