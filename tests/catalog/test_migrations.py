"""The schema and its history."""

from dataclasses import replace

import pytest

from dbpipe.catalog import connection, migrations
from dbpipe.errors import CatalogError

FIRST = migrations.Migration(1, "first", "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1)")
SECOND = migrations.Migration(2, "second", "ALTER TABLE a ADD COLUMN y INTEGER")


@pytest.fixture
def catalog():
    """An empty catalogue in memory."""
    with connection.memory() as empty:
        yield empty


def test_each_file_is_applied_once(catalog):
    """A catalogue is brought up to date in order; doing it again changes nothing."""
    assert migrations.migrate(catalog, [FIRST]) == ["first"]
    assert migrations.migrate(catalog, [FIRST, SECOND]) == ["second"]
    assert migrations.migrate(catalog, [FIRST, SECOND]) == []
    assert catalog.execute("SELECT * FROM a").fetchall() == [(1, None)]
    assert catalog.execute("SELECT version, name FROM schema_migration").fetchall() == [(1, "first"), (2, "second")]


def test_an_edited_file_is_refused(catalog):
    """What was applied is history: an edit is noticed by its hash."""
    migrations.migrate(catalog, [FIRST])
    with pytest.raises(CatalogError, match="0001 .first. was edited"):
        migrations.migrate(catalog, [replace(FIRST, text="CREATE TABLE b (x INTEGER)"), SECOND])


def test_a_newer_catalogue_is_refused(catalog):
    """An old dbpipe does not touch a catalogue with a schema that it does not know."""
    migrations.migrate(catalog, [FIRST, SECOND])
    with pytest.raises(CatalogError, match="use a newer dbpipe"):
        migrations.migrate(catalog, [FIRST])


def test_a_file_that_fails_leaves_no_trace(catalog):
    """A migration is one transaction, its tables included."""
    broken = migrations.Migration(2, "broken", "CREATE TABLE b (x INTEGER); SELECT nonsense FROM nowhere")
    with pytest.raises(CatalogError, match="0002 .broken. failed"):
        migrations.migrate(catalog, [FIRST, broken])
    assert catalog.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall() == [
        ("a",),
        ("schema_migration",),
    ]


def test_numbers_have_no_gap(tmp_path):
    """Files are numbered 0001, 0002, ...; anything else is named."""
    (tmp_path / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "0003_b.sql").write_text("SELECT 1")
    with pytest.raises(CatalogError, match="0003_b.sql should be named 0002_"):
        migrations.read_migrations(tmp_path)


def test_every_column_is_documented(catalog):
    """Every table has a comment, and every column one that begins with its unit in brackets."""
    migrations.migrate(catalog)
    columns = catalog.execute(
        "SELECT table_name, column_name FROM duckdb_columns() SEMI JOIN duckdb_tables() USING (table_name) "
        "WHERE NOT internal AND NOT coalesce(regexp_matches(comment, '^\\[.*\\] .+'), false)"
    ).fetchall()
    tables = catalog.execute("SELECT table_name FROM duckdb_tables() WHERE comment IS NULL").fetchall()
    assert (columns, tables) == ([], [])
