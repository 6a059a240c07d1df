"""The trees of an export folder: which of them dbpipe made, what in them it made, and taking that away again.

A tree belongs to dbpipe only if its own manifest says so. The manifest is read with distrust: it names files of the
shapes that a tree has, or it is none. What is not named there, or was changed since, is never deleted or linked.
"""

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dbpipe.disk.beside import write_beside
from dbpipe.disk.places import find_below, find_files, is_folder, is_regular, remove_empty, remove_made

MANIFEST = "manifest.json"
UNFINISHED = ".tmp-"
SCRATCH = "scratch-"
"""Beginning of the names of folders for what is under way."""
_MAX_SIZE_BYTE = 1 << 30
"""Of a manifest: ten million files."""
_NUMBER = re.compile(r"[0-9]{6,18}")
_UNFINISHED_NAME = re.compile(re.escape(UNFINISHED) + r"[0-9]+(-[0-9]+)?")
SCRATCH_FILE = re.compile(SCRATCH + r"\w+/part_number=[0-9]+/[\w.-]+\.parquet", re.ASCII)
_SHAPE = re.compile(
    r"(\.tmp-[0-9-]+)?manifest\.json"
    r"|\w+/by_night/night=-?[0-9]+/\w+\.parquet"
    r"|\w+/hats/(collection\.properties|\w[\w.+-]*/(hats\.properties|partition_info\.csv|dataset/("
    r"_metadata|_common_metadata|Norder=[0-9]+/Dir=[0-9]+/Npix=[0-9]+\.parquet)))",
    re.ASCII,
)
"""Every file of a tree."""
_PART = re.compile(r".*\.parquet")


@dataclass(frozen=True)
class Manifest:
    """What a tree says of itself."""

    layouts: list[Any] = field(default_factory=list)
    parts: dict[str, Any] = field(default_factory=dict)
    """Path -> [number of rows, text that changes if they do]."""
    files: dict[str, Any] | None = None
    """Path -> [bytes, time of the last change in ns]; None in a tree of a version that did not write them down."""


def numbers(folder: Path) -> list[int]:
    """Return the numbers of the finished trees that dbpipe made, sorted."""
    found = [name for name in _names(folder) if _NUMBER.fullmatch(name) and name == format_number(int(name))]
    return sorted(int(name) for name in found if read_manifest(Path(folder) / name) is not None)


def format_number(number: int) -> str:
    """Return the name of a finished tree."""
    return f"{number:06d}"


def free_name(folder: Path, number: int) -> str:
    """Return the name of the first tree from a number on that nothing else has."""
    while os.path.lexists(Path(folder) / format_number(number)):
        number += 1
    return format_number(number)


def begin(folder: Path, content: dict[str, Any]) -> Path:
    """Make an unfinished tree, with a manifest that says whose it is, and return its path."""
    path = Path(folder) / f"{UNFINISHED}{os.getpid()}"
    number = 0
    while os.path.lexists(path):
        number += 1
        path = path.with_name(f"{UNFINISHED}{os.getpid()}-{number}")
    path.mkdir()
    write_manifest(path, content)
    return path


def write_manifest(tree: Path, content: dict[str, Any]) -> None:
    """Write the manifest of a tree, whole or not at all."""
    text = json.dumps(content, indent=1)
    write_beside(tree / MANIFEST, lambda path: path.write_text(text, encoding="utf-8"))


def list_files(tree: Path) -> dict[str, list[int]]:
    """Return path -> [bytes, time of the last change in ns] of every file of a tree but its manifest."""
    states = ((relative, entry.stat(follow_symlinks=False)) for relative, entry in find_files(tree))
    return {relative: [s.st_size, s.st_mtime_ns] for relative, s in states if relative != MANIFEST}


def read_manifest(tree: str | os.PathLike[str]) -> Manifest | None:
    """Return the `Manifest` of a tree, or None if dbpipe did not make it."""
    tree = Path(tree)
    content = None
    with suppress(OSError, ValueError, RecursionError):
        if is_folder(tree) and is_regular(tree / MANIFEST) and (tree / MANIFEST).stat().st_size <= _MAX_SIZE_BYTE:
            content = json.loads((tree / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or not isinstance(content.get("dbpipe"), str):
        return None
    if _NUMBER.fullmatch(tree.name) and content.get("tree", tree.name) != tree.name:  # a copy of another one
        return None
    layouts: Any = content.get("layouts")
    parts: Any = content.get("parts")
    files: Any = content.get("files")
    fits = isinstance(layouts, list) and all(isinstance(name, str) for name in layouts)
    fits = fits and _has(parts, (int, str)) and (files is None or _has(files, (int, int)))
    return Manifest(layouts, parts, files) if fits else None


def _has(paths: Any, kinds: tuple[type, type]) -> bool:
    """Return whether a part of a manifest is what it should be: paths of the shapes of a tree -> two values."""
    return isinstance(paths, dict) and all(
        _SHAPE.fullmatch(path) and isinstance(value, list) and tuple(map(type, value)) == kinds
        for path, value in paths.items()
    )


def find_unchanged(tree: Any, manifest: Any, relative: str) -> Any:
    """Return the path of a file of a tree if it is there as it was written, else None."""
    path = find_below(tree, relative)
    if path is None or not is_regular(path) or not _is_made(manifest, relative, path.lstat()):
        return None
    return path


def _is_made(manifest: Any, relative: str, state: Any) -> Any:
    if manifest.files is not None:
        return manifest.files.get(relative) == [state.st_size, state.st_mtime_ns]
    # older versions named the parts alone
    return relative in manifest.parts or bool(_SHAPE.fullmatch(relative) and not _PART.fullmatch(relative))


def remove(tree: Any) -> Any:
    """Delete what dbpipe made of a tree, its manifest last, and return what is left of it, relative to the tree."""
    manifest = read_manifest(tree)
    if manifest is None:
        return []
    left = remove_made(tree, lambda path, state: path != MANIFEST and _is_made(manifest, path, state))
    return _finish(tree, left)


def remove_unfinished(folder: Path) -> Any:
    """Delete what dbpipe made of unfinished trees and return what is left of them, relative to the folder.

    A kill right after the first step or right before the last leaves an empty folder of a tree's name: it goes too.
    """
    left = []
    for name in _names(folder):
        tree = Path(folder) / name
        if _UNFINISHED_NAME.fullmatch(name) and read_manifest(tree) is not None:
            left += [f"{name}/{path}" for path in discard(tree)]
        elif _UNFINISHED_NAME.fullmatch(name) or _NUMBER.fullmatch(name):
            remove_empty(tree)
    return left


def discard(tree: Path) -> Any:
    """Delete a tree of one's own that was not finished; return what is left of it, relative to the tree."""
    left = remove_made(tree, lambda path, _: path != MANIFEST and bool(_SHAPE.fullmatch(path) or _is_scratch(path)))
    return _finish(tree, left)


def _is_scratch(path: Any) -> Any:
    return SCRATCH_FILE.fullmatch(path) is not None


def _finish(tree: Path, left: Any) -> Any:
    """Delete the manifest when all else is gone that was made: a kill before that leaves a tree that is known."""
    (tree / MANIFEST).unlink(missing_ok=True)
    remove_empty(tree)
    return [path for path in left if path != MANIFEST]


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if is_folder(folder) else []
