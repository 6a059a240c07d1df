"""Storing the reference catalogue."""

from dbpipe.catalog.arrow import check_columns, to_table
from dbpipe.catalog.connection import transaction


def replace_reference_catalog(connection, stars, magnitudes):
    """Put these stars in the place of the reference catalogue, in one transaction.

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
            connection.register("new_reference", table)
            try:
                connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM new_reference")
            finally:
                connection.unregister("new_reference")
