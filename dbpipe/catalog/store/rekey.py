"""Changing a column that has a foreign key, in rows that others refer to: DuckDB updates only rows that nothing does.

What refers to them is set aside in a first transaction and put back in the one that changes them. A process that is
killed in between leaves it aside: whoever opens the catalog for writing puts it back, and nothing has changed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb

from dbpipe.catalog.store.connection import quote_name, transaction

_SCHEMA = "aside"


@contextmanager
def rekeying(connection: duckdb.DuckDBPyConnection, table: str, keys: Sequence[int]) -> Iterator[None]:
    """Let the rows of a table with these whole-number keys be changed in the block.

    The block has a transaction of its own, and calls `put_back` in it. With no keys there is nothing to do.
    """
    if not keys:
        yield
        return
    with transaction(connection):
        connection.execute(f"CREATE SCHEMA {_SCHEMA}")
        for child, columns in _children(connection, table).items():
            name = quote_name(child)
            condition = " OR ".join(f"list_contains($keys, {quote_name(column)})" for column in columns)
            connection.execute(f"CREATE TABLE {_SCHEMA}.{name} AS FROM {name} WHERE {condition}", {"keys": keys})
            connection.execute(f"DELETE FROM {name} WHERE {condition}", {"keys": keys})
    try:
        yield
    finally:
        restore(connection)


def is_interrupted(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether something is aside: a change was cut short."""
    return bool(_aside(connection))


def restore(connection: duckdb.DuckDBPyConnection) -> None:
    """Put back what an interrupted change has left aside."""
    if is_interrupted(connection):
        with transaction(connection):
            put_back(connection)


def put_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Put back what is aside, part of the caller's transaction."""
    names = _aside(connection)
    for name in map(quote_name, names):
        connection.execute(f"INSERT INTO main.{name} BY NAME FROM {_SCHEMA}.{name}")
    if names:
        connection.execute(f"DROP SCHEMA {_SCHEMA} CASCADE")


def _aside(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Names of the tables aside."""
    query = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database() AND schema_name = ?"
    return [name for (name,) in connection.execute(query, [_SCHEMA]).fetchall()]


def _children(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, list[str]]:
    """Return the tables that refer to a table -> their columns that do."""
    rows = connection.execute(
        "SELECT table_name, constraint_column_names[1] FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY' "
        "AND database_name = current_database() AND schema_name = 'main' AND referenced_table = ? ORDER BY ALL",
        [table],
    ).fetchall()
    found: dict[str, list[str]] = {}
    for child, column in rows:
        found.setdefault(child, []).append(column)
    return found
