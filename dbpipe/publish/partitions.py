"""A table in many files: which rows go where, which files have changed, and writing those, a bounded part at a time."""

import glob
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from duckdb import StarExpression

from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.store.connection import quote_name, quote_text
from dbpipe.disk.trees import SCRATCH
from dbpipe.publish.write import ROW_GROUP_ROWS, describe_schema, to_schema, write_parquet

ORDER_IN_TIME = {
    "dia_source": "visit, detector, dia_source_id",
    "dia_forced_source": "visit, detector, dia_object_id",
}
"""Tables that have a night -> the order within."""
_BATCH_ROWS = 8_000_000
"""Rows sorted into files by one pass over the table."""
_PASS_SETTINGS = {"partitioned_write_flush_threshold": 50_000, "preserve_insertion_order": "false"}
"""Of a pass: rows that wait in memory for their file, per file and thread; the files are put in order afterward."""


@dataclass(frozen=True)
class Layout:
    """Which rows of a table go into which file."""

    rows: duckdb.DuckDBPyRelation
    """Relation of the rows that leave."""
    content: str
    """Query of one row per row: what ``cell`` needs, and ``content``, which changes if the row does."""
    cell: duckdb.Expression
    """Expression of a whole number, on rows and content alike."""
    cells: pa.Table
    """cell, part: a cell may be in several parts, and rows of other cells are in none."""
    columns: tuple[Any, ...]
    """Expressions: what is written of the rows."""
    order_by: str
    parameters: dict[str, Any] = field(default_factory=dict)
    """$parameters of ``content``."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Column -> unit, description, ucd."""
    format: str = ""
    """Changes if every file is to be written anew."""
    row_group_rows: int = ROW_GROUP_ROWS
    """Rows that a reader skips or reads as a whole."""


def fingerprint(connection: duckdb.DuckDBPyConnection, layout: Layout) -> dict[str, tuple[int, str]]:
    """Return part -> (number of rows, text that changes if they do) of every part that has rows."""
    connection.execute(load_named("export", "tables")["mix"])
    cells = connection.from_arrow(layout.cells)
    content = connection.sql(layout.content, params=layout.parameters or None)
    found = content.select("content", layout.cell.alias("cell")).join(cells, "cell")
    rows = found.aggregate("part, count(*) AS n_row, CAST(sum(content) AS VARCHAR) AS content", "part").order("part")
    return {part: (n_row, f"{layout.format}:{n_row}:{content}") for part, n_row, content in rows.fetchall()}


def write_parts(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    sizes: Mapping[str, int],
    *,
    paths: Mapping[str, Path],
    scratch: Path,
) -> None:
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
    batch: list[Any] = []
    n_row = 0
    for part in sorted(sizes):
        if batch and n_row + sizes[part] > _BATCH_ROWS:
            _write_batch(connection, layout, batch, paths=paths, scratch=scratch)
            batch, n_row = [], 0
        batch, n_row = [*batch, part], n_row + sizes[part]
    if batch:
        _write_batch(connection, layout, batch, paths=paths, scratch=scratch)


def _write_batch(
    connection: duckdb.DuckDBPyConnection,
    layout: Layout,
    parts: Sequence[str],
    *,
    paths: Mapping[str, Path],
    scratch: Path,
) -> None:
    """Sort the rows of some parts into scratch files, then put each in order: two passes, whatever their number."""
    number = {part: k for k, part in enumerate(parts)}
    chosen = [k for k, part in enumerate(layout.cells["part"].to_pylist()) if part in number]
    cells = layout.cells.take(pa.array(chosen, pa.int64()))
    numbers = pa.array([number[part] for part in cells["part"].to_pylist()], pa.int64())
    of_parts = connection.from_arrow(cells.append_column("part_number", numbers)).set_alias("chosen")
    rows = layout.rows.select(StarExpression(), layout.cell.alias("cell")).set_alias("selected")
    numbered = rows.join(of_parts, "chosen.cell = selected.cell").project("part_number, selected.* EXCLUDE (cell)")
    before = {name: _setting(connection, name) for name in _PASS_SETTINGS}
    try:
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=scratch) as folder:
            _configure(connection, _PASS_SETTINGS)
            # no name twice: a reader of a snapshot remembers what is in a file
            named: dict[str, Any] = {"overwrite": True, "filename_pattern": "{uuid}"}
            numbered.write_parquet(folder, partition_by=["part_number"], **named)
            _configure(connection, before)
            for part, k in number.items():
                _write_part(connection, layout, Path(folder) / f"part_number={k}", paths[part])
    finally:
        _configure(connection, before)


def _setting(connection: duckdb.DuckDBPyConnection, name: str) -> int:
    return connection.execute(load_named("catalog", "introspection")["setting"], {"name": name}).fetchall()[0][0]


def _configure(connection: duckdb.DuckDBPyConnection, settings: Any) -> None:
    for name, value in settings.items():
        connection.execute(f"SET {quote_name(name)} = {quote_text(value)}")


def _write_part(connection: duckdb.DuckDBPyConnection, layout: Layout, folder: Path, path: Path) -> None:
    pattern = f"{glob.escape(str(folder))}/*.parquet"  # the user's folder may be called "lake [1]"
    found = connection.from_parquet(pattern, hive_partitioning=False)
    relation = found.select(*layout.columns).order(layout.order_by)
    reader = relation.to_arrow_reader(ROW_GROUP_ROWS)
    schema = describe_schema(reader.schema, {name: layout.metadata.get(name, {}) for name in reader.schema.names})
    path.parent.mkdir(parents=True, exist_ok=True)
    batches = (to_schema(batch, schema) for batch in reader)
    write_parquet(path, schema, batches, row_group_rows=layout.row_group_rows)
