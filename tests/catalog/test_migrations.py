"""The schema and its history."""

from dataclasses import replace

import pytest

from dbpipe.catalog import migrations
from dbpipe.catalog.sky_shards import Tiles, check_tiles
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views
from dbpipe.errors import CatalogError

FIRST = migrations.Migration(1, "first", "CREATE TABLE a (x INTEGER); INSERT INTO a VALUES (1)")
SECOND = migrations.Migration(2, "second", "ALTER TABLE a ADD COLUMN y INTEGER")


@pytest.fixture
def catalog():
    """An empty catalog in memory."""
    with connection.memory() as empty:
        yield empty


def test_each_file_is_applied_once(catalog):
    """A catalog is brought up to date in order; doing it again changes nothing."""
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


def test_a_newer_catalog_is_refused(catalog):
    """An old dbpipe does not touch a catalog with a schema that it does not know."""
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


@pytest.fixture
def tiled(catalog):
    """A catalog of today with two tiles, which have an object each."""
    migrations.migrate(catalog)
    Tiles(catalog).add([7, 11])
    names = [name for name, *_ in catalog.execute("DESCRIBE association.object").fetchall()]
    for tile in (7, 11):
        catalog.execute(
            f"INSERT INTO association.object_{tile} SELECT {', '.join(f'{tile} AS {name}' for name in names)}"
        )
    return catalog


def migrate_further(catalog, text):
    known = migrations.read_migrations()
    migrations.migrate(catalog, [*known, migrations.Migration(len(known) + 1, "more", text)])


@pytest.mark.parametrize(
    ("text", "column", "values"),
    [
        ("ALTER TABLE association.object ADD COLUMN more BOOLEAN DEFAULT false", "more", [False, False]),
        ("-- a; b\nALTER TABLE association . Object ADD COLUMN more INTEGER", "more", [None, None]),
        ("ALTER TABLE association.object RENAME COLUMN max_score TO best", "best", [7.0, 11.0]),
        ("ALTER TABLE association.object ALTER n_night TYPE BIGINT; SELECT ';'", "n_night", [7, 11]),
        ("UPDATE association.object SET ra = -ra /* ; */ WHERE dec > length('-- no; comment')", "ra", [7.0, 11.0]),
        ("UPDATE association.object SET ra = -ra WHERE dec > 10", "ra", [7.0, -11.0]),
        ("COMMENT ON COLUMN association.object.ra IS '[deg] it''s; ALTER TABLE association.object'", "ra", [7.0, 11.0]),
    ],
)
def test_what_changes_the_pattern_changes_every_tile(tiled, text, column, values):
    """Rows are in tables per tile, which a migration cannot name: what it does to their pattern is done to them."""
    migrate_further(tiled, text)
    check_tiles(tiled)
    found = [tiled.execute(f"SELECT {column} FROM association.object_{tile}").fetchall()[0][0] for tile in (7, 11)]
    assert found == values
    Tiles(tiled).add([13])
    apply_views(tiled)
    assert sorted(tiled.execute(f"SELECT {column} FROM dia_object").fetchall()) == sorted((value,) for value in values)


def test_tiles_unlike_their_pattern_are_refused(tiled):
    """A migration that makes the pattern anew without its tiles is taken back."""
    with pytest.raises(CatalogError, match="2 tables of tiles are not like their pattern, association.object_11"):
        migrate_further(tiled, "DROP TABLE association.object; CREATE TABLE association.object (ra DOUBLE)")
    assert tiled.execute("SELECT ra, dec FROM association.object_7").fetchall() == [(7.0, 7.0)]
