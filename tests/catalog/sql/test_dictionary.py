"""Units of answers: those of the column that an answer passes on untouched, and no others."""

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbpipe.catalog.sql.dictionary import column_metadata, query_metadata
from dbpipe.errors import ConfigError

TABLES = {"t": ("k", "ra", "flux"), "u": ("k", "ra", "mag"), "w": ("k", "mag", "flux")}


@pytest.fixture(scope="module")
def database():
    """Tables in which no two columns share a value but the key, whose unit is the name of the column."""
    with duckdb.connect() as connection:
        value = 100
        for number, (table, columns) in enumerate(TABLES.items()):
            connection.execute(f"CREATE TABLE {table} ({', '.join(f'{name} BIGINT' for name in columns)})")
            for key in (1, 2 + number):
                row = [key, *range(value, value + len(columns) - 1)]
                value += len(columns)
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join(map(str, row))})")
            for name in columns:
                connection.execute(f"COMMENT ON COLUMN {table}.{name} IS '[{table}.{name}] its meaning'")
        connection.execute("CREATE VIEW renamed (key, ra, x) AS SELECT k, flux AS f, ra + 1 FROM t")
        connection.execute(
            "CREATE VIEW on_view AS SELECT key, r.ra AS flux, x, u.* FROM renamed AS r JOIN u ON r.key = u.k"
        )
        connection.execute("CREATE VIEW said AS SELECT ra / 2 AS half FROM t")
        connection.execute("COMMENT ON COLUMN said.half IS '[half] said of the view'")
        connection.execute(
            "CREATE MACRO near(ra, n := 1) AS TABLE "
            "WITH near AS (SELECT * FROM t) SELECT k, ra AS ra, near.flux, n FROM near"
        )
        connection.execute("CREATE MACRO twice(n) AS TABLE SELECT * FROM near(n), u")
        yield connection


def units(database, query, parameters=None):
    """Return the list of (column, unit) of an answer."""
    names = database.sql(query, params=parameters).columns
    found = query_metadata(database, query, names)
    return [(name, found[name].get("unit")) for name in names]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT ra AS x, flux/1000 AS flux FROM t", ["t.ra", None]),
        ("SELECT t.ra, U.RA, (ra), ra::DOUBLE AS k FROM t JOIN u USING (k)", None),
        ("SELECT k, t.ra AS a, U.RA AS b, (flux), flux::DOUBLE AS f FROM t JOIN u USING (k)",
         ["t.k", "t.ra", "u.ra", "t.flux", None]),
        ("SELECT * FROM t JOIN u USING (k) JOIN w USING (k)", ["t.k"] + [None] * 6),
        ("SELECT * EXCLUDE (ra) REPLACE (ra AS flux) FROM t", ["t.k", "t.ra"]),
        ("SELECT * REPLACE (flux / 2 AS flux) RENAME (ra AS flux_2) FROM t", None),
        ("SELECT * REPLACE (flux / 2 AS flux) FROM t", ["t.k", "t.ra", None]),
        ("SELECT * RENAME (ra AS flux2) FROM t", ["t.k", "t.ra", "t.flux"]),
        ("SELECT COLUMNS(*) FROM t", ["t.k", "t.ra", "t.flux"]),
        ("SELECT max(COLUMNS(*)) FROM t", [None, None, None]),
        ("SELECT COLUMNS('r.*') FROM t", [None]),
        ("SELECT ra FROM t UNION ALL SELECT flux FROM t", [None]),
        ("SELECT ra FROM t UNION ALL SELECT ra FROM t WHERE k = 1", ["t.ra"]),
        ("SELECT ra, flux FROM t UNION ALL BY NAME SELECT flux FROM t", ["t.ra", "t.flux"]),
        ("SELECT ra FROM t EXCEPT SELECT ra FROM u", ["t.ra"]),
        ("WITH t AS (SELECT mag AS ra FROM u) SELECT ra FROM t", ["u.mag"]),
        ("WITH a(x, y) AS (SELECT ra, flux FROM t) SELECT y, x FROM a", ["t.flux", "t.ra"]),
        ("WITH RECURSIVE a(ra) AS (SELECT ra FROM t UNION ALL SELECT ra + 1 FROM a) SELECT ra FROM a LIMIT 9", [None]),
        ("SELECT a.ra FROM (SELECT flux AS ra FROM t) AS a, u", ["t.flux"]),
        ("SELECT key, ra, x FROM renamed", ["t.k", "t.flux", None]),
        ("FROM on_view", ["t.k", "t.flux", None, "u.k", "u.ra", "u.mag"]),
        ("SELECT half FROM said", ["half"]),
        ("SELECT * FROM near(3)", ["t.k", None, "t.flux", None]),
        ("SELECT s.flux, mag FROM twice(3) AS s", ["t.flux", "u.mag"]),
        ("SELECT ra, range FROM t, range(3)", ["t.ra", None]),
        ("SELECT min(ra) AS ra, any_value(flux) AS flux, count(*) AS k FROM t", [None, None, None]),
        ("SELECT ra, sum(flux) OVER () AS flux FROM t", ["t.ra", None]),
        ("SELECT unnest({'ra': 1, 'flux': 2}), k FROM t", [None, None, None]),
        ("SELECT (SELECT ra FROM t LIMIT 1) AS ra", [None]),
        ("PIVOT t ON k USING sum(ra)", [None] * 3),
        ("SELECT flux AS ra, ra AS y FROM t", ["t.flux", "t.ra"]),
        ("SELECT ra FROM t WHERE k = $k", ["t.ra"]),
        ("SELECT 't.ra' AS ra -- FROM t", [None]),
        ("DESCRIBE t", [None] * 6),
    ],
)  # fmt: skip
def test_units_follow_the_bare_column(database, query, expected):
    """Renamed, passed through queries, views and macros a column keeps its unit; what is computed has none."""
    parameters = {"k": 1} if "$k" in query else None
    try:
        found = units(database, query, parameters)
    except duckdb.Error:
        if expected is not None:
            raise
        return
    if expected is not None:
        assert [unit for _, unit in found] == expected


