"""What readers have while others write: a small catalogue is copied whole, the long tables of a large one are Parquet.

published/
  the snapshot       (`dbpipe.catalog.snapshot`)
  tables/<table>/    the rows of long tables, <night or all>-<fingerprint>.parquet; a file is never changed
  dropped.json       files that the snapshot does not name any more, and since when
"""

import hashlib
import json
import re
import shutil
import time
from pathlib import Path

import pyarrow as pa

from dbpipe.catalog import snapshot
from dbpipe.catalog.connection import ROW_GROUP_ROWS, refuse_link
from dbpipe.catalog.files import TEMPORARY_PREFIX, sync_folder, write_beside
from dbpipe.catalog.queries import load_named
from dbpipe.errors import CatalogError
from dbpipe.export import column_metadata, hash_of_views
from dbpipe.layouts import ORDER_IN_TIME
from dbpipe.partitions import Layout, fingerprint, write_parts

MAX_COPIED_ROWS = 200_000
"""Rows of a table, or of all tiles together, up to which they are copied: a second."""
GRACE_S = 86_400.0
"""How long a file is kept for readers who have an old snapshot open."""
_FOLDER = "tables"
_TILE = re.compile(r"(?:source|object)_[0-9]+")
_PART = re.compile(r"-?\w+")
_CONTENT = {"dia_source": "dia_source_row_content", "dia_forced_source": "dia_forced_source_content"}
"""Table with nights -> query in sql/export/tables.sql of what tells whether its rows have changed."""


def publish(connection, catalog, path):
    """Publish a catalogue; see `dbpipe.catalog.snapshot.publish`.

    Raises
    ------
    CatalogError
        If a symbolic link is in the way: what is written there would end up somewhere else.
    """
    folder = Path(path).parent
    for place in (folder, path, folder / _FOLDER, *(folder / _FOLDER).glob("*")):
        refuse_link(place)
    folder.mkdir(exist_ok=True)
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    in_files = {place: _write(connection, folder, place, layout) for place, layout in _long_tables(connection)}
    label = snapshot.publish(connection, catalog, path, views_sha256=hash_of_views(), in_files=in_files)
    _sweep(folder, {name for names in in_files.values() for name in names})
    return label


def _long_tables(connection):
    """Yield (schema, table), layout of the tables with many rows."""
    n_row = {
        (schema, table): n
        for schema, table, n in connection.execute(
            "SELECT schema_name, table_name, estimated_size FROM duckdb_tables() "
            "WHERE database_name = current_database()"
        ).fetchall()
    }
    for table in _CONTENT:
        if n_row.get(("main", table), 0) > MAX_COPIED_ROWS:
            yield ("main", table), _by_night(connection, table)
    tiles = {place: n for place, n in n_row.items() if place[0] == "association" and _TILE.fullmatch(place[1])}
    if sum(tiles.values()) > MAX_COPIED_ROWS:
        for place, n in tiles.items():
            if n:
                yield place, _whole(place[1])


def _by_night(connection, table):
    queries = load_named("export", "tables")
    return Layout(
        rows=f"SELECT * FROM {table}",
        content=queries[_CONTENT[table]],
        cell="visit",
        cells=connection.sql(queries["nights"]).to_arrow_table(),
        columns="*",
        order_by=ORDER_IN_TIME[table],
        metadata=column_metadata(connection, table),
        format=f"{ROW_GROUP_ROWS}{connection.sql(f'SELECT * FROM {table}').columns}",
        row_group_rows=ROW_GROUP_ROWS,
    )


def _whole(table):
    """One file for a tile: what makes a row another one is what association may change."""
    kind = table.split("_")[0]
    content = load_named("export", "tables")[f"tile_{kind}_content"].replace(
        f"association.{kind}", f"association.{table}"
    )
    cells = pa.table({"cell": pa.array([0], pa.int32()), "part": ["all"]})
    return Layout(
        f"SELECT * FROM association.{table}", content, "0", cells, "*", "hpx29", {}, f"{ROW_GROUP_ROWS}", ROW_GROUP_ROWS
    )


def _write(connection, folder, place, layout):
    """Write the files that are not there yet; return all of them, relative to the folder."""
    due, paths, named = {}, {}, []
    for part, (n_row, text) in fingerprint(connection, layout).items():
        if not _PART.fullmatch(part):
            raise CatalogError(f"{place[1]} has rows of {part!r}, which cannot be the name of a file: not a night")
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        relative = f"{_FOLDER}/{place[1]}/{part}-{digest}.parquet"
        named.append(relative)
        if not (folder / relative).is_file():
            due[part] = n_row
            paths[part] = folder / relative
    beside = {part: path.with_name(f"{TEMPORARY_PREFIX}{path.name}") for part, path in paths.items()}
    write_parts(connection, layout, due, paths=beside, scratch=folder / f"{TEMPORARY_PREFIX}scratch")
    for part, path in paths.items():
        snapshot.replace_file(beside[part], path)
    if due:
        sync_folder(folder / _FOLDER)
    return named


def _sweep(folder, named):
    """Delete files that no snapshot has named for long."""
    now, record = time.time(), folder / "dropped.json"
    before = json.loads(record.read_text()) if record.is_file() else {}
    there = {path.relative_to(folder).as_posix() for path in (folder / _FOLDER).glob("*/*")}
    dropped = {name: before.get(name, now) for name in there - named}
    for name in [name for name, since in dropped.items() if now - since > GRACE_S]:
        (folder / name).unlink()
        del dropped[name]
    if dropped or before:
        write_beside(record, lambda path: path.write_text(json.dumps(dropped)))
