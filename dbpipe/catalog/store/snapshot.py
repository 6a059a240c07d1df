"""The published snapshot: a copy of the catalog that readers may have open for as long as they like.

While a run holds the catalog nobody else can open it, and a reader who held it would keep the run waiting. So every
command that changes the catalog leaves a copy in a file of its own, put in its place in one step (rename(2)): who has
the old copy open goes on reading that one, and nobody ever sees half of a night.
"""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import chdir, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from dbpipe.catalog.store.connection import ROW_GROUP_ROWS, STORAGE_VERSION, confine, first_line, quote_name, quote_text
from dbpipe.disk.beside import TEMPORARY_PREFIX, replace_file
from dbpipe.errors import CatalogError

_LABEL = """
CREATE OR REPLACE TABLE next_snapshot.published (
    as_of TIMESTAMP NOT NULL,
    catalog_size_byte BIGINT NOT NULL,
    catalog_mtime_ns BIGINT NOT NULL
);
COMMENT ON TABLE next_snapshot.published IS 'When this copy of the catalog was made: one row';
COMMENT ON COLUMN next_snapshot.published.as_of IS '[UTC] when it was made';
COMMENT ON COLUMN next_snapshot.published.catalog_size_byte IS '[byte] size of the catalog file then';
COMMENT ON COLUMN next_snapshot.published.catalog_mtime_ns IS '[ns] time of its last change';
"""
_FILE_OF_VIEW = re.compile(r"'(tables/\w+/[\w-]+-[0-9a-f]{16}\.parquet)'")
"""How the views of a snapshot name their files (`dbpipe.publish.readers`); nothing else is opened for them."""


@dataclass(frozen=True)
class Label:
    """What a snapshot says of itself."""

    as_of: datetime
    size_byte: int
    mtime_ns: int
    in_files: Mapping[tuple[str, str], list[str]] = field(default_factory=dict)
    """(schema, table) -> Parquet files, relative to its folder, that have the rows of a table."""

    def is_current(self, catalog: Path) -> bool:
        """Return whether the catalog file has not changed since."""
        return (self.size_byte, self.mtime_ns) == _state(catalog) and not Path(f"{catalog}.wal").exists()


def publish(
    connection: duckdb.DuckDBPyConnection,
    catalog: Path,
    path: Path,
    *,
    in_files: Mapping[tuple[str, str], list[str]] | None = None,
) -> Label:
    """Copy the catalog, as it is now, to a file and put it in the place of the one before.

    Parameters
    ----------
    connection : duckdb connection
        The only writer of the survey, in no transaction.
    catalog : path
        The file that it writes to; only its size and time are looked at.
    path : path
        The snapshot.
    in_files : dict, optional
        (schema, table) -> Parquet files, relative to the folder of the snapshot, that have its rows: too many to be
        copied every time. In the snapshot it is a view.

    Returns
    -------
    Label
    """
    path = Path(path)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    connection.execute("CHECKPOINT")  # closing the catalog then leaves the file as it is
    label = Label(datetime.now(UTC).replace(tzinfo=None), *_state(catalog), in_files or {})
    try:
        _copy(connection, temporary, label)
        replace_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return label


def _copy(connection: duckdb.DuckDBPyConnection, temporary: Path, label: Label) -> None:
    ((name,),) = connection.execute("SELECT current_database()").fetchall()
    options = f"STORAGE_VERSION '{STORAGE_VERSION}', ROW_GROUP_SIZE {ROW_GROUP_ROWS}"
    connection.execute(f"ATTACH {quote_text(temporary)} AS next_snapshot ({options})")
    try:
        _copy_rows(connection, name, label.in_files, temporary.parent)
        connection.execute(_LABEL)
        values = [label.as_of, label.size_byte, label.mtime_ns]
        connection.execute("INSERT INTO next_snapshot.published VALUES (?, ?, ?)", values)
    finally:
        with suppress(duckdb.Error):  # after a full disk there may be nothing left to detach
            connection.execute("DETACH next_snapshot")


