"""Files that are whole under their name or not there: written beside, synced, renamed."""

import hashlib
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY_PREFIX = ".tmp-"
_MAX_NAME_BYTE = 255
"""NAME_MAX of every file system in use."""


def write_beside(path: Path, write: Callable[..., Any]) -> tuple[str, int]:
    """Write a file so that it is either whole under its name or not there.

    Parameters
    ----------
    path : path
        Where it shall stand; its folder is made if need be.
    write : callable
        Called with the path to write to, in the same folder and with the same suffix.

    Returns
    -------
    (sha256, size_byte)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = reserve_beside(path)
    with written(temporary, write) as (sha256, size):
        os.replace(temporary, path)
    sync_folder(path.parent)
    return sha256, size


@contextmanager
def written(temporary: Path, write: Callable[..., Any]) -> Iterator[tuple[str, int]]:
    """Write a file under a name of `reserve_beside`; whoever does not rename it in the block gives it up.

    Yields
    ------
    (sha256, size_byte)
    """
    try:
        write(temporary)
        yield hash_file(temporary, sync=True)
    finally:
        temporary.unlink(missing_ok=True)


def reserve_beside(path: Path) -> Path:
    """Make an empty file beside a path, with its suffix, under a name that nobody has, and return it."""
    path = Path(path)
    for number in itertools.count():
        prefix = f"{TEMPORARY_PREFIX}{os.getpid()}-" + (f"{number}-" if number else "")
        end = os.fsencode(path.name)[-(_MAX_NAME_BYTE - len(prefix)) :].decode(errors="ignore")
        temporary = path.with_name(prefix + end)
        try:
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        return temporary
    raise AssertionError("numbers have no end")


def replace_file(temporary: Path, path: Path) -> None:
    """Put a file that was written beside into its place, for good: bytes, name and folder are on the disk."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(Path(path).parent)


def hash_file(path: Path, *, sync: bool = False) -> tuple[str, int]:
    """Return (sha256, size_byte) of a file; ``sync`` forces its bytes to the disk first."""
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
