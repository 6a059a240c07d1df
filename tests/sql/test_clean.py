"""What is clean is one thing, wherever it is asked."""

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbpipe.catalog.sql.queries import directory, load
from dbpipe.stages.shared.columns import SPOILING, is_clean

FLAGS = (*SPOILING, "dipole", "fit_failed", "shape", "near_saturated", "bright_star", "template_rejected", "trail")
ROW = st.tuples(
    st.booleans(), st.sampled_from([-30.0, -10.0, -9.9, 4.5, 9.99, 10.0, 50.0]), st.sets(st.sampled_from(FLAGS))
)


@pytest.fixture(scope="module")
def database():
    """The view over a table with the columns that it asks for."""
    connection = duckdb.connect()
    flags = ", ".join(f"flag_{name} BOOLEAN" for name in FLAGS)
    connection.execute(
        "CREATE TABLE dia_source (n INTEGER, is_primary BOOLEAN, score DOUBLE, x_err DOUBLE, psf_flux_njy DOUBLE, "
        f"snr DOUBLE, {flags})"
    )
    for name in ("is_spoiled", "dia_source_clean"):
        connection.execute((directory("sql") / "views" / f"{name}.sql").read_text())
    yield connection
    connection.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=40))
def test_injection_calls_clean_what_the_view_has(database, rows):
    """Whatever flags and score a source has, dbpipe inject and the view dia_source_clean say the same of it."""
    columns = {"is_primary": np.array([row[0] for row in rows]), "score": np.array([row[1] for row in rows])}
    columns |= {f"flag_{name}": np.array([name in row[2] for row in rows]) for name in FLAGS}
    database.execute("DELETE FROM dia_source")
    names = ["is_primary", "score", *(f"flag_{name}" for name in FLAGS)]
    database.executemany(
        f"INSERT INTO dia_source (n, x_err, psf_flux_njy, snr, {', '.join(names)}) "
        f"VALUES (?, 0.1, 1, 5, {', '.join('?' * len(names))})",
        [[k, *(columns[name][k].item() for name in names)] for k in range(len(rows))],
    )
    in_view = {n for (n,) in database.execute("SELECT n FROM dia_source_clean").fetchall()}
    assert in_view == set(np.flatnonzero(is_clean(columns)).tolist())


def test_the_list_of_flags_stands_once():
    """No view but is_spoiled lists the flags by itself: all that is clean is said with it."""
    for path in (directory("sql") / "views").glob("*.sql"):
        text = path.read_text()
        assert "NOT flag_cosmic_ray" not in text and "OR flag_cosmic_ray" not in text, path.name
    macro = (directory("sql") / "views" / "is_spoiled.sql").read_text()
    assert f"({', '.join(('edge', 'saturated', 'bad', 'cosmic_ray', 'streak', 'no_template'))})" in macro
    assert set(SPOILING) == {"edge", "saturated", "bad", "cosmic_ray", "streak", "no_template"}


@pytest.mark.parametrize("primary_score", [3.0, 5.0, 5.5, 20.0])
def test_primary_is_judged_by_the_setting_in_force(primary_score):
    """Whatever primary_score an image was measured with, a source that follows it breaks no rule, any other does."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE run (run_id INTEGER, settings JSON)")
    connection.execute("INSERT INTO run VALUES (7, ?)", [f'{{"detect": {{"primary_score": {primary_score}}}}}'])
    connection.execute("CREATE TABLE unit AS SELECT 'detect' AS stage, 'visit=1,detector=2' AS unit_key, 7 AS run_id")
    connection.execute("CREATE TABLE diffim AS SELECT 1 AS visit, 2 AS detector")
    connection.execute(
        "CREATE TABLE dia_source AS SELECT i AS dia_source_id, 1 AS visit, 2 AS detector, i / 2.0 - 30 AS score, "
        f"abs(score) >= {primary_score} AS is_primary FROM range(120) AS n(i)"
    )
    rule = load(directory("sql") / "checks" / "difference.sql")["primary_by_its_setting"]
    assert connection.execute(rule).fetchall() == []
    connection.execute("UPDATE dia_source SET is_primary = NOT is_primary WHERE dia_source_id = 3")
    assert [row[0] for row in connection.execute(rule).fetchall()] == [3]