def expressions(columns):
    """An entry of a SELECT list over some columns, and its name."""
    name = st.sampled_from(columns)
    names = st.sampled_from(["k", "ra", "flux", "mag", "x"])
    return st.one_of(
        st.just("*"),
        name,
        st.builds("{} AS {}".format, name, names),
        st.builds("{} + 1000 AS {}".format, name, names),
        st.builds("* EXCLUDE ({})".format, name),
        st.builds("* REPLACE ({} + 1000 AS {})".format, name, name),
        st.builds("* RENAME ({} AS {})".format, name, names),
        st.builds("coalesce({}, {}) AS {}".format, name, name, names),
        st.just("COLUMNS(*)"),
    )


COLUMNS = ("k", "ra", "flux", "mag", "x", "ra_1", "key")
JOINS = ("JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN")
FROM = st.recursive(
    st.sampled_from(["t", "u", "w", "renamed", "on_view", "near(3)", "twice(2)"]),
    lambda inner: st.one_of(
        st.builds("(SELECT {} FROM {}) AS t".format, expressions(COLUMNS), inner),
        st.builds("(SELECT {}, {} FROM {}) AS u(a)".format, expressions(COLUMNS), expressions(COLUMNS), inner),
        st.builds("{} {} {} USING (k)".format, inner, st.sampled_from(JOINS), inner),
        st.builds("{} NATURAL JOIN {}".format, inner, inner),
        st.builds("{}, {}".format, inner, inner),
        st.builds("(SELECT {} FROM {} {} SELECT {} FROM {})".format, expressions(COLUMNS), inner,
                  st.sampled_from(["UNION", "UNION ALL BY NAME", "EXCEPT"]), expressions(COLUMNS), inner),
    ),
    max_leaves=4,
)  # fmt: skip
QUERIES = st.one_of(
    st.builds("SELECT {} FROM {}".format, expressions(COLUMNS), FROM),
    st.builds("SELECT {}, {} FROM {}".format, expressions(COLUMNS), expressions(COLUMNS), FROM),
    st.builds(
        "WITH u AS (SELECT {} FROM {}) SELECT {} FROM u".format, expressions(COLUMNS), FROM, expressions(COLUMNS)
    ),
)


@settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck), derandomize=True)
@given(query=QUERIES)
def test_a_unit_is_never_that_of_another_column(database, query):
    """Whatever the query, a column with a unit holds values of the column that the unit belongs to, and no others."""
    try:
        relation = database.sql(f"FROM ({query}) LIMIT 40")
        names = database.sql(query).columns
        rows = relation.fetchall()
    except duckdb.Error:
        return
    found = query_metadata(database, query, names)
    for k, name in enumerate(names):
        unit = found[name].get("unit")
        if unit is not None and names.count(name) == 1:
            column, table = unit.split(".")[1], unit.split(".")[0]
            allowed = {value for (value,) in database.execute(f"SELECT {column} FROM {table}").fetchall()} | {None}
            assert {row[k] for row in rows} <= allowed, (query, name, unit)


def test_a_view_says_what_its_table_says(database):
    """Columns of a view have the comment of the view, else that of the column that they are."""
    assert [known.get("unit") for known in column_metadata(database, "ON_VIEW").values()] == [
        "t.k", "t.flux", None, "u.k", "u.ra", "u.mag",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no table or view 'nothing'"):
        column_metadata(database, "nothing")


def test_a_lent_table_has_no_units(database):
    """A table from outside says nothing of its columns, even if they have names of ours."""
    database.execute("CREATE TEMP TABLE mine AS SELECT 1.0 AS ra, 2 AS psf_flux_njy")
    assert query_metadata(database, "FROM mine", ["ra", "psf_flux_njy"]) == {"ra": {}, "psf_flux_njy": {}}
