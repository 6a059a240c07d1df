"""What readers have while others write: the catalog as the last command left it; the new state appears in one rename.

A small catalog is copied whole, the long tables of a large one are Parquet.

published/
  the snapshot       (`dbpipe.catalog.store.snapshot`)
  tables/<table>/    the rows of long tables, <night or all>-<fingerprint>.parquet; a file is never changed
  dropped.json       files that the snapshot does not name any more, and since when
"""

import hashlib
import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from duckdb import ColumnExpression, ConstantExpression, StarExpression

from dbpipe.catalog.sql.dictionary import column_metadata
from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.store import snapshot
from dbpipe.catalog.store.arrow import running_numbers, texts
from dbpipe.catalog.store.connection import ROW_GROUP_ROWS, refuse_link
from dbpipe.catalog.store.snapshot import Label
from dbpipe.disk.beside import TEMPORARY_PREFIX, replace_file, reserve_beside, sync_folder, write_beside
from dbpipe.disk.places import find_below, find_files, is_folder, is_regular, remove_made
from dbpipe.disk.trees import SCRATCH, SCRATCH_FILE
from dbpipe.errors import CatalogError
from dbpipe.publish.partitions import ORDER_IN_TIME, Layout, fingerprint, write_parts

MAX_COPIED_ROWS = 200_000
"""Rows of a table, or of all tiles together, up to which they are copied: a second."""
GRACE_S = 86_400.0
"""How long a file is kept for readers who have an old snapshot open."""
_FOLDER = "tables"
_MADE = re.compile(rf"{_FOLDER}/\w+/(\.tmp-[0-9]+-([0-9]+-)?)?\w+-[0-9a-f]{{16}}\.parquet")
"""A file of rows, or one that was being written; whatever else is there was put there by somebody else."""
_RECORD = "dropped.json"
_TILE = re.compile(r"(?:source|object)_[0-9]+")
_PART = re.compile(r"-?\w+")
_CONTENT = {"dia_source": "dia_source_row_content", "dia_forced_source": "dia_forced_source_content"}
"""Table with nights -> query in sql/export/tables.sql of what tells whether its rows have changed."""


def publish(
    connection: duckdb.DuckDBPyConnection, catalog: Path, path: Path, *, same_rows: Label | None = None
) -> Label:
    """Publish a catalog; see `dbpipe.catalog.store.snapshot.publish`.

    ``same_rows`` is the label of a snapshot since which no row of a long table has changed: its files stay, and the
    rows are not looked at, which takes as long as there are rows.

    Raises
    ------
    CatalogError
        If a symbolic link is in the way: what is written there would end up somewhere else.
    """
    folder = Path(path).parent.absolute()
    for place in (folder, path, folder / _FOLDER, *(folder / _FOLDER).glob("*")):
        refuse_link(place)
    folder.mkdir(exist_ok=True)
    _sweep_scratch(folder / _FOLDER)
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*{Path(path).name}"):
        if is_regular(leftover):
            leftover.unlink()
    layouts = dict(_long_tables(connection))
    if same_rows is not None and same_rows.in_files.keys() == layouts.keys() and _are_there(folder, same_rows):
        in_files = same_rows.in_files
    else:
        in_files = {place: _write(connection, folder, place, layout) for place, layout in layouts.items()}
    label = snapshot.publish(connection, catalog, path, in_files=in_files)
    _sweep(folder, _names(in_files))
    return label


def _names(in_files: Mapping[tuple[str, str], list[str]]) -> set[str]:
    return {name for names in in_files.values() for name in names}


def _are_there(folder: Path, label: Label) -> bool:
    return all(is_regular(folder / name) for name in _names(label.in_files))


def _long_tables(connection: duckdb.DuckDBPyConnection) -> Iterator[Any]:
    """Yield (schema, table), layout of the tables with many rows."""
    n_row = {
        (schema, table): n
        for schema, table, n in connection.execute(load_named("catalog", "introspection")["sizes"]).fetchall()
    }
    for table in _CONTENT:
        if n_row.get(("main", table), 0) > MAX_COPIED_ROWS:
            yield ("main", table), _by_night(connection, table)
    tiles = {place: n for place, n in n_row.items() if place[0] == "association" and _TILE.fullmatch(place[1])}
    if sum(tiles.values()) > MAX_COPIED_ROWS:
        for place, n in tiles.items():
            if n:
                yield place, _whole(connection, place[1])


