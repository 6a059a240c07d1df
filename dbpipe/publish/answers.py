"""Answers of queries as files: Parquet, CSV, ECSV, VOTable and JSON, with what the catalog says of the columns."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.sql.dictionary import query_metadata
from dbpipe.catalog.sql.questions import asking
from dbpipe.catalog.store.arrow import for_pandas, plain_type, reader_for_pandas, to_json
from dbpipe.later import Later

BATCH_ROWS = 100_000
"""Rows fetched at a time."""
write_rows = Later("dbpipe.publish.write", "write_rows")
"""Most answers go to no file."""


class Answer:
    """A relation of DuckDB, with its methods, from which whole numbers with gaps come whole, and so exact.

    DuckDB before 2.0 makes them floating point in ``df()``, in which ids beyond 2^53 run together; so does pandas with
    an Arrow table or stream that does not say otherwise.
    """

    def __init__(self, relation: duckdb.DuckDBPyRelation) -> None:
        self._relation = relation

    def df(self) -> Any:
        """Return all rows as a pandas.DataFrame; decimal numbers, sums of whole ones too, become numbers of pandas."""
        table = for_pandas(self._relation.to_arrow_table())
        for k, field in enumerate(table.schema):
            if pa.types.is_decimal(field.type):
                table = table.set_column(k, field.name, _as_number(table.column(k)))
        return for_pandas(table).to_pandas()

    to_df = fetchdf = df

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._relation, name)
        return _answering(value) if callable(value) else value

    def __getitem__(self, name: str) -> Any:
        return Answer(self._relation[name])

    def __len__(self) -> Any:
        return len(self._relation)

    def __repr__(self) -> Any:
        return repr(self._relation)

    def __arrow_c_stream__(self, requested_schema: Any | None = None) -> Any:
        return reader_for_pandas(self._relation.to_arrow_reader(BATCH_ROWS)).__arrow_c_stream__(requested_schema)


def _as_number(column: Any) -> Any:
    """Decimal numbers as whole or floating-point ones: those of more than 64 bits lose digits, as no id has them."""
    try:
        return column.cast(plain_type(column.type))
    except pa.ArrowInvalid:
        return column.cast(pa.float64())


def _answering(method: Callable[..., Any]) -> Callable[..., Any]:
    """A relation's method, which returns an Answer where it returns a relation, and tells pandas of whole numbers."""

    @wraps(method)
    def call(*arguments: Any, **keywords: Any) -> Any:
        given = [a._relation if isinstance(a, Answer) else a for a in arguments]  # of a join, say
        result = method(*given, **keywords)
        if isinstance(result, duckdb.DuckDBPyRelation):
            return Answer(result)
        if isinstance(result, pa.RecordBatchReader):
            return reader_for_pandas(result)
        return for_pandas(result) if isinstance(result, pa.Table) else result

    return call


def fetch_answer(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any] | None = None
) -> pa.Table:
    """Return the answer to a query as a pyarrow.Table; ConfigError if DuckDB refuses it."""
    with asking(connection, query, parameters) as relation:
        return for_pandas(relation.to_arrow_table())


def fetch_head(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, Any] | None = None, *, limit: int
) -> tuple[pa.Table, int]:
    """Return the first rows of an answer, a pyarrow.Table, and the number of all; the others are not kept."""
    with asking(connection, query, parameters) as relation:
        kept, n_row = [], 0
        with relation.to_arrow_reader(max(limit, 1000)) as reader:
            for batch in reader:
                kept += [batch.slice(0, limit - n_row)] if n_row < limit else []
                n_row += batch.num_rows
        return for_pandas(pa.Table.from_batches(kept, schema=reader.schema)), n_row


def write_answer(
    connection: duckdb.DuckDBPyConnection, path: Path, query: str, parameters: Mapping[str, Any] | None = None
) -> int:
    """Write the answer to a query to a file whose ending says the format; returns the number of rows.

    Columns that are those of a table, untouched, keep its unit, meaning and UCD, where the format has a place for them.
    """
    with asking(connection, query, parameters) as relation:
        metadata = query_metadata(connection, query, relation.columns)
        writers = {".json": write_json, ".jsonl": write_json_lines}
        # a reader that an error leaves open keeps the file in use: the next connection to it would wait for ever
        with relation.to_arrow_reader(BATCH_ROWS) as reader:
            return write_rows(path, reader, metadata, writers=writers)


def write_json(path: Any, schema: pa.Schema, batches: Iterator[Any]) -> None:
    """Write one JSON array, an object a line."""
    with open(path, "w", encoding="utf-8") as file:
        separator = "[\n"
        for line in _json_lines(batches):
            file.write(separator + line)
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def write_json_lines(path: Any, schema: pa.Schema, batches: Iterator[Any]) -> None:
    """Write one JSON object a line."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _json_lines(batches))


def _json_lines(batches: Iterator[Any]) -> Iterator[Any]:
    for batch in batches:
        for row in batch.to_pylist():
            yield to_json(row)
