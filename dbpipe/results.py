"""Answers of queries as files: Parquet, CSV, ECSV, VOTable and JSON, with what the catalogue says of the columns."""

import json
import math

import pyarrow as pa

from dbpipe.catalog.dictionary import query_metadata
from dbpipe.catalog.questions import asking
from dbpipe.export import ROW_GROUP_ROWS, write_rows


def fetch_answer(connection, query, parameters=None):
    """Return the answer to a query as a pyarrow.Table; ConfigError if DuckDB refuses it."""
    with asking(connection, query, parameters) as relation:
        return relation.to_arrow_table()


def fetch_head(connection, query, parameters=None, *, limit):
    """Return the first rows of an answer, a pyarrow.Table, and the number of all; the others are not kept."""
    with asking(connection, query, parameters) as relation:
        kept, n_row = [], 0
        with relation.to_arrow_reader(max(limit, 1000)) as reader:
            for batch in reader:
                kept += [batch.slice(0, limit - n_row)] if n_row < limit else []
                n_row += batch.num_rows
        return pa.Table.from_batches(kept, schema=reader.schema), n_row


def write_answer(connection, path, query, parameters=None):
    """Write the answer to a query to a file whose ending says the format; returns the number of rows.

    Columns that are those of a table, untouched, keep its unit, meaning and UCD, where the format has a place for them.
    """
    with asking(connection, query, parameters) as relation:
        metadata = query_metadata(connection, query, relation.columns)
        writers = {".json": write_json, ".jsonl": write_json_lines}
        # a reader that an error leaves open keeps the file in use: the next connection to it would wait for ever
        with relation.to_arrow_reader(ROW_GROUP_ROWS) as reader:
            return write_rows(path, reader, metadata, writers=writers)


def write_json(path, schema, batches):
    """Write one JSON array, an object a line."""
    with open(path, "w", encoding="utf-8") as file:
        separator = "[\n"
        for line in _json_lines(batches):
            file.write(separator + line)
            separator = ",\n"
        file.write("[]\n" if separator == "[\n" else "\n]\n")


def write_json_lines(path, schema, batches):
    """Write one JSON object a line."""
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in _json_lines(batches))


def _json_lines(batches):
    for batch in batches:
        for row in batch.to_pylist():
            yield json.dumps(_plain(row), default=str, allow_nan=False)


def _plain(value):
    """JSON knows no NaN and no infinity: both become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
