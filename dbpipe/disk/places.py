"""Where files are, seen with distrust: nothing here follows a link, and only what was made here is deleted."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any


def find_below(root: str | os.PathLike[str], relative: str) -> Path | None:
    """Return the path of something below a folder; None if its name, or a link on the way, leads elsewhere.

    Parameters
    ----------
    root : path
        May itself be reached through a link.
    relative : str
        As a table or a manifest has it; it need not be there.
    """
    if not isinstance(relative, str) or "\0" in relative or os.path.isabs(relative):
        return None
    root = os.path.realpath(root)
    path = os.path.join(root, relative)
    if os.path.normpath(path) != path or not path.startswith(os.path.join(root, "")):
        return None
    return Path(path) if os.path.realpath(path) == path else None


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether there is a folder, not a link to one."""
    with suppress(OSError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def is_regular(path: Path) -> bool:
    """Return whether there is a regular file, not a link to one."""
    with suppress(OSError):
        return stat.S_ISREG(os.lstat(path).st_mode)
    return False


def find_files(folder: str | os.PathLike[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (relative path, os.DirEntry) of what is below a folder and no folder, sorted."""
    if not is_folder(folder):
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from find_files(entry.path, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry


def remove_made(folder: Path, is_made: Callable[..., Any]) -> list[str]:
    """Delete what was made here below a folder, then the folders that are empty, itself among them.

    Parameters
    ----------
    folder : path
    is_made : callable
        ``is_made(relative path, os.stat_result)`` of a regular file.

    Returns
    -------
    list of str
        What is left, relative to the folder.
    """
    left: list[str] = []
    if not is_folder(folder):
        return left
    for relative, entry in list(find_files(folder)):
        regular = entry.is_file(follow_symlinks=False)
        if not (regular and is_made(relative, entry.stat(follow_symlinks=False)) and _unlink(entry.path)):
            left.append(relative)
    for below, _, _ in os.walk(folder, topdown=False):
        remove_empty(below)
    return left


def remove_empty(folder: str | os.PathLike[str]) -> None:
    """Delete a folder if it is empty."""
    with suppress(OSError):
        os.rmdir(folder)


def _unlink(path: str) -> bool:
    """Delete a file; False if that is not allowed."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    return True