def _by_night(connection: duckdb.DuckDBPyConnection, table: Any) -> Any:
    queries = load_named("export", "tables")
    return Layout(
        rows=connection.table(table),
        content=queries[_CONTENT[table]],
        cell=ColumnExpression("visit"),
        cells=connection.sql(queries["nights"]).to_arrow_table(),
        columns=(StarExpression(),),
        order_by=ORDER_IN_TIME[table],
        metadata=column_metadata(connection, table),
        format=_format(connection, table),
        row_group_rows=ROW_GROUP_ROWS,
    )


def _format(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """What every file of a table depends on besides its rows: its columns, and what migrations did to the rows."""
    relation = connection.table(table)
    columns = list(zip(relation.columns, map(str, relation.types), strict=True))
    ((n_migration,),) = connection.execute(load_named("catalog", "migrations")["count"]).fetchall()
    return f"{ROW_GROUP_ROWS}{columns}{n_migration}"


def _whole(connection: duckdb.DuckDBPyConnection, table: str) -> Layout:
    """One file for a tile: what makes a row another one is what association may change."""
    name, kind = f"association.{table}", table.split("_")[0]
    cells = pa.table({"cell": running_numbers(1), "part": texts(["all"])})
    return Layout(
        rows=connection.table(name),
        content=load_named("export", "tables")[f"tile_{kind}_content"],
        parameters={"table": name},
        cell=ConstantExpression(0),
        cells=cells,
        columns=(StarExpression(),),
        order_by="hpx29",
        metadata={},
        format=_format(connection, name),
        row_group_rows=ROW_GROUP_ROWS,
    )


def _write(connection: duckdb.DuckDBPyConnection, folder: Path, place: tuple[str, ...], layout: Layout) -> list[str]:
    """Write the files that are not there yet; return all of them, relative to the folder."""
    due, paths, named = {}, {}, []
    for part, (n_row, text) in fingerprint(connection, layout).items():
        if not _PART.fullmatch(part):
            raise CatalogError(f"{place[1]} has rows of {part!r}, which cannot be the name of a file: not a night")
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        relative = f"{_FOLDER}/{place[1]}/{part}-{digest}.parquet"
        named.append(relative)
        if not is_regular(folder / relative):
            due[part] = n_row
            paths[part] = folder / relative
    if due:
        _write_files(connection, layout, due, folder / _FOLDER / place[1], paths)
    return named


def _write_files(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    due: Mapping[str, int],
    folder: Path,
    paths: Mapping[str, Path],
) -> None:
    """Write the files of a table that are not there yet, whole or not at all."""
    if find_below(folder.parent.parent, f"{_FOLDER}/{folder.name}") is None:
        raise CatalogError(f"{folder} is a link, or lies behind one: nothing is published there")
    folder.mkdir(parents=True, exist_ok=True)
    beside = {}
    try:
        for part, path in paths.items():
            beside[part] = reserve_beside(path)
        write_parts(connection, layout, due, paths=beside, scratch=folder.parent)
        for part, path in paths.items():
            replace_file(beside[part], path)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)
    sync_folder(folder.parent)


def _sweep(folder: Path, named: set[Any]) -> None:
    """Delete files that no snapshot has named for long."""
    now, record = time.time(), folder / _RECORD
    before = _read_dropped(record)
    there = {path for path, entry in find_files(folder / _FOLDER, f"{_FOLDER}/") if _is_made(path, entry)}
    dropped = {name: before.get(name, now) for name in there - named}
    for name in [name for name, since in dropped.items() if now - since > GRACE_S]:
        (folder / name).unlink()
        del dropped[name]
    if dropped or before:
        write_beside(record, lambda path: path.write_text(json.dumps(dropped)))


def _is_made(path: str, entry: Any) -> bool:
    return entry.is_file(follow_symlinks=False) and _MADE.fullmatch(path) is not None


def _read_dropped(record: Path) -> dict[str, Any]:
    """Return name -> since when; what is no time is left out, and counts from now."""
    known = None
    with suppress(OSError, ValueError, RecursionError):
        known = json.loads(record.read_text(encoding="utf-8")) if is_regular(record) else None
    if not isinstance(known, dict):
        return {}
    return {name: since for name, since in known.items() if isinstance(since, float) and math.isfinite(since)}


def _sweep_scratch(folder: Path) -> None:
    """Delete what a kill left of rows that were being sorted."""
    for path in folder.glob(f"{SCRATCH}*"):
        if is_folder(path):
            remove_made(path, lambda relative, _, name=path.name: SCRATCH_FILE.fullmatch(f"{name}/{relative}"))
