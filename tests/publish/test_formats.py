"""What leaves is read as it was: whole numbers beyond 2^53 and gaps, by every reader that the guide names.

astropy reads whole numbers with gaps exactly from ECSV and VOTable; from Parquet it makes them floating point itself.
"""

import csv
import datetime
import io
import json
import shutil
import subprocess

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbpipe.errors import ConfigError
from dbpipe.publish.answers import write_answer
from dbpipe.publish.write import write_rows

LOWEST = -(2**63) + (pd.__version__ < "3")  # older pandas reads the lowest of all from CSV as a gap
EDGES = [2**53 - 1, 2**53 + 1, 2**60 + 1, 2**62 + 3, 2**63 - 1, 0, 1, LOWEST]
IDS = st.lists(st.none() | st.sampled_from(EDGES) | st.integers(LOWEST, 2**63 - 1), min_size=1, max_size=8)


def write(path, **columns):
    """Write columns to a file."""
    table = pa.table(columns)
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
    return write_rows(path, reader, {name: {} for name in columns})


def whole(values):
    """Python's whole numbers and None of a column as pandas or astropy give it."""
    assert getattr(values, "dtype", None) != np.float64
    return [None if v is None or v is pd.NA or v is np.ma.masked else int(v) for v in values]


def answer(path, **columns):
    """Write an answer of the database to a file."""
    with duckdb.connect() as connection:
        connection.register("lent", pa.table(columns))
        write_answer(connection, path, "SELECT * FROM lent")


READERS = {
    "a.parquet": [
        lambda path: pd.read_parquet(path)["id"],
        lambda path: pd.read_parquet(path, dtype_backend="numpy_nullable")["id"],
        lambda path: pd.read_parquet(path, dtype_backend="pyarrow")["id"],
        lambda path: pq.read_table(path).to_pandas()["id"],
        lambda path: pa.dataset.dataset(path).to_table()["id"].to_pylist(),
        lambda path: [row[0] for row in duckdb.sql(f"SELECT id FROM '{path}'").fetchall()],
    ],
    "a.csv": [
        lambda path: pd.read_csv(path, dtype_backend="numpy_nullable")["id"],
        lambda path: pd.read_csv(path, dtype={"id": "Int64"})["id"],
        lambda path: [row[0] for row in duckdb.sql(f"SELECT id::BIGINT FROM '{path}'").fetchall()],
    ],
    "a.ecsv": [lambda path: Table.read(path)["id"]],
    "a.vot": [lambda path: Table.read(path)["id"]],
    "a.json": [lambda path: [row["id"] for row in json.loads(path.read_text())]],
    "a.jsonl": [
        lambda path: [json.loads(line)["id"] for line in path.read_text().splitlines()],
        lambda path: pd.read_json(path, lines=True, engine="pyarrow", dtype_backend="pyarrow")["id"],
    ],
}


@pytest.mark.parametrize("name", READERS)
@settings(deadline=None, max_examples=15, suppress_health_check=list(HealthCheck), derandomize=True)
@given(ids=IDS)
def test_whole_numbers_are_exact_in_every_format(tmp_path, name, ids):
    """Ids up to 2^63 and gaps come back as they were, whatever else is in the column."""
    path = tmp_path / name
    answer(path, n=list(range(len(ids))), id=pa.array(ids, pa.int64()))
    for read in READERS[name]:
        assert whole(read(path)) == ids


def test_a_folder_of_files_is_read_exactly_too(tmp_path):
    """pandas takes the types of a folder from its first file: that one says so although it has no gap."""
    for night, ids in enumerate(([2**60 + 1, 2**60 + 2], [None, 2**61 + 1])):
        (tmp_path / f"night={night}").mkdir()
        write(tmp_path / f"night={night}" / "a.parquet", id=pa.array(ids, pa.int64()), ok=[True, None])
    read = pd.read_parquet(tmp_path)
    assert whole(read["id"]) == [2**60 + 1, 2**60 + 2, None, 2**61 + 1]
    assert read["ok"].fillna(0).tolist() == [True, 0, True, 0]


def test_pandas_is_told_as_pandas_tells_itself(tmp_path):
    """The footer says of each column what pandas writes for its own columns of these types."""
    frame = pd.DataFrame({"a": pd.array([1], "Int64"), "c": pd.array([1], "UInt8")})
    write(tmp_path / "a.parquet", a=[1], c=pa.array([1], pa.uint8()), d=[0.5])
    keys = [
        json.loads(schema.metadata[b"pandas"])["columns"]
        for schema in (pa.Schema.from_pandas(frame, preserve_index=False), pq.read_schema(tmp_path / "a.parquet"))
    ]
    assert keys[0] == keys[1]


