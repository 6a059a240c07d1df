"""A folder of partitioned tables that is kept up to date: what has not changed is not written again.

OUT/
  current          link to the newest tree
  trees/000012/    a whole tree: manifest.json and a folder per table
  trees/000011/    the one before, for readers that began with it

A new tree is made beside: what has not changed since is a hard link to the same bytes, the rest is written. Then
``current`` is turned to it in one step, so that an interrupted export leaves everything as it was. Whatever else lies
in OUT is somebody else's: see `dbpipe.disk.trees`.
"""

import itertools
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

import dbpipe
from dbpipe.catalog.store.lock import Lock
from dbpipe.disk import trees
from dbpipe.disk.beside import sync_folder
from dbpipe.disk.ledger import plain_errors
from dbpipe.disk.places import is_folder
from dbpipe.disk.trees import Manifest
from dbpipe.errors import ConfigError
from dbpipe.publish import hats_metadata, layouts
from dbpipe.publish.layouts import Files
from dbpipe.publish.partitions import fingerprint, write_parts

CURRENT = "current"
_TREES = "trees"
_LOCK = "export.lock"
_N_KEPT = 2
"""Trees: the new one, and the one before."""
_UNFINISHED_LINK = f".tmp-{CURRENT}"
_TARGET = re.compile(rf"{_TREES}/([0-9]{{6,18}})")
"""What ``current`` says."""


@dataclass
class TreeReport:
    """What an export did."""

    path: Path
    n_written: int = 0
    n_kept: int = 0
    n_removed: int = 0
    n_row: dict[str, Any] = field(default_factory=dict)
    """Folder of a layout -> rows."""
    left: list[Any] = field(default_factory=list)
    """Files in trees that are too old, which dbpipe did not make or which were changed since: they stay."""


def export_tree(
    connection: duckdb.DuckDBPyConnection, out: Path, names: Sequence[str], *, margin_arcsec: float = 10.0
) -> TreeReport:
    """Bring the partitioned tables in a folder up to date.

    Parameters
    ----------
    connection : duckdb connection
        On the catalog or a snapshot of it.
    out : path
    names : sequence of str
        "night", "hats": layouts to have besides those that the folder has already.
    margin_arcsec : float
        Width of the HATS margins.

    Returns
    -------
    TreeReport

    Raises
    ------
    ConfigError
        If a layout is not known, or the folder has something else in it.
    SurveyBusy
        If another export is writing there.
    """
    wrong = set(names) - set(layouts.NAMES)
    if wrong:
        raise ConfigError(f"no layout {', '.join(sorted(wrong))}; known are: {', '.join(layouts.NAMES)}")
    report = TreeReport(Path(out) / CURRENT)
    out = Path(os.path.realpath(out))  # DuckDB and we must mean the same place, whatever the current folder
    with plain_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        _find_current(out)  # before the first byte is written
        (out / _TREES).mkdir(exist_ok=True)
    with closing(Lock(out / _LOCK)):
        _update(connection, out, names, margin_arcsec, report)
    return report


