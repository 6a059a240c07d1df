"""Rows to Arrow: the one border where NaN becomes NULL and column types are checked."""

import difflib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dbpipe.errors import CatalogError

_INTEGER_TYPES = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT"}


def to_table(rows):
    """Turn rows into a pyarrow.Table in which NaN is NULL.

    Parameters
    ----------
    rows : pyarrow.Table, list of dict, or dict of equal-length arrays
        A key that one dictionary of the list lacks is NULL there. An (n, k) array becomes a list column.
    """
    if isinstance(rows, pa.Table):
        columns = {name: rows.column(name) for name in rows.column_names}
    elif isinstance(rows, dict):
        columns = {name: _to_array(values) for name, values in rows.items()}
    else:
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {name: _to_array([row.get(name) for row in rows]) for name in names}
    return pa.table({name: _nan_to_null(column) for name, column in columns.items()})


def _to_array(values):
    if isinstance(values, np.ma.MaskedArray):
        return pa.array(_native(values.data), mask=np.ma.getmaskarray(values))
    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = pa.array(_native(np.ascontiguousarray(values)).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if isinstance(values, np.ndarray):
        return pa.array(_native(values))
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)


def _native(array):
    """Arrow refuses the big-endian numbers that FITS tables hold."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _nan_to_null(column):
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def check_columns(connection, table_name, table):
    """Refuse columns that a catalogue table lacks, and integers that arrive as floating point.

    Raises
    ------
    CatalogError
        Names the column, the nearest one that exists, or the type; an id beyond 2^53 does not survive a float.
    """
    types = dict(
        connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = $table_name "
            "AND database_name = current_database()",
            {"table_name": table_name},
        ).fetchall()
    )
    if not types:
        raise CatalogError(f"the catalogue has no table {table_name}")
    for column in table.schema:
        if column.name not in types:
            near = difflib.get_close_matches(column.name, types, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise CatalogError(f"table {table_name} has no column {column.name}{hint}")
        if types[column.name] in _INTEGER_TYPES and pa.types.is_floating(column.type):
            raise CatalogError(f"{table_name}.{column.name} is {types[column.name]} but comes as {column.type}")
