"""Tables and views as files, with the unit and the meaning of every column inside.

Parquet keeps them in the metadata of each field (``unit``, ``description``, ``ucd``) and in the footer, as one JSON
text under ``dbpipe.columns`` and as VOParquet 1.0. ECSV and VOTable keep them in their headers; CSV has no place.
"""

import csv
import json
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from dbpipe import votable
from dbpipe.catalog.connection import transaction
from dbpipe.catalog.queries import directory
from dbpipe.catalog.tiles import make_views
from dbpipe.disk.ledger import adopt, check_output, write_output
from dbpipe.errors import ConfigError

ROW_GROUP_ROWS = 100_000
"""Rows per group: some 10 MB, read as a whole or skipped as a whole by its minimum and maximum."""
_COMMENT = re.compile(r"^\[(?P<unit>[^\]]*)\] *(?P<description>.*)$", re.DOTALL)
_SOURCE = re.compile(r'\b(?:FROM|JOIN)[\s(]+(?:"?\w+"?\.)*"?(\w+)', re.IGNORECASE)
_ECSV_TYPE = {"halffloat": "float16", "float": "float32", "double": "float64", "large_string": "string"}


def apply_views(connection):
    """Create or replace every view of ``sql/views/`` and macro of ``sql/macros/``; all or, on an error, none.

    A view that mentions another file's name comes after it.
    """
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted((directory("sql") / "views").glob("*.sql"))}
    mentions = {
        name: [other for other in texts if other != name and re.search(rf"\b{other}\b", text)]
        for name, text in texts.items()
    }
    with transaction(connection):
        make_views(connection)
        for name in TopologicalSorter(mentions).static_order():
            connection.execute(texts[name])
        for path in sorted((directory("sql") / "macros").glob("*.sql")):
            connection.execute(path.read_text(encoding="utf-8"))


def column_metadata(connection, table):
    """Return what the database says of the columns of a table or view.

    Views that pass a column of a table on under its name inherit its comment where they have none of their own.

    Returns
    -------
    dict
        Column name -> {"unit", "description", "ucd"}, without those that are not known.

    Raises
    ------
    ConfigError
        If there is no such table or view.
    """
    comments = _own_comments(connection, table)
    if not comments:
        raise ConfigError(f"there is no table or view {table!r}; there are: {', '.join(_table_names(connection))}")
    inherited = _source_comments(connection, table)
    return {name: _describe(name, comment or inherited.get(name)) for name, comment in comments.items()}


def query_metadata(connection, query):
    """Return what is known of the columns of a query: what the first table or view that it names says of them."""
    known = {}
    for relation in dict.fromkeys(_SOURCE.findall(query)):
        if _own_comments(connection, relation):
            known = column_metadata(connection, relation) | known
    return {name: known.get(name) or _describe(name, None) for name in connection.sql(query).columns}


def _own_comments(connection, table):
    """Column -> comment of a table or view, in the order of the columns."""
    return dict(
        connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() "
            "WHERE NOT internal AND lower(table_name) = lower($table) ORDER BY column_index",
            {"table": table},
        ).fetchall()
    )


