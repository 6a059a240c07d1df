"""Tables that Python lends to a statement."""

import duckdb
import pyarrow as pa
import pytest

from dbpipe.catalog.store.connection import memory, transaction
from dbpipe.catalog.store.lent import execute_with, fetch_with


def test_the_first_error_of_a_transaction_is_the_one_that_is_told():
    """A statement that fails within a transaction says why itself, and the name is free again afterward."""
    with memory() as connection:
        connection.execute("CREATE TABLE kept (number INTEGER NOT NULL)")
        rows = pa.table({"number": pa.array([1, None], pa.int32())})
        with pytest.raises(duckdb.ConstraintException, match="NOT NULL"), transaction(connection):
            execute_with(connection, "INSERT INTO kept SELECT * FROM rows_lent", {"rows_lent": rows})
        with pytest.raises(duckdb.CatalogException, match="rows_lent"):
            connection.execute("FROM rows_lent")
        assert fetch_with(connection, "FROM rows_lent", {"rows_lent": rows[:1]}).num_rows == 1
