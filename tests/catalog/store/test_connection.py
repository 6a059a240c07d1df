"""The catalog file and the lock beside it."""

import os
import subprocess
import sys

import duckdb
import pytest

from dbpipe.catalog.store import connection
from dbpipe.errors import CatalogError


def test_new_files_have_the_format_of_duckdb_1_5(tmp_path):
    """A catalog that is made today can be read by the oldest DuckDB that is supported."""
    connection.create(tmp_path / "a.duckdb")
    with connection.connect(tmp_path / "a.duckdb") as catalog:
        tags = catalog.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchall()
    assert tags[0][0]["storage_version"].startswith(connection.STORAGE_VERSION)


def test_nothing_is_fetched_from_the_network(tmp_path):
    """A function of an extension that is not there is an error at once, not a download."""
    with connection.memory() as catalog:
        rows = catalog.execute(
            "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%_known_extensions' ORDER BY name"
        ).fetchall()
    assert rows == [("autoinstall_known_extensions", "false"), ("autoload_known_extensions", "false")]


def test_a_missing_file_is_not_created(tmp_path):
    """Connecting never makes an empty catalog by mistake."""
    with pytest.raises(CatalogError, match="is not there"):
        connection.connect(tmp_path / "none.duckdb")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_catalog_is_named(tmp_path):
    """Something else under the name of the catalog is refused with a message."""
    (tmp_path / "a.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(CatalogError, match="a.duckdb cannot be opened"):
        connection.connect(tmp_path / "a.duckdb")


def test_a_transaction_is_whole_or_nothing():
    """Leaving the block by an exception undoes tables and rows; leaving it at the end keeps them."""
    with connection.memory() as catalog:
        with pytest.raises(duckdb.ConversionException):
            with connection.transaction(catalog):
                catalog.execute("CREATE TABLE t (a INTEGER)")
                catalog.execute("SELECT CAST('x' AS INTEGER)")
        with connection.transaction(catalog):
            catalog.execute("CREATE TABLE t (a INTEGER)")
        assert catalog.execute("SELECT count(*) FROM t").fetchall() == [(0,)]


def test_a_schema_that_was_just_made_survives_a_kill(tmp_path):
    """A process killed before anything reached the catalog file leaves a log that can be opened."""
    path = tmp_path / "survey.duckdb"
    connection.create(path)
    code = (
        "import os, sys; from dbpipe.catalog.store import connection; catalog = connection.connect(sys.argv[1]); "
        "catalog.execute('CREATE TABLE a (x DOUBLE CHECK (isfinite(x)))'); "
        "catalog.execute(\"COMMENT ON COLUMN a.x IS '[] x'\"); catalog.execute('INSERT INTO a VALUES (1)'); "
        "os.kill(os.getpid(), 9)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code, str(path)], env=environment).returncode == -9
    with connection.connect(path, read_only=True) as catalog:
        assert catalog.execute("SELECT x FROM a").fetchall() == [(1.0,)]
