"""Answers of queries as files: Parquet, CSV, ECSV, VOTable and JSON, with what the catalogue says of the columns."""

import json
import math
import re

import pyarrow as pa

from dbpipe.catalog.questions import asking
from dbpipe.export import ROW_GROUP_ROWS, column_metadata, write_rows


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

    Columns that a table or view of the query knows by this name keep its unit, meaning and UCD, where the format has a
    place for them.
    """
    with asking(connection, query, parameters) as relation:
        metadata = describe_columns(connection, query, relation.columns)
        writers = {".json": write_json, ".jsonl": write_json_lines}
        # a reader that an error leaves open keeps the file in use: the next connection to it would wait for ever
        with relation.to_arrow_reader(ROW_GROUP_ROWS) as reader:
            return write_rows(path, reader, metadata, writers=writers)


def describe_columns(connection, query, names):
    """Return what the tables, views and macros in a query say of its columns; nothing where they disagree.

    Returns
    -------
    dict
        Column name -> {"unit", "description", "ucd"}.
    """
    meanings = {}
    for source in _sources(connection, query):
        for name, known in column_metadata(connection, source).items():
            meanings.setdefault(name, []).append(known)
    return {name: _common(meanings.get(name, [])) for name in names}


def _sources(connection, query):
    """Tables and views that a query names, itself or through a macro."""
    words = set(re.findall(r"\w+", query.lower()))
    macros = connection.execute(
        "SELECT function_name, macro_definition FROM duckdb_functions() "
        "WHERE NOT internal AND function_type = 'table_macro'"
    ).fetchall()
    for name, definition in macros:
        if name.lower() in words:
            words |= set(re.findall(r"\w+", definition.lower()))
    known = connection.execute(
        "SELECT DISTINCT table_name FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main'"
    ).fetchall()
    return sorted(name for (name,) in known if name.lower() in words)


def _common(meanings):
    """Return the keys on which all agree."""
    first = meanings[0] if meanings else {}
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in meanings)}


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