def _copy_rows(
    connection: duckdb.DuckDBPyConnection, name: str, in_files: Mapping[tuple[str, str], list[str]], folder: Path
) -> None:
    """Copy the schema and the rows of all tables but some, which become views over files.

    Table by table: DuckDB 1.5 copies a whole database in an order that breaks foreign keys.
    """
    connection.execute(f"COPY FROM DATABASE {quote_name(name)} TO next_snapshot (SCHEMA)")
    tables = connection.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $name ORDER BY table_oid",
        {"name": name},
    ).fetchall()  # in the order of their making: a foreign key points back
    for schema, table in tables:
        if (schema, table) not in in_files:
            source = ".".join(map(quote_name, (name, schema, table)))
            target = ".".join(map(quote_name, ("next_snapshot", schema, table)))
            connection.execute(f"INSERT INTO {target} SELECT * FROM {source}")
    with chdir(folder):  # the views name their files from here, so that a survey can be moved
        for (schema, table), paths in in_files.items():
            _make_view(connection, name, (schema, table), paths)


def _make_view(connection: duckdb.DuckDBPyConnection, name: str, place: tuple[str, ...], paths: Sequence[str]) -> None:
    """Make a view in the place of a table, with its comments."""
    schema, table = place
    target = ".".join(map(quote_name, ("next_snapshot", schema, table)))
    columns = connection.execute(
        "SELECT column_name, comment FROM duckdb_columns() WHERE database_name = $name AND schema_name = $schema "
        "AND table_name = $table ORDER BY column_index",
        {"name": name, "schema": schema, "table": table},
    ).fetchall()
    files = ", ".join(quote_text(path) for path in paths)
    names = ", ".join(quote_name(column) for column, _ in columns)
    connection.execute(f"DROP TABLE {target}")
    connection.execute(f"CREATE VIEW {target} AS SELECT {names} FROM read_parquet([{files}])")
    for column, comment in columns:
        connection.execute(f"COMMENT ON COLUMN {target}.{quote_name(column)} IS {quote_text(comment or '')}")


def shut_in(connection: duckdb.DuckDBPyConnection, folder: Path, *, scratch: Path | None = None) -> None:
    """Let a connection on a snapshot reach only the files that the snapshot's views name, and change no setting.

    Parameters
    ----------
    connection : duckdb connection
    folder : path
        That of the snapshot.
    scratch : path, optional
        A folder where it may write too; then settings can be changed, and nothing from outside may be asked.
    """
    named = sorted({name for names in _files_of_views(connection).values() for name in names})
    folders = [] if scratch is None else [scratch]
    if named:
        connection.execute(f"SET file_search_path = {quote_text(os.path.abspath(folder))}")
        connection.execute("SET parquet_metadata_cache = true")  # what a snapshot names never changes
        folders.append(Path(folder) / "tables")
    confine(connection, folders=folders, files=named, locked=scratch is None)


def _files_of_views(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, str], list[str]]:
    """Return (schema, view) -> the files that a snapshot's view reads."""
    views = connection.execute(
        "SELECT schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal AND contains(sql, 'read_parquet')"
    ).fetchall()
    return {(schema, view): _FILE_OF_VIEW.findall(text) for schema, view, text in views}


def read_label(connection: duckdb.DuckDBPyConnection) -> Label:
    """Return the `Label` of the snapshot that a connection is open on; CatalogError if it has none that is one."""
    try:
        relation = connection.sql("SELECT * FROM published LIMIT 2")
        rows = [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]
    except duckdb.Error as error:
        raise CatalogError(f"the snapshot does not say when it was made: {first_line(error)}") from error
    kinds = {"as_of": datetime, "catalog_size_byte": int, "catalog_mtime_ns": int}
    if len(rows) != 1 or not all(isinstance(rows[0].get(name), kind) for name, kind in kinds.items()):
        raise CatalogError("the snapshot does not say when it was made")
    (said,) = rows
    return Label(said["as_of"], said["catalog_size_byte"], said["catalog_mtime_ns"], _files_of_views(connection))


def _state(path: Path) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns
