"""Rows on their way into the catalog."""

import numpy as np
import pyarrow as pa
import pytest

from dbpipe.catalog.store import connection
from dbpipe.catalog.store.arrow import check_columns, running_numbers, texts, to_table
from dbpipe.errors import CatalogError


def test_nan_becomes_null():
    """Unmeasured is NULL, whether it comes in rows or arrays; infinity stays and meets the CHECK of the column."""
    table = to_table({"a": np.array([1.0, np.nan]), "b": [None, float("nan")], "c": np.array([1, 2])})
    assert table.to_pylist() == [{"a": 1.0, "b": None, "c": 1}, {"a": None, "b": None, "c": 2}]
    assert to_table([{"a": np.float32("nan")}, {"a": np.float32("inf")}]).column("a").to_pylist() == [None, np.inf]


def test_rows_may_lack_keys():
    """A key that one dictionary lacks is NULL there."""
    assert to_table([{"a": 1}, {"b": "x"}]).to_pylist() == [{"a": 1, "b": None}, {"a": None, "b": "x"}]


def test_arrays_of_fits_files_and_masked_arrays():
    """Big-endian numbers keep their value, masked ones are NULL, and an (n, k) array is a list in each row."""
    table = to_table(
        {
            "big": np.array([1.5, 2.5], dtype=">f4"),
            "masked": np.ma.masked_array([1, 2], [False, True]),
            "corner": np.array([[1.0, 2.0], [3.0, 4.0]]),
        }
    )
    assert table.to_pylist() == [
        {"big": 1.5, "masked": 1, "corner": [1.0, 2.0]},
        {"big": 2.5, "masked": None, "corner": [3.0, 4.0]},
    ]


@pytest.mark.parametrize("values", [[], ["detect visit=1"], ["", "æ", "a\nb", "星" * 1000]])
def test_columns_without_pandas_are_like_others(values):
    """Texts and running numbers are what pyarrow makes of lists."""
    assert texts(values).equals(pa.array(values, pa.string()))
    assert running_numbers(len(values)).equals(pa.array(range(len(values)), pa.int64()))


def test_ids_never_come_as_floats():
    """An integer column refuses floating point: beyond 2^53 an id would change silently."""
    with connection.memory() as catalog:
        catalog.execute("CREATE TABLE t (id BIGINT, flux DOUBLE)")
        check_columns(catalog, "t", pa.table({"id": [2**60], "flux": [1.0]}))
        with pytest.raises(CatalogError, match="t.id is BIGINT but comes as double"):
            check_columns(catalog, "t", pa.table({"id": [1.0]}))
        with pytest.raises(CatalogError, match="no column flus; did you mean flux"):
            check_columns(catalog, "t", pa.table({"flus": [1.0]}))
        with pytest.raises(CatalogError, match="no table u"):
            check_columns(catalog, "u", pa.table({"id": [1]}))
