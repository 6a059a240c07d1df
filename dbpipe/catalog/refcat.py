"""Storing the reference catalog."""

import duckdb
import pyarrow as pa

from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.store.arrow import check_columns, to_table
from dbpipe.catalog.store.connection import transaction
from dbpipe.catalog.store.lent import insert


def replace_reference_catalog(connection: duckdb.DuckDBPyConnection, stars: pa.Table, magnitudes: pa.Table) -> None:
    """Put these stars in the place of the reference catalog, in one transaction.

    Parameters
    ----------
    stars, magnitudes : pyarrow.Table
        Rows of reference_star and reference_magnitude.
    """
    tables = {"reference_star": to_table(stars), "reference_magnitude": to_table(magnitudes)}
    queries = load_named("catalog", "refcat")
    with transaction(connection):
        for name, table in tables.items():
            check_columns(connection, name, table)
            connection.execute(queries[f"forget_{name}"])
            insert(connection, name, table)
