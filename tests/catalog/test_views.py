"""Views and macros: made in the order in which they need each other, all or none."""

import duckdb
import pytest

from dbpipe.catalog import migrations, views
from dbpipe.catalog.store import connection

MADE_UP = {
    "macros/a": "-- after rows_of_c()\nCREATE OR REPLACE MACRO half_of(x) AS x / 2;",
    "macros/b": "CREATE OR REPLACE MACRO rows_of_c() AS TABLE SELECT * FROM c;",
    "views/c": "CREATE OR REPLACE VIEW c AS SELECT half_of(number) AS half, 'd' AS text FROM d;",
    "views/d": "CREATE OR REPLACE VIEW d AS SELECT 3 AS number, 4 AS half_of;",
}


@pytest.fixture
def catalog():
    """An empty catalog with the schema."""
    with connection.memory() as empty:
        migrations.migrate(empty)
        yield empty


def names(catalog):
    return {name for (name,) in catalog.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}


def test_what_is_mentioned_is_made_before(monkeypatch):
    """A view may use macros and views, and a macro views; words in comments and texts, and columns, do not count."""
    monkeypatch.setattr(views, "_texts", lambda: MADE_UP)
    order = list(views.in_order())
    for earlier, later in (("views/d", "views/c"), ("macros/a", "views/c"), ("views/c", "macros/b")):
        assert order.index(earlier) < order.index(later)
    with duckdb.connect() as database:
        for text in views.in_order().values():
            database.execute(text)
        assert database.execute("SELECT half FROM rows_of_c()").fetchall() == [(1.5,)]


def test_views_are_current_until_a_text_changes(catalog, monkeypatch):
    """A catalog knows which texts its views and macros are of; made again, they are what they were."""
    assert not views.has_current_views(catalog)
    for _ in range(2):
        views.apply_views(catalog)
        assert views.has_current_views(catalog)
    monkeypatch.setattr(views, "_texts", lambda: MADE_UP)
    assert not views.has_current_views(catalog)


def test_views_are_made_all_or_none(catalog, monkeypatch):
    """One that cannot be made leaves the catalog as it was."""
    views.apply_views(catalog)
    before = names(catalog)
    monkeypatch.setattr(views, "_texts", lambda: MADE_UP | {"views/e": "CREATE OR REPLACE VIEW e AS FROM c, nowhere;"})
    with pytest.raises(duckdb.CatalogException, match="nowhere"):
        views.apply_views(catalog)
    assert names(catalog) == before
