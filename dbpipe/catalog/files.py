"""The files of a survey and the catalog that names them.

A product is called ``files/<product>/<product>-<key>-<8 hexadecimal digits>.fits``. Whatever the catalog does not
name is garbage if it has such a name, and somebody else's if not. A name in a table is not to be trusted: the survey
may come from anywhere.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb

from dbpipe.catalog.sql.queries import load_named
from dbpipe.disk.beside import TEMPORARY_PREFIX, hash_file
from dbpipe.disk.places import find_below, find_files, is_regular
from dbpipe.errors import CatalogError

FOLDER = "files"
_NAME = re.compile(
    rf"{FOLDER}/(?P<product>\w+)/"
    rf"((?P=product)-[\w.+-]*-[0-9a-f]{{8}}|{re.escape(TEMPORARY_PREFIX)}[0-9]+-([0-9]+-)?(?P=product)[\w.+-]*)\.fits"
)
"""A product, or one that a worker was writing when it was killed."""
_UNFINISHED = re.compile(rf"\w+/{re.escape(TEMPORARY_PREFIX)}(\d+)-")
"""Of a product that is being written, with the process that does it."""


def product_path(root: str | os.PathLike[str], path: str) -> Path:
    """Return where a product is, absolute.

    Parameters
    ----------
    root : path
        The survey.
    path : str
        As the catalog has it.

    Raises
    ------
    CatalogError
        If it is not below ``files/``, or a link leads from there to somewhere else.
    """
    found = find_below(root, path) if str(path).startswith(f"{FOLDER}/") else None
    if found is None:
        raise CatalogError(
            f"the catalog of {root} names {path!r} as a file of its own, which it cannot be: its files are below "
            f"{FOLDER}/ and no links; nothing was done to it"
        )
    return found


def check_names(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    """Raise CatalogError if the catalog names a file that cannot be its own: nothing may be done with it then."""
    rows = connection.execute(_query("strangers"), {"folder": FOLDER}).fetchall()
    for (path,) in rows:
        product_path(root, path)


def delete(root: Path, paths: Sequence[str]) -> None:
    """Delete products; one that is gone already is no error, one that is none of the survey's is a CatalogError."""
    for path in [product_path(root, path) for path in paths]:
        path.unlink(missing_ok=True)


def delete_unfinished(root: str | os.PathLike[str], pid: int | None = None) -> None:
    """Delete the products that a process of the survey was writing when it died; without ``pid`` those of all such."""
    for relative, entry in list(find_files(Path(root) / FOLDER)):
        writer = _UNFINISHED.match(relative)
        if writer and _NAME.fullmatch(f"{FOLDER}/{relative}") and is_regular(entry.path):
            if int(writer[1]) == pid or (pid is None and _is_gone(int(writer[1]))):
                Path(entry.path).unlink(missing_ok=True)


def _is_gone(pid: int) -> bool:
    """Return whether there is no such process, of this user or another one."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False


def find_orphans(connection: duckdb.DuckDBPyConnection, root: Path) -> list[str]:
    """Return products that the catalog does not name, relative to the survey, sorted.

    Nobody may be working on the survey if they are to be deleted: files of units under way are among them.
    """
    return [path for path, is_product in _unnamed(connection, root) if is_product]


def find_strangers(connection: duckdb.DuckDBPyConnection, root: Path) -> list[str]:
    """Return what else is under ``files/``, relative to the survey, sorted: dbpipe did not make it."""
    return [path for path, is_product in _unnamed(connection, root) if not is_product]


def _unnamed(connection: duckdb.DuckDBPyConnection, root: Path) -> Iterator[tuple[str, bool]]:
    """Yield path, and whether it is that of a product, of what the catalog does not name under ``files/``."""
    named = {path for (path,) in connection.execute(_query("paths")).fetchall()}
    for path, entry in find_files(Path(root) / FOLDER, f"{FOLDER}/"):
        if path not in named:
            yield path, entry.is_file(follow_symlinks=False) and _NAME.fullmatch(path) is not None


def find_missing(
    connection: duckdb.DuckDBPyConnection, root: Path, *, check_hash: bool = False
) -> list[tuple[str, str]]:
    """Return (path, what is wrong) of files that the catalog names and that are absent or have changed."""
    rows = connection.execute(_query("products")).fetchall()
    found = ((path, _what_is_wrong_below(root, path, sha256, size, check_hash)) for path, sha256, size in rows)
    return [(path, wrong) for path, wrong in found if wrong]


def _what_is_wrong_below(root: Path, path: str, sha256: str, size: int | None, check_hash: bool) -> str:
    try:
        return _what_is_wrong(product_path(root, path), sha256, size, check_hash)
    except CatalogError:
        return f"is not a file below {FOLDER}/: this survey did not make it"


def _what_is_wrong(path: Path, sha256: str, size: int | None, check_hash: bool) -> str:
    if not path.is_file():
        return "is not there"
    if path.stat().st_size != size:
        return f"has {path.stat().st_size} bytes, the catalog says {size}"
    if check_hash and hash_file(path)[0] != sha256:
        return "has other bytes than when it was written"
    return ""


def find_missing_raw(connection: duckdb.DuckDBPyConnection) -> list[Any]:
    """Return (path, what is wrong) of raw files that are no longer where they were ingested."""
    rows = connection.execute(_query("raws")).fetchall()
    found = ((path, _what_is_wrong(Path(path), sha256, size, False)) for path, sha256, size in rows)
    return [(path, wrong) for path, wrong in found if wrong]


def _query(name: str) -> str:
    return load_named("catalog", "files")[name]
