"""A table in many files: which rows go where, which files have changed, and writing those, a bounded part at a time."""

import glob
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.store.connection import quote_text
from dbpipe.disk.trees import SCRATCH
from dbpipe.publish.write import ROW_GROUP_ROWS, describe_schema, to_schema, write_parquet

_BATCH_ROWS = 8_000_000
"""Rows sorted into files by one pass over the table."""
_PASS_SETTINGS = {"partitioned_write_flush_threshold": 50_000, "preserve_insertion_order": "false"}
"""Of a pass: rows that wait in memory for their file, per file and thread; the files are put in order afterward."""


@dataclass(frozen=True)
class Layout:
    """Which rows of a table go into which file."""

    rows: str
    """Query of the rows that leave."""
    content: str
    """Query of one row per row: what ``cell`` needs, and ``content``, which changes if the row does."""
    cell: str
    """SQL expression of a whole number, on rows and content alike."""
    cells: pa.Table
    """cell, part: a cell may be in several parts, and rows of other cells are in none."""
    columns: str
    """What is written of the rows."""
    order_by: str
    metadata: dict = field(default_factory=dict)
    """Column -> unit, description, ucd."""
    format: str = ""
    """Changes if every file is to be written anew."""
    row_group_rows: int = ROW_GROUP_ROWS
    """Rows that a reader skips or reads as a whole."""


def fingerprint(connection, layout):
    """Return part -> (number of rows, text that changes if they do) of every part that has rows."""
    connection.execute(load_named("export", "tables")["mix"])
    connection.register("cells", layout.cells)
    try:
        rows = connection.execute(
            "SELECT cells.part, count(*), CAST(sum(content) AS VARCHAR) "
            f"FROM (SELECT content, {layout.cell} AS cell FROM ({layout.content})) JOIN cells USING (cell) "
            "GROUP BY cells.part ORDER BY cells.part"
        ).fetchall()
    finally:
        connection.unregister("cells")
    return {part: (n_row, f"{layout.format}:{n_row}:{content}") for part, n_row, content in rows}


def write_parts(connection, layout, sizes, *, paths, scratch):
    """Write parts to files, each sorted.

    Parameters
    ----------
    sizes : dict
        Part -> number of rows, of the parts to write.
    paths : dict
        Part -> path; folders are made.
    scratch : path
        A folder that gets one more, called `dbpipe.disk.trees.SCRATCH` and something, for what is under way: as large
        as the files of eight million rows.
    """
    scratch = Path(scratch).absolute()  # a connection may look for files elsewhere than in the current folder
    batch, n_row = [], 0
    for part in sorted(sizes):
        if batch and n_row + sizes[part] > _BATCH_ROWS:
            _write_batch(connection, layout, batch, paths=paths, scratch=scratch)
            batch, n_row = [], 0
        batch, n_row = [*batch, part], n_row + sizes[part]
    if batch:
        _write_batch(connection, layout, batch, paths=paths, scratch=scratch)


def _write_batch(connection, layout, parts, *, paths, scratch):
    """Sort the rows of some parts into scratch files, then put each in order: two passes, whatever their number."""
    number = {part: k for k, part in enumerate(parts)}
    chosen = [k for k, part in enumerate(layout.cells["part"].to_pylist()) if part in number]
    cells = layout.cells.take(pa.array(chosen, pa.int64()))
    numbers = pa.array([number[part] for part in cells["part"].to_pylist()], pa.int64())
    connection.register("chosen", cells.append_column("part_number", numbers))
    before = {name: connection.sql(f"SELECT current_setting('{name}')").fetchall()[0][0] for name in _PASS_SETTINGS}
    try:
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=scratch) as folder:
            _configure(connection, _PASS_SETTINGS)
            connection.execute(
                f"COPY (SELECT part_number, selected.* EXCLUDE (cell) "
                f"FROM (SELECT *, {layout.cell} AS cell FROM ({layout.rows})) AS selected "
                "JOIN chosen ON chosen.cell = selected.cell) "
                f"TO {quote_text(folder)} (FORMAT parquet, PARTITION_BY (part_number), OVERWRITE_OR_IGNORE, "
                "FILENAME_PATTERN '{uuid}')"  # no name twice: a reader of a snapshot remembers what is in a file
            )
            _configure(connection, before)
            for part, k in number.items():
                _write_part(connection, layout, Path(folder) / f"part_number={k}", paths[part])
    finally:
        _configure(connection, before)
        connection.unregister("chosen")


def _configure(connection, settings):
    for name, value in settings.items():
        connection.execute(f"SET {name} = {quote_text(value)}")


def _write_part(connection, layout, folder, path):
    pattern = quote_text(f"{glob.escape(str(folder))}/*.parquet")  # the user's folder may be called "lake [1]"
    files = f"read_parquet({pattern}, hive_partitioning = false)"
    relation = connection.sql(f"SELECT {layout.columns} FROM {files} ORDER BY {layout.order_by}")
    reader = relation.to_arrow_reader(ROW_GROUP_ROWS)
    schema = describe_schema(reader.schema, {name: layout.metadata.get(name, {}) for name in reader.schema.names})
    path.parent.mkdir(parents=True, exist_ok=True)
    batches = (to_schema(batch, schema) for batch in reader)
    write_parquet(path, schema, batches, row_group_rows=layout.row_group_rows)
