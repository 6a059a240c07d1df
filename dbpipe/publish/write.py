"""Tables and views as files, with the unit and the meaning of every column inside.

Parquet keeps them in the metadata of each field (``unit``, ``description``, ``ucd``) and in the footer, as one JSON
text under ``dbpipe.columns`` and as VOParquet 1.0. ECSV and VOTable keep them in their headers; CSV has no place.
"""

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from duckdb import ColumnExpression

from dbpipe.catalog.sql.dictionary import column_metadata
from dbpipe.catalog.sql.questions import check_condition, find_relation, refusals
from dbpipe.catalog.store.arrow import is_nested, pandas_keys, plain_type, to_text, unique_names
from dbpipe.catalog.store.connection import only_reading
from dbpipe.disk.ledger import adopt, check_output, write_output
from dbpipe.errors import ConfigError
from dbpipe.publish import votable

ROW_GROUP_ROWS = 100_000
"""Rows per group: some 10 MB, read as a whole or skipped as a whole by its minimum and maximum."""
FOOTER_VERSION = 2
"""Of what `describe_schema` writes into Parquet files: an export in parts writes files with an older one anew."""
_ECSV_TYPE = {"halffloat": "float16", "float": "float32", "double": "float64", "bool": "bool"}


def export(
    connection: duckdb.DuckDBPyConnection,
    out: Path,
    *,
    table: str,
    where: str | None = None,
    columns: Sequence[str] | None = None,
    order_by: str | None = None,
) -> tuple[Path, int]:
    """Write a table or view to a file.

    Parameters
    ----------
    connection : duckdb connection
    out : path
        A file named ``*.parquet``, ``*.csv``, ``*.ecsv`` or ``*.vot`` (or ``*.xml``: VOTable), or a folder, in which
        ``<table>.parquet`` is written. The file appears whole or not at all, and never in the place of one that
        dbpipe did not make.
    table : str
    where : str, optional
        SQL condition on its rows.
    columns : sequence of str, optional
        Default: all.
    order_by : str, optional
        SQL; without it the order is that of the table.

    Returns
    -------
    path of the file, number of rows

    Raises
    ------
    ConfigError
        If the table, a column or the kind of file is not known.
    """
    metadata = column_metadata(connection, table)
    selected = list(metadata) if columns is None else [_known_column(name, metadata, table) for name in columns]
    path = export_path(out, table)
    if where is not None:
        check_condition(connection, where)
    with refusals(connection, f"{table} {where}"), only_reading(connection):
        relation = connection.table_function("query_table", [find_relation(connection, table)])
        relation = relation.set_alias(table)  # a condition may name it
        relation = relation if where is None else relation.filter(where)
        relation = (relation.order(order_by) if order_by else relation).select(*map(ColumnExpression, selected))
        with relation.to_arrow_reader(ROW_GROUP_ROWS) as reader:
            return path, write_rows(path, reader, {name: metadata[name] for name in selected})


def export_path(out: Path, table: str) -> Path:
    """Return the file that `export` writes.

    Raises
    ------
    ConfigError
        If the name of the table cannot be that of a file.
    """
    path = Path(out)
    if path.is_dir() or not path.suffix:
        if not re.fullmatch(r"\w+", table):
            raise ConfigError(f"{table!r} cannot be the name of a file: say one, e.g. {path / 'rows.parquet'}")
        path = path / f"{table}.parquet"
    return path


def check_export(out: Path, tables: Sequence[str], *, overwrite: bool = False) -> list[Path]:
    """Return the files of an export of tables to a folder, or of one table to a file; ConfigError if one cannot be.

    ``overwrite``: files that dbpipe did not make are replaced, too.
    """
    is_new_folder = len(tables) > 1 and not Path(out).is_dir()  # whatever its name
    paths = [export_path(Path(out) / f"{name}.parquet" if is_new_folder else out, name) for name in tables]
    for path in paths:
        if overwrite:
            adopt(path)
        check_output(path)
    return paths


def write_rows(
    path: Path,
    reader: pa.RecordBatchReader,
    metadata: Mapping[str, dict[str, str]],
    *,
    writers: Mapping[str, Callable[..., Any]] | None = None,
) -> int:
    """Write record batches to a file whose ending says the format; it appears whole or not at all.

    Parameters
    ----------
    path : path
    reader : pyarrow.RecordBatchReader
    metadata : dict
        Column name -> {"unit", "description", "ucd"}, see `column_metadata`.
    writers : dict, optional
        More formats: ending -> ``write(path, schema, batches)``.

    Returns
    -------
    int
        Number of rows.
    """
    path = Path(path)
    writers = _WRITERS | dict(writers or {})
    if path.suffix not in writers:
        raise ConfigError(f"cannot write {path.name}: the name must end with {', '.join(writers)}")
    check_output(path)  # before the first row is fetched
    schema = describe_schema(reader.schema, metadata)
    n_row = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal n_row
        for batch in reader:
            n_row += batch.num_rows
            yield to_schema(batch, schema)

    write_output(path, lambda temporary: writers[path.suffix](temporary, schema, counted()))
    return n_row


