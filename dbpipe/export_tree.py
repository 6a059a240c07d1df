"""A folder of partitioned tables that is kept up to date: what has not changed is not written again.

OUT/
  current          link to the newest tree
  trees/000012/    a whole tree: manifest.json and a folder per table
  trees/000011/    the one before, for readers that began with it

A new tree is made beside: what has not changed since is a hard link to the same bytes, the rest is written. Then
``current`` is turned to it in one step, so that an interrupted export leaves everything as it was.
"""

import json
import os
import shutil
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dbpipe
from dbpipe import hats, layouts
from dbpipe.catalog.files import sync_folder
from dbpipe.catalog.lock import Lock
from dbpipe.errors import ConfigError
from dbpipe.partitions import fingerprint, write_parts

CURRENT = "current"
_TREES = "trees"
_MANIFEST = "manifest.json"
_LOCK = "export.lock"
_N_KEPT = 2
"""Trees: the new one, and the one before."""
_UNFINISHED = ".tmp-"


@dataclass
class TreeReport:
    """What an export did."""

    path: Path
    n_written: int = 0
    n_kept: int = 0
    n_removed: int = 0
    n_row: dict = field(default_factory=dict)
    """Folder of a layout -> rows."""


def export_tree(connection, out, names, *, margin_arcsec=10.0):
    """Bring the partitioned tables in a folder up to date.

    Parameters
    ----------
    connection : duckdb connection
        On the catalogue or a snapshot of it.
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
        raise ConfigError(f"no layout {', '.join(sorted(wrong))}; there are: {', '.join(layouts.NAMES)}")
    out = Path(out)
    (out / _TREES).mkdir(parents=True, exist_ok=True)
    with closing(Lock(out / _LOCK)):
        return _update(connection, out, names, margin_arcsec)


def _update(connection, out, names, margin_arcsec):
    old = _read_manifest(out)
    names = [name for name in layouts.NAMES if name in {*names, *old["layouts"]}]
    tree = out / _TREES / f"{_UNFINISHED}{os.getpid()}"
    _sweep(out, keep=_N_KEPT)
    report = TreeReport(out / CURRENT)
    manifest = {"dbpipe": dbpipe.__version__, "layouts": names, "margin_arcsec": margin_arcsec, "parts": {}}
    tree.mkdir()
    try:
        for name in names:
            for files in layouts.plan(connection, name, margin_arcsec=margin_arcsec):
                _write_files(connection, files, tree, out / CURRENT, old["parts"], manifest["parts"], report)
        _write_collections(tree)
        report.n_removed = len(set(old["parts"]) - set(manifest["parts"]))
        manifest["made_at"] = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        (tree / _MANIFEST).write_text(json.dumps(manifest, indent=1))
        _sync_tree(tree)
        _turn(out, tree)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    _sweep(out, keep=_N_KEPT)
    return report


def _write_files(connection, files, tree, current, old, new, report):
    """Put every part of a layout into the new tree: a link if it is as it was, else written."""
    found = fingerprint(connection, files.layout)
    due, paths = {}, {}
    for part, (n_row, text) in found.items():
        relative = f"{files.folder}/{files.path(part)}"
        new[relative] = [n_row, text]
        if old.get(relative) == [n_row, text] and (current / relative).is_file():
            _link(current / relative, tree / relative)
            report.n_kept += 1
        else:
            due[part], paths[part] = n_row, tree / relative
    write_parts(connection, files.layout, due, paths=paths, scratch=tree / "scratch")
    report.n_written += len(due)
    if found:
        report.n_row[files.folder] = sum(n_row for n_row, _ in found.values())
        if files.finish is not None:
            files.finish(tree / files.folder, {part: n_row for part, (n_row, _) in found.items()})


def _link(source, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(os.path.realpath(source), path)
    except OSError:  # not every file system has hard links
        shutil.copyfile(source, path)


def _write_collections(tree):
    for folder in sorted(tree.glob("*/hats")):
        name = folder.parent.name
        margins = sorted(path.name for path in folder.iterdir() if path.name != name)
        hats.write_collection(folder, name, margins)


def _sync_tree(tree):
    """Force every new file of the tree to the disk; what is a link is there already."""
    for path in tree.rglob("*"):
        if path.is_dir():
            sync_folder(path)
        elif path.stat().st_nlink == 1:
            with open(path, "rb") as file:
                os.fsync(file.fileno())
    sync_folder(tree)


def _turn(out, tree):
    """Give the tree its number and turn ``current`` to it."""
    number = max((int(path.name) for path in _finished(out)), default=0) + 1
    final = tree.with_name(f"{number:06d}")
    os.rename(tree, final)
    link = out / f"{_UNFINISHED}{CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(f"{_TREES}/{final.name}")
    os.replace(link, out / CURRENT)
    sync_folder(out / _TREES)
    sync_folder(out)


def _finished(out):
    return sorted(path for path in (out / _TREES).iterdir() if path.name.isdigit())


def _sweep(out, *, keep):
    """Delete unfinished trees, trees that were never turned to, and those that are too old."""
    current = Path(os.path.realpath(out / CURRENT))
    for path in (out / _TREES).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(path)
    trees = _finished(out)
    older = [path for path in trees if path <= current] if current in trees else []
    for path in set(trees) - set(older[-keep:]):
        shutil.rmtree(path)


def _read_manifest(out):
    empty = {"layouts": [], "parts": {}}
    if not (out / CURRENT).exists():
        own = (_TREES, _LOCK, f"{_UNFINISHED}{CURRENT}")
        strangers = [path.name for path in out.iterdir() if path.name not in own]
        if strangers:
            raise ConfigError(f"{out} has other things in it ({strangers[0]}): give a folder of its own")
        return empty
    return json.loads((out / CURRENT / _MANIFEST).read_text())
