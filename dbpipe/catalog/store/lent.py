"""Statements over tables that Python holds: lent to DuckDB under a name for as long as the statement runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.store.arrow import for_pandas
from dbpipe.catalog.store.connection import quote_name
from dbpipe.catalog.store.undisturbed import undisturbed


def fetch_with(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    tables: Mapping[str, pa.Table],
    parameters: Mapping[str, Any] | None = None,
) -> pa.Table:
    """Return the answer to a query that mentions pyarrow.Tables: name -> table, and $parameters."""
    with undisturbed(), lent(connection, tables):
        return for_pandas(connection.sql(query, params=parameters or None).to_arrow_table())


def execute_with(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    tables: Mapping[str, pa.Table],
    parameters: Mapping[str, int] | None = None,
) -> None:
    """Run a statement that mentions pyarrow.Tables."""
    with undisturbed(), lent(connection, tables):
        connection.execute(query, parameters or None)


def insert(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    """Put the rows of a pyarrow.Table into a table of the catalog, column by column of the same name."""
    execute_with(connection, f"INSERT INTO {quote_name(table)} BY NAME FROM rows_lent", {"rows_lent": rows})


@contextmanager
def lent(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> Iterator[None]:
    """Let statements within the block see pyarrow.Tables, name -> table."""
    for name, table in tables.items():
        connection.register(name, table)
    try:
        yield
    finally:
        for name in tables:
            # after an error in a transaction nothing but ROLLBACK is allowed, which takes the name back too
            with suppress(duckdb.TransactionException):
                connection.unregister(name)