def _table_names(connection):
    rows = connection.execute(
        "SELECT DISTINCT table_name FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main' ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows]


def _source_comments(connection, view):
    """Comments of the columns of the tables named in a view's text; a name with two meanings is left out."""
    text = connection.execute(
        "SELECT sql FROM duckdb_views() WHERE NOT internal AND lower(view_name) = lower($view)", {"view": view}
    ).fetchone()
    if text is None:
        return {}
    sources = {name.lower() for name in _SOURCE.findall(text[0])}
    rows = connection.execute(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal AND comment IS NOT NULL"
    ).fetchall()
    meanings = {}
    for table, column, comment in rows:
        if table.lower() in sources:
            meanings.setdefault(column, set()).add(comment)
    return {column: found.pop() for column, found in meanings.items() if len(found) == 1}


def _describe(name, comment):
    match = _COMMENT.match(comment or "")
    known = {**match.groupdict()} if match else {"description": comment or ""}
    known["ucd"] = _ucds().get(name, "")
    return {key: value for key, value in known.items() if value}


@cache
def _ucds():
    """UCDs of the APDB's column names, from ``sql/views/ucd.csv``."""
    with open(directory("sql") / "views" / "ucd.csv", encoding="utf-8", newline="") as file:
        return {row["column"]: row["ucd"] for row in csv.DictReader(file)}


def export(connection, out, *, table, where=None, columns=None, order_by=None):
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
    query = f"SELECT {', '.join(map(_quoted, selected))} FROM {_quoted(table)}"
    query += f" WHERE {where}" if where else ""
    query += f" ORDER BY {order_by}" if order_by else ""
    with connection.sql(query).to_arrow_reader(ROW_GROUP_ROWS) as reader:
        return path, write_rows(path, reader, {name: metadata[name] for name in selected})


def export_path(out, table):
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


def check_export(out, tables, *, overwrite=False):
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


def write_rows(path, reader, metadata, *, writers=None):
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
    writers = _WRITERS | (writers or {})
    if path.suffix not in writers:
        raise ConfigError(f"cannot write {path.name}: the name must end with {', '.join(writers)}")
    check_output(path)  # before the first row is fetched
    schema = describe_schema(reader.schema, metadata)
    n_row = 0

    def counted():
        nonlocal n_row
        for batch in reader:
            n_row += batch.num_rows
            yield to_schema(batch, schema)

    write_output(path, lambda temporary: writers[path.suffix](temporary, schema, counted()))
    return n_row


def _quoted(name):
    return '"' + name.replace('"', '""') + '"'


def _known_column(name, metadata, table):
    for known in metadata:
        if known.lower() == name.lower():
            return known
    raise ConfigError(f"{table} has no column {name!r}; it has: {', '.join(metadata)}")


def describe_schema(schema, metadata):
    """Hang unit, description and UCD on the fields, and all of it on the footer: as JSON, and as VOParquet 1.0."""
    fields = []
    for field in schema:
        # enums come as dictionaries whose values may differ from batch to batch
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        fields.append(pa.field(field.name, kind, field.nullable, metadata[field.name]))
    described = pa.schema(fields)
    return described.with_metadata({"dbpipe.columns": json.dumps(metadata)} | votable.parquet_keys(described))


def to_schema(batch, schema):
    """Return a batch with the types of a schema and its descriptions."""
    return pa.RecordBatch.from_arrays(
        [array.cast(field.type) for array, field in zip(batch.columns, schema, strict=True)], schema=schema
    )


def write_parquet(path, schema, batches, *, row_group_rows=ROW_GROUP_ROWS):
    """Write batches of a schema as one Parquet file and return its footer."""
    footers = []
    options = {"compression": "zstd", "compression_level": 1, "metadata_collector": footers}
    with pq.ParquetWriter(path, schema, **options) as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=row_group_rows)
    return footers[0]


def _write_csv(path, schema, batches):
    _write_delimited(path, schema, batches, header=b"")


def _write_ecsv(path, schema, batches):
    """Enhanced CSV 1.0 (astropy APE 6)."""
    lines = ["%ECSV 1.0", "---", "delimiter: ','", "datatype:"]
    for field in schema:
        known = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        entry = {"name": field.name, "datatype": _ECSV_TYPE.get(str(field.type), str(field.type))}
        if known.get("unit"):
            entry["unit"] = known["unit"]
        if known.get("description"):
            entry["description"] = known["description"]
        lines.append(f"- {json.dumps(entry)}")  # JSON is YAML
    lines += ["schema: astropy-2.0"]
    header = "".join(f"# {line}\n" for line in lines).encode()
    _write_delimited(path, schema, batches, header=header)


def _write_delimited(path, schema, batches, *, header):
    """Write comma-separated text; lists become JSON, times ISO text, missing values nothing."""
    text = pa.schema([pa.field(f.name, pa.string() if _is_text(f.type) else f.type) for f in schema])
    options = pa_csv.WriteOptions(include_header=False)
    with open(path, "wb") as file:
        file.write(header + ",".join(schema.names).encode() + b"\n")
        with pa_csv.CSVWriter(file, text, write_options=options) as writer:
            for batch in batches:
                writer.write_batch(pa.RecordBatch.from_arrays([_as_text(a) for a in batch.columns], schema=text))


def _is_text(kind):
    kinds = (pa.types.is_string, pa.types.is_nested, pa.types.is_temporal, pa.types.is_boolean)
    return any(is_kind(kind) for is_kind in kinds)


def _as_text(array):
    if pa.types.is_nested(array.type):
        return pa.array([None if v is None else json.dumps(v) for v in array.to_pylist()], pa.string())
    if pa.types.is_boolean(array.type):
        return pc.if_else(array, "True", "False")  # ECSV knows no other spelling
    return pc.cast(array, pa.string()) if pa.types.is_temporal(array.type) else array


_WRITERS = {
    ".parquet": write_parquet,
    ".csv": _write_csv,
    ".ecsv": _write_ecsv,
    ".vot": votable.write_votable,
    ".xml": votable.write_votable,
}
