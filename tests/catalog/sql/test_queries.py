"""Named queries and the statements that come with dbpipe."""

import pytest

from dbpipe.catalog import migrations
from dbpipe.catalog.sql import queries
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views
from dbpipe.errors import CatalogError


def test_a_file_gives_its_queries_by_name(tmp_path):
    """Text before the first name is ignored, and a final semicolon is no harm."""
    path = tmp_path / "a.sql"
    path.write_text("-- head\n\n-- name: one\n-- what\nSELECT 1;\n\n-- name: two\nSELECT 2\n")
    assert queries.load(path) == {"one": "-- what\nSELECT 1", "two": "SELECT 2"}
    path.write_text("-- name: one\nSELECT 1\n-- name: one\nSELECT 2\n")
    with pytest.raises(CatalogError, match="gives one query name twice"):
        queries.load(path)


def test_parameters_are_those_outside_text_and_comments():
    """A dollar in a comment or in quotes is no parameter."""
    assert queries.parameters("SELECT $a, '$b', x$y -- $c\nWHERE z = $d_1 AND s = 'it''s $e'") == {"a", "d_1"}
    assert queries.select_parameters("SELECT $a", {"a": 1, "b": 2}) == {"a": 1}
    with pytest.raises(CatalogError, match=r"needs \$c; its parameters are: a, b"):
        queries.select_parameters("SELECT $c", {"a": 1, "b": 2})


@pytest.mark.parametrize(
    "path", sorted((queries.directory("sql") / "checks").glob("*.sql")), ids=lambda path: path.stem
)
def test_an_empty_catalog_breaks_no_rule(path):
    """Every check runs on the present schema, begins with its rule in words, and finds nothing in an empty survey."""
    with connection.memory() as catalog:
        migrations.migrate(catalog)
        apply_views(catalog)
        for name, query in queries.load(path).items():
            assert query.startswith("-- ") and query.splitlines()[0].endswith("."), name
            assert catalog.execute(query).fetchall() == [], name


@pytest.mark.parametrize("name", ["status", "timing"])
def test_reports_run_on_an_empty_catalog(name):
    """Every report runs on the present schema."""
    with connection.memory() as catalog:
        migrations.migrate(catalog)
        apply_views(catalog)
        for query in queries.load_named("reports", name).values():
            values = dict.fromkeys(queries.parameters(query), 1)
            assert catalog.execute(query, values).fetchall() == []
