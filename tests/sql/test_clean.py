"""What is clean is one thing, wherever it is asked."""

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from dbpipe.catalog.sql.queries import directory, load
from dbpipe.stages.shared.columns import BESIDE_STAR_SCORE, SPOILING, is_clean

FLAGS = (*SPOILING, "dipole", "fit_failed", "shape", "near_saturated", "bright_star", "template_rejected", "trail")
SCORES = (-30.0, -BESIDE_STAR_SCORE, np.nextafter(-BESIDE_STAR_SCORE, 0), 4.5, BESIDE_STAR_SCORE, 50.0)


def every_combination():
    """Columns of a source for every combination of flags, primary or not, and scores around the limit."""
    n_bit = len(FLAGS) + 1
    number = np.arange(2**n_bit * len(SCORES))
    bits = {name: (number >> k) & 1 == 1 for k, name in enumerate(("is_primary", *(f"flag_{name}" for name in FLAGS)))}
    return bits | {"score": np.array(SCORES)[number >> n_bit]}


def test_injection_calls_clean_what_the_view_has():
    """Whatever flags and score a source has, dbpipe inject and the view dia_source_clean say the same of it."""
    columns = every_combination()
    n_source = len(columns["score"])
    same = {"x_err": np.full(n_source, 0.1), "psf_flux_njy": np.ones(n_source), "snr": np.full(n_source, 5.0)}
    with duckdb.connect() as connection:
        connection.register("made", pa.table({"n": np.arange(n_source), **same, **columns}))
        connection.execute("CREATE TABLE dia_source AS FROM made")
        for place in ("macros/clean", "views/dia_source_clean"):
            connection.execute((directory("sql") / f"{place}.sql").read_text())
        in_view = connection.execute("SELECT n FROM dia_source_clean ORDER BY n").fetchnumpy()["n"]
    assert np.array_equal(in_view, np.flatnonzero(is_clean(columns)))
    assert 0 < len(in_view) < n_source


def test_a_recovered_source_that_is_not_clean_is_noticed():
    """`dbpipe check` finds an injected source that is called recovered by another rule, and none of `dbpipe inject`."""
    columns = {name: values[::97] for name, values in every_combination().items()}
    flags = [name for name in columns if name.startswith("flag_")]
    rows = zip(*(columns[name] for name in flags), strict=True)
    made = {
        "number": np.arange(len(columns["score"])),
        "is_detected": columns["is_primary"],
        "is_recovered": is_clean(columns),
        "score": columns["score"],
        "flags": [" ".join(name for name, is_set in zip(flags, row, strict=True) if is_set) for row in rows],
    }
    rule = load(directory("sql") / "checks" / "injection.sql")["recovered_is_clean"]
    with duckdb.connect() as connection:
        connection.register("made", pa.table(made))
        connection.execute("CREATE TABLE injected_source AS SELECT 1 AS visit, 2 AS detector, * FROM made")
        connection.execute((directory("sql") / "macros" / "clean.sql").read_text())
        connection.execute("INSERT INTO injected_source VALUES (1, 2, -1, false, false, NULL, NULL)")
        assert connection.execute(rule).fetchall() == []
        connection.execute("UPDATE injected_source SET is_recovered = NOT is_recovered WHERE number IN (-1, 7)")
        assert sorted(connection.execute(rule).fetchall()) == [(1, 2, -1), (1, 2, 7)]


def test_the_list_of_flags_stands_once():
    """Nothing but the macro lists the flags that spoil, and Python has the same list."""
    folder = directory("sql")
    for path in folder.glob("*/*.sql"):
        text = path.read_text()
        assert "NOT flag_cosmic_ray" not in text and "OR flag_cosmic_ray" not in text, path.name
    macro = f"is_spoiled({', '.join(SPOILING)}) AS\n    {' OR '.join(SPOILING)};"
    assert macro in (folder / "macros" / "clean.sql").read_text()


@pytest.mark.parametrize("primary_score", [3.0, 5.0, 5.5, 20.0])
def test_primary_is_judged_by_the_setting_in_force(primary_score):
    """Whatever primary_score an image was measured with, a source that follows it breaks no rule, any other does."""
    connection = duckdb.connect()
    connection.execute("CREATE TABLE run (run_id INTEGER, settings JSON)")
    connection.execute("INSERT INTO run VALUES (7, ?)", [f'{{"detect": {{"primary_score": {primary_score}}}}}'])
    connection.execute((directory("sql") / "macros" / "unit.sql").read_text())
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
