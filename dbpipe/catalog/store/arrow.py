"""Rows to Arrow: the one border where NaN becomes NULL and column types are checked; and Arrow in other words."""

import json
import math
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.errors import CatalogError
from dbpipe.names import did_you_mean

_INTEGER_TYPES = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT"}
_PANDAS_VERSION = "2.1.0"
"""The oldest that dbpipe works with; readers want to see a version, and do nothing with one of this age."""


def to_table(rows: pa.Table) -> pa.Table:
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


def _to_array(values: np.ndarray | pa.Array) -> pa.Array:
    if isinstance(values, np.ma.MaskedArray):
        return pa.array(_native(values.data), mask=np.ma.getmaskarray(values))
    if isinstance(values, np.ndarray) and values.ndim == 2:
        flat = pa.array(_native(np.ascontiguousarray(values)).ravel())
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    if isinstance(values, np.ndarray):
        return pa.array(_native(values))
    return values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)


def _native(values: np.ndarray) -> np.ndarray:
    """Arrow refuses the big-endian numbers that FITS tables hold."""
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


def _nan_to_null(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if not pa.types.is_floating(column.type):
        return column
    return pa.array(column.to_numpy(zero_copy_only=False), column.type, from_pandas=True)


def texts(values: Sequence[str]) -> pa.Array:
    """Return texts as an Arrow array.

    `pyarrow.array` looks for pandas first, and to load that takes longer than all else that a short command does.
    """
    parts = [value.encode() for value in values]
    ends = array("i", accumulate(map(len, parts), initial=0))
    return pa.Array.from_buffers(pa.string(), len(parts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(parts))])


def running_numbers(n: int) -> pa.Array:
    """Return 0 to n - 1 as an Arrow array of 64 bits, without pandas as in `texts`."""
    return pa.Array.from_buffers(pa.int64(), n, [None, pa.py_buffer(array("q", range(n)))])


def check_columns(connection: duckdb.DuckDBPyConnection, table_name: str, table: pa.Table) -> None:
    """Refuse columns that a catalog table lacks, and integers that arrive as floating point.

    Raises
    ------
    CatalogError
        Names the column, the nearest one that exists, or the type; an id beyond 2^53 does not survive a float.
    """
    try:
        found = connection.table(table_name)
    except duckdb.CatalogException as error:
        raise CatalogError(f"the catalog has no table {table_name}") from error
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    for column in table.schema:
        if column.name not in types:
            raise CatalogError(f"table {table_name} has no column {column.name}{did_you_mean(column.name, types)}")
        if types[column.name] in _INTEGER_TYPES and pa.types.is_floating(column.type):
            raise CatalogError(f"{table_name}.{column.name} is {types[column.name]} but comes as {column.type}")


def pandas_keys(schema: Sequence[pa.Field] | pa.Schema) -> dict[str, str]:
    """Return the metadata by which pandas reads whole numbers with gaps as such (Int64).

    Without it a column of ids that has a gap becomes floating point, in which ids beyond 2^53 run together. See
    "Storing pandas DataFrame objects in Apache Parquet format" in the documentation of pandas; polars, DuckDB and
    astropy do not look at it.
    """
    columns = [
        {"name": f.name, "field_name": f.name, "pandas_type": str(f.type), "numpy_type": kind, "metadata": None}
        for f in schema
        if (kind := _pandas_type(f.type))
    ]
    keys = {"index_columns": [], "column_indexes": [], "columns": columns, "pandas_version": _PANDAS_VERSION}
    return {"pandas": json.dumps(keys | {"creator": {"library": "pyarrow", "version": pa.__version__}})}


def for_pandas(table: pa.Table) -> pa.Table:
    """Return a pyarrow.Table whose ``to_pandas()`` keeps whole numbers with gaps whole, and so exact.

    Columns of the same name get one each, see `unique_names`: in a dictionary all but one would be lost.
    """
    table = table.rename_columns(unique_names(table.column_names))
    gaps = [field for field, column in zip(table.schema, table.columns, strict=True) if column.null_count]
    return table.replace_schema_metadata((table.schema.metadata or {}) | pandas_keys(gaps))


def reader_for_pandas(reader: Any) -> Any:
    """Return a pyarrow.RecordBatchReader like another, for pandas as in `for_pandas`; any column can have gaps."""
    schema = pa.schema(
        [field.with_name(name) for field, name in zip(reader.schema, unique_names(reader.schema.names), strict=True)]
    )
    schema = schema.with_metadata((reader.schema.metadata or {}) | pandas_keys(schema))
    batches = (pa.RecordBatch.from_arrays(batch.columns, schema=schema) for batch in reader)
    return pa.RecordBatchReader.from_batches(schema, batches)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a column leaves: no enums, decimal numbers or columns of nothing."""
    if pa.types.is_dictionary(kind):  # an enum, whose values may differ from batch to batch
        return kind.value_type
    if pa.types.is_decimal(kind):
        return pa.int64() if kind.scale == 0 else pa.float64()
    return pa.string() if pa.types.is_null(kind) else kind


def unique_names(names: Sequence[str]) -> list[str]:
    """Return names of which no two differ by capitals alone: further ones get ``_1``, ``_2``, as DuckDB does it."""
    seen, unique = set(), []
    for name in names:
        candidates = (name, *(f"{name}_{k}" for k in range(1, len(names) + 1)))
        unique.append(next(candidate for candidate in candidates if candidate.lower() not in seen))
        seen.add(unique[-1].lower())
    return unique


def _pandas_type(kind: pa.DataType) -> str | None:
    """Name of the pandas type that knows gaps, None for kinds that know them anyway."""
    return str(kind).replace("u", "U").replace("int", "Int") if pa.types.is_integer(kind) else None


def is_nested(kind: pa.DataType) -> bool:
    """Whether a value of this Arrow type is made of values: lists, structures, maps."""
    return pa.types.is_nested(kind) or pa.types.is_fixed_size_list(kind)  # pyarrow 15 forgets lists of one length


def to_text(array: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return an Arrow array as text: lists and structures as JSON, times by ISO 8601, bytes in hexadecimal."""
    kind = array.type
    nested = is_nested(kind)
    if nested or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = (None if v is None else to_json(v) if nested else v.hex() for v in array.to_pylist())
        return pa.array(list(values), pa.string())
    if pa.types.is_temporal(kind):
        return pa.array([None if v is None else _time_text(v) for v in array.to_pylist()], pa.string())
    return array.cast(pa.string())


def to_json(value: Any) -> Any:
    """Return a value as JSON; NaN and infinity, which JSON lacks, are null. Whole numbers have all their digits."""
    return json.dumps(_plain(value), default=_time_text, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _time_text(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
