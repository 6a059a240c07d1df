"""Storing the reference catalog."""

from dbpipe.catalog.store.arrow import check_columns, to_table
from dbpipe.catalog.store.connection import transaction
from dbpipe.catalog.store.lent import execute_with


def replace_reference_catalog(connection, stars, magnitudes):
    """Put these stars in the place of the reference catalog, in one transaction.

    Parameters
    ----------
    stars, magnitudes : pyarrow.Table
        Rows of reference_star and reference_magnitude.
    """
    tables = {"reference_star": to_table(stars), "reference_magnitude": to_table(magnitudes)}
    with transaction(connection):
        for name, table in tables.items():
            check_columns(connection, name, table)
            connection.execute(f"DELETE FROM {name}")
            execute_with(connection, f"INSERT INTO {name} BY NAME SELECT * FROM rows_lent", {"rows_lent": table})