def _known_column(name: str, metadata: Mapping[str, dict[str, str]], table: str) -> Any:
    for known in metadata:
        if known.lower() == name.lower():
            return known
    raise ConfigError(f"{table} has no column {name!r}; it has: {', '.join(metadata)}")


def describe_schema(schema: pa.Schema, metadata: Mapping[str, dict[str, str]]) -> pa.Schema:
    """Return the schema in which rows leave: plain types, a name for each column, and what is known of them.

    Unit, description and UCD hang on the fields, and all of it on the footer: as JSON, and as VOParquet 1.0. Enums
    become text; decimal numbers double precision, those without decimals (sums of whole numbers) whole numbers of 64
    bits. The footer tells pandas which columns are whole numbers.
    """
    known = dict(zip(unique_names(schema.names), (metadata[name] for name in schema.names), strict=True))
    fields = [
        pa.field(name, plain_type(field.type), field.nullable, about)
        for (name, about), field in zip(known.items(), schema, strict=True)
    ]
    described = pa.schema(fields)
    keys = {"dbpipe.columns": json.dumps(known)} | votable.parquet_keys(described) | pandas_keys(described)
    return described.with_metadata(keys)


def to_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch with the types of a schema and its descriptions.

    Raises
    ------
    ConfigError
        If a whole number has more than 64 bits.
    """
    arrays = []
    for field, array in zip(schema, batch.columns, strict=True):
        try:
            arrays.append(array.cast(field.type))
        except pa.ArrowInvalid as error:
            raise ConfigError(
                f"{field.name} has values that {field.type} does not hold ({error}); cast it in the query, "
                f"as in {field.name}::VARCHAR"
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def write_parquet(
    path: Path, schema: pa.Schema, batches: Iterator[Any], *, row_group_rows: int = ROW_GROUP_ROWS
) -> Any:
    """Write batches of a schema as one Parquet file and return its footer."""
    footers: list[Any] = []
    options: dict[str, Any] = {"compression": "zstd", "compression_level": 1, "metadata_collector": footers}
    with pq.ParquetWriter(path, schema, **options) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=row_group_rows)
    return footers[0]


def _write_csv(path: Path, schema: pa.Schema, batches: Iterator[Any]) -> None:
    _write_delimited(path, schema, batches, header=b"")


def _write_ecsv(path: Path, schema: pa.Schema, batches: Iterator[Any]) -> None:
    """Enhanced CSV 1.0 (astropy APE 6)."""
    lines = ["%ECSV 1.0", "---", "delimiter: ','", "datatype:"]
    for field in schema:
        known = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        kind = _ECSV_TYPE.get(str(field.type), "string" if _is_text(field.type) else str(field.type))
        entry = {"name": field.name, "datatype": kind}
        if is_nested(field.type):
            entry["subtype"] = "json"
        if known.get("unit"):
            entry["unit"] = known["unit"]
        if known.get("description"):
            entry["description"] = known["description"]
        lines.append(f"- {json.dumps(entry)}")  # JSON is YAML
    lines += ["schema: astropy-2.0"]
    header = "".join(f"# {line}\n" for line in lines).encode()
    _write_delimited(path, schema, batches, header=header)


def _write_delimited(path: Path, schema: pa.Schema, batches: Iterator[Any], *, header: bytes) -> None:
    """Write comma-separated text; see `dbpipe.catalog.store.arrow.to_text` for what has no text of its own.

    Missing values are empty; an empty text is a pair of quotes.
    """
    text = pa.schema([pa.field(f.name, pa.string() if _is_text(f.type) else f.type) for f in schema])
    options = pa_csv.WriteOptions(include_header=False)
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write(header.decode())
        csv.writer(file, lineterminator="\n").writerow(schema.names)
    with open(path, "ab") as binary, pa_csv.CSVWriter(binary, text, write_options=options) as writer:
        for batch in batches:
            writer.write_batch(pa.RecordBatch.from_arrays([_as_text(a) for a in batch.columns], schema=text))


def _is_text(kind: pa.DataType) -> bool:
    return not (pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _as_text(array: pa.Array) -> pa.Array:
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "True", "False")  # ECSV knows no other spelling
    return to_text(array) if _is_text(array.type) else array


_WRITERS = {
    ".parquet": write_parquet,
    ".csv": _write_csv,
    ".ecsv": _write_ecsv,
    ".vot": votable.write_votable,
    ".xml": votable.write_votable,
}