def _update(
    connection: duckdb.DuckDBPyConnection, out: Path, names: Sequence[str], margin_arcsec: float, report: TreeReport
) -> None:
    current = _find_current(out)
    old = (trees.read_manifest(current) if current is not None else None) or trees.Manifest()
    names = [name for name in layouts.NAMES if name in {*names, *old.layouts}]
    report.left += _sweep(out, keep=_N_KEPT)
    manifest: dict[str, Any] = {
        "dbpipe": dbpipe.__version__,
        "layouts": names,
        "margin_arcsec": margin_arcsec,
        "parts": {},
    }
    tree = trees.begin(out / _TREES, manifest)
    try:
        for name in names:
            for files in layouts.plan(connection, name, margin_arcsec=margin_arcsec):
                _write_files(connection, files, tree, (current, old), manifest["parts"], report)
        _write_collections(tree)
        report.n_removed = len(set(old.parts) - set(manifest["parts"]))
        manifest["made_at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        _turn(out, tree, manifest)
    finally:
        trees.discard(tree)
    report.left += _sweep(out, keep=_N_KEPT)


def _write_files(
    connection: duckdb.DuckDBPyConnection,
    files: Files,
    tree: Path,
    before: tuple[None, Manifest],
    new: dict[str, Any],
    report: TreeReport,
) -> None:
    """Put every part of a layout into the new tree: a link if it is as it was, else written."""
    current, old = before
    found = fingerprint(connection, files.layout)
    due, paths = {}, {}
    for part, (n_row, text) in found.items():
        relative = f"{files.folder}/{files.path(part)}"
        new[relative] = [n_row, text]
        unchanged = trees.find_unchanged(current, old, relative) if old.parts.get(relative) == [n_row, text] else None
        if unchanged is not None:
            _link(unchanged, tree / relative)
            report.n_kept += 1
        else:
            due[part], paths[part] = n_row, tree / relative
    write_parts(connection, files.layout, due, paths=paths, scratch=tree)
    report.n_written += len(due)
    if found:
        report.n_row[files.folder] = sum(n_row for n_row, _ in found.values())
        if files.finish is not None:
            files.finish(tree / files.folder, {part: n_row for part, (n_row, _) in found.items()})


def _link(source: Any, path: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, path)
    except OSError:  # not every file system has hard links
        shutil.copyfile(source, path)


def _write_collections(tree: Path) -> None:
    for folder in sorted(tree.glob("*/hats")):
        name = folder.parent.name
        margins = sorted(path.name for path in folder.iterdir() if path.name != name)
        hats_metadata.write_collection(folder, name, margins)


def _sync_tree(tree: Path) -> None:
    """Force every new file of the tree to the disk; what is a link is there already."""
    for path in tree.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        elif path.stat().st_nlink == 1:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    sync_folder(tree)


def _turn(out: Path, tree: Path, manifest: dict[str, Any]) -> None:
    """Give the tree its number and turn ``current`` to it."""
    name = trees.free_name(out / _TREES, max(trees.numbers(out / _TREES), default=0) + 1)
    trees.write_manifest(tree, manifest | {"tree": name, "files": trees.list_files(tree)})
    _sync_tree(tree)
    os.rename(tree, tree.with_name(name))
    sync_folder(out / _TREES)
    link = _free_link(out)
    link.symlink_to(f"{_TREES}/{name}")
    os.replace(link, out / CURRENT)
    sync_folder(out)


def _free_link(out: Path) -> Path:
    """Return a name for a link that is to be renamed; one that a kill left goes."""
    for number in itertools.count():
        link = out / f"{_UNFINISHED_LINK}{number or ''}"
        if _points_to(link) is not None:
            link.unlink()
        if not os.path.lexists(link):
            return link
    raise AssertionError("numbers have no end")


def _sweep(out: Path, *, keep: int) -> Any:
    """Delete unfinished trees, trees that were never turned to, and those that are too old; return what is left."""
    left = trees.remove_unfinished(out / _TREES)
    found, current = trees.numbers(out / _TREES), _points_to(out / CURRENT)
    turned_to = found if current is None else [number for number in found if number <= current]
    for number in sorted(set(found) - set(turned_to[-keep:])):
        name = trees.format_number(number)
        left += [f"{name}/{path}" for path in trees.remove(out / _TREES / name)]
    return [f"{_TREES}/{path}" for path in left]


def _points_to(link: Path) -> int | None:
    """Return the number of the tree that a link of ours points to; None if there is no such link."""
    match = _TARGET.fullmatch(os.readlink(link)) if link.is_symlink() else None
    return int(match[1]) if match and match[1] == trees.format_number(int(match[1])) else None


def _find_current(out: Path) -> Any:
    """Return the newest tree, None if there is none yet; ConfigError where something else is in its place."""
    if os.path.lexists(out / _TREES) and not is_folder(out / _TREES):
        raise ConfigError(f"{out / _TREES} is not a folder that dbpipe made: give a folder of its own")
    current = out / CURRENT
    if not os.path.lexists(current):
        own = (_TREES, _LOCK, _UNFINISHED_LINK)
        strangers = sorted(path.name for path in out.iterdir() if path.name not in own)
        if strangers:
            raise ConfigError(f"{out} has other things in it ({strangers[0]}): give a folder of its own")
        return None
    number = _points_to(current)
    tree = out / _TREES / trees.format_number(number or 0)
    if number is None or (os.path.lexists(tree) and trees.read_manifest(tree) is None):
        raise ConfigError(f"{current} is not a link to a tree that dbpipe made: give a folder of its own")
    return tree if os.path.lexists(tree) else None