ODD = {
    "id": pa.array([2**60 + 1, None, 2**63 - 1], pa.int64()),
    "ok": pa.array([True, None, False]),
    "byte": pa.array([-1, None, 3], pa.int8()),
    "word": pa.array([1, None, 65535], pa.uint16()),
    "large": pa.array([1, None, 2**64 - 1], pa.uint64()),
    "x": [1.5, None, float("inf")],
    "text": ["é中<&]]>\x1b[0m", None, "a, \"b\"\n'c'"],
    "when": pa.array([datetime.datetime(2026, 1, 1, 1, 2, 3), None, None], pa.timestamp("us")),
    "vector": pa.array([[1.0, None], None, []], pa.list_(pa.float64())),
    "pair": pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float64(), 2)),
    "list": pa.array([[2**60 + 1, None], None, []], pa.list_(pa.int64())),
    "record": [{"a": 1}, None, {"a": None}],
    "raw": [b"\xff\x00", None, b""],
    "band": pa.array(["r", None, "g"]).dictionary_encode(),
    "sum": pa.array([1, None, 3]).cast(pa.decimal128(38, 0)),
    "literal": pa.array([1.5, None, 2.5]).cast(pa.decimal128(4, 1)),
    "nothing": pa.nulls(3),
    '(ra + 1), "x"': [1.0, 2.0, None],
}
ODD_JSON = {
    "ok": [True, None, False],
    "x": [1.5, None, None],
    "sum": [1, None, 3],
    "literal": [1.5, None, 2.5],
    "raw": ["ff00", None, ""],
    "list": [[2**60 + 1, None], None, []],
    "large": [1, None, 2**64 - 1],
    "when": ["2026-01-01T01:02:03", None, None],
}


@pytest.mark.parametrize("name", ["a.vot", "a.ecsv"])
def test_every_kind_of_column_is_read_by_astropy(tmp_path, name):
    """Truth values, times, lists, bytes and odd names are valid, with their gaps."""
    write(tmp_path / name, **ODD)
    read = Table.read(tmp_path / name)
    assert whole(read["id"]) == [2**60 + 1, None, 2**63 - 1]
    assert [None if v is np.ma.masked else bool(v) for v in read["ok"]] == [True, None, False]
    assert str(read["large"][2]) == str(2**64 - 1) and read["sum"][2] == 3 and read["literal"][0] == 1.5
    assert read["when"][0] == "2026-01-01T01:02:03" and read["raw"][0] == "ff00"
    assert len(read.colnames) == len(ODD) and read["word"][2] == 65535


@pytest.mark.skipif(shutil.which("stilts") is None, reason="stilts is not installed")
def test_votlint_finds_nothing(tmp_path):
    """A VOTable with every kind of column and gap is valid by the checker of another reader."""
    write(tmp_path / "a.vot", **ODD)
    done = subprocess.run(["stilts", "votlint", tmp_path / "a.vot"], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("name", ["a.json", "a.csv"])
def test_text_formats_keep_what_they_can(tmp_path, name):
    """JSON has numbers for numbers and null for gaps; every row of CSV has one field per column."""
    answer(tmp_path / name, **ODD)
    if name == "a.json":
        rows = json.loads((tmp_path / name).read_text())
        assert {key: [row[key] for row in rows] for key in ODD_JSON} == ODD_JSON
        return
    rows = list(csv.reader(io.StringIO((tmp_path / name).read_text())))
    assert rows[0] == list(ODD) and {len(row) for row in rows} == {len(ODD)}


def test_columns_of_one_name_are_all_there(tmp_path):
    """A join has two columns of a name: each gets one, as DuckDB gives them in a query around it."""
    with duckdb.connect() as connection:
        query = "SELECT 1 AS ra, 2 AS RA, 3 AS ra_1"
        for name in ("a.parquet", "a.json", "a.ecsv", "a.vot"):
            write_answer(connection, tmp_path / name, query)
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == [{"ra": 1, "RA_1": 2, "ra_1_1": 3}]
    assert json.loads((tmp_path / "a.json").read_text()) == [{"ra": 1, "RA_1": 2, "ra_1_1": 3}]
    assert Table.read(tmp_path / "a.vot").colnames == ["ra", "RA_1", "ra_1_1"]


def test_a_sum_beyond_64_bits_is_refused_with_the_way_out(tmp_path):
    """What no format holds is not rounded: the message says how to ask for it."""
    with duckdb.connect() as connection, pytest.raises(ConfigError, match="s has values.*cast it.*s::VARCHAR"):
        write_answer(connection, tmp_path / "a.parquet", "SELECT sum(9223372036854775807) AS s FROM range(3)")
    assert not list(tmp_path.iterdir())
