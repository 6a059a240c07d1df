"""The runner: once, again, in parallel, crashed and resumed."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import toy_run
import toy_stages
from toy_stages import IMAGE, IMAGE_SQL, ToyConfig

from dbpipe.catalog import files, migrations
from dbpipe.catalog.store import connection
from dbpipe.catalog.work.offer import Options
from dbpipe.errors import CatalogError, ConfigError
from dbpipe.runner import pipeline

SHIFT = Options(parameters={"shift": 0.5})


def make_survey(root, values):
    """Make a survey with the toy's tables."""
    root.mkdir(parents=True)
    connection.create(root / "survey.duckdb")
    with connection.connect(root / "survey.duckdb") as catalog:
        migrations.migrate(catalog)
        catalog.execute(toy_stages.SCHEMA)
        catalog.executemany("INSERT INTO sky VALUES (?, ?)", list(enumerate(values)))
    return root


def change(root, statement):
    """Change the survey behind the runner's back."""
    with connection.connect(root / "survey.duckdb") as catalog:
        return catalog.execute(statement).fetchall()


def content(root):
    """Return everything that a run leaves behind, without times."""
    with connection.connect(root / "survey.duckdb") as catalog:
        tables = {
            name: catalog.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()
            for name in ("image", "star", "total", "seen", "file")
        }
        tables["unit"] = catalog.execute(
            "SELECT stage, unit_key, fingerprint, status, reason, numbers, n_pix FROM unit ORDER BY ALL"
        ).fetchall()
        assert files.find_missing(catalog, root, check_hash=True) == []
        orphans = files.find_orphans(catalog, root)
    return tables, orphans


def counts(summaries):
    """Return (units, done, skipped, failed, removed) of each stage."""
    return [(s.n_unit, s.n_done, s.n_skipped, s.n_failed, s.n_removed) for s in summaries]


def run_image(root, pool, *, statements=IMAGE_SQL, options=SHIFT, stage=IMAGE, config=None):
    """Run the first toy stage with a given pool."""
    with connection.connect(root / "survey.duckdb") as catalog:
        return pipeline.run_stage(
            catalog,
            stage,
            config or ToyConfig(),
            run_id=1,
            pool=pool,
            root=root,
            options=options,
            statements=statements,
        )


class InlinePool:
    """Runs the calls here and now: for tests that are not about processes."""

    def __init__(self, root):
        self._root = root

    def run_ordered(self, calls):
        """Yield (call, outcome)."""
        before = os.getcwd()
        for function, *arguments in calls:
            os.chdir(self._root)
            try:
                outcome = function(*arguments)
            except ZeroDivisionError as error:
                outcome = error
            finally:
                os.chdir(before)
            yield (function, *arguments), outcome


def test_second_run_has_nothing_to_do(tmp_path):
    """Every unit is done once, verdicts are on record with their numbers, and a second run has 0 units of work."""
    root = make_survey(tmp_path / "s", [1, 2, -1, -2, 5])
    assert counts(toy_run.run(root, 1, ToyConfig())) == [(5, 3, 1, 1, 0), (3, 3, 0, 0, 0)]
    before = content(root)
    assert counts(toy_run.run(root, 1, ToyConfig())) == [(0, 0, 0, 0, 0)] * 2
    tables, orphans = content(root)
    assert (tables, orphans) == before
    assert orphans == []
    assert [row[3:6] for row in tables["unit"][2:4]] == [
        ("failed", "value is negative", '{"value": -1.0, "worst": null}'),
        ("skipped", "nothing to see", '{"value": -2.0}'),
    ]
    assert [row[2] for row in tables["star"][:3]] == [3.5, None, 3.0]
    assert tables["seen"] == [(0,), (1,)]


def test_two_workers_give_the_rows_of_one(tmp_path):
    """The number of workers changes nothing in the catalog, not even the order of the rows."""
    values = list(range(12))
    one, two = (make_survey(tmp_path / name, values) for name in ("one", "two"))
    toy_run.run(one, 1, ToyConfig(delay_s=0.01))
    toy_run.run(two, 2, ToyConfig(delay_s=0.01))
    assert content(one) == content(two)
    order = "SELECT n, star FROM star"
    assert change(one, order) == change(two, order)


def test_one_changed_input_redoes_only_what_hangs_from_it(tmp_path):
    """A changed value redoes its unit and the one downstream; the old file is gone and the new one is named."""
    root = make_survey(tmp_path / "s", [1, 2, 3])
    with toy_run.WorkerPool(root, 1) as pool:
        run_image(root, pool)
        old = sorted(path.name for path in (root / "files" / "image").iterdir())
        change(root, "UPDATE sky SET value = 7 WHERE n = 1")
        assert run_image(root, pool).n_done == 1
    new = sorted(path.name for path in (root / "files" / "image").iterdir())
    assert len(new) == 3 and len(set(old) & set(new)) == 2
    assert content(root)[1] == []


def test_settings_and_stage_version_are_part_of_the_fingerprint(tmp_path):
    """A changed setting, or a new version of the code, redoes every unit."""
    root = make_survey(tmp_path / "s", [1, 2])
    pool = InlinePool(root)
    assert run_image(root, pool).n_done == 2
    assert run_image(root, pool, config=ToyConfig(scale=3.0)).n_done == 2
    assert run_image(root, pool, config=ToyConfig(scale=3.0), stage=replace(IMAGE, version=2)).n_done == 2
    assert run_image(root, pool, config=ToyConfig(scale=3.0), stage=replace(IMAGE, version=2)).n_unit == 0


def test_a_unit_that_is_no_longer_offered_goes_with_its_rows_and_files(tmp_path):
    """What the work query drops is taken back, unless the caller wants to keep it."""
    root = make_survey(tmp_path / "s", [1, 2, 3])
    pool = InlinePool(root)
    run_image(root, pool)
    change(root, "UPDATE sky SET value = NULL WHERE n = 2")
    assert run_image(root, pool, options=replace(SHIFT, remove_stale=False)).n_removed == 0
    assert run_image(root, pool).n_removed == 1
    tables, orphans = content(root)
    assert [row[0] for row in tables["image"]] == [0, 1] and len(tables["unit"]) == 2
    assert orphans == [] and len(list((root / "files" / "image").iterdir())) == 2


def test_a_done_unit_that_fails_later_loses_its_rows(tmp_path):
    """When an input turns bad, the verdict replaces the rows and the file."""
    root = make_survey(tmp_path / "s", [1, 2])
    pool = InlinePool(root)
    run_image(root, pool)
    change(root, "UPDATE sky SET value = -1 WHERE n = 0")
    assert run_image(root, pool).n_failed == 1
    tables, orphans = content(root)
    assert [row[0] for row in tables["star"]] == [1, 1, 1]
    assert len(tables["file"]) == 1 and orphans == []


def test_failures_are_retried_only_on_request(tmp_path):
    """An unchanged failure is a verdict, not work; --retry-failed tries again, and skipped units stay."""
    root = make_survey(tmp_path / "s", [-1, -2, 1])
    pool = InlinePool(root)
    assert run_image(root, pool).n_unit == 3
    assert run_image(root, pool).n_unit == 0
    assert run_image(root, pool, options=replace(SHIFT, retry_failed=True)).n_unit == 1


def fail_with(root, kind, *, n_attempt=1):
    """Turn the failure on record into one of another kind."""
    change(root, f"UPDATE unit_failure SET kind = '{kind}', n_attempt = {n_attempt}")


def test_what_was_not_the_units_fault_is_tried_again(tmp_path):
    """A passing fault by every run, a lost worker or a limit by three runs, a verdict on the data by none."""
    root = make_survey(tmp_path / "s", [-1, 1])
    pool = InlinePool(root)
    assert run_image(root, pool).kinds == {"data": 1}
    assert run_image(root, pool).n_unit == 0
    for kind, n_attempt, n_unit in (
        ("transient", 50, 1),
        ("died", 2, 1),
        ("died", 3, 0),
        ("time_limit", 1, 1),
        ("memory_limit", 3, 0),
        ("bug", 1, 0),
    ):
        fail_with(root, kind, n_attempt=n_attempt)
        assert run_image(root, pool).n_unit == n_unit, (kind, n_attempt)
        if n_unit:
            assert change(root, "SELECT kind, n_attempt FROM unit_failure") == [("data", n_attempt + 1)]


def test_attempts_are_counted_for_a_unit_as_it_is(tmp_path):
    """Changed input begins anew, and a unit that is done has no failure on record."""
    root = make_survey(tmp_path / "s", [-1])
    pool = InlinePool(root)
    again = replace(SHIFT, retry_failed=True)
    for n_attempt in (1, 2):
        run_image(root, pool, options=again)
        assert change(root, "SELECT n_attempt FROM unit_failure") == [(n_attempt,)]
    assert run_image(root, pool, config=ToyConfig(scale=3.0)).n_failed == 1
    assert change(root, "SELECT n_attempt FROM unit_failure") == [(1,)]
    change(root, "UPDATE sky SET value = 1")
    assert run_image(root, pool).n_done == 1
    assert change(root, "SELECT * FROM unit_failure") == []


def test_a_bug_is_tried_again_by_other_code(tmp_path):
    """An error that nobody foresaw may be gone with another version of dbpipe or of a library."""
    root = make_survey(tmp_path / "s", [-3])
    pool = InlinePool(root)
    change(root, "INSERT INTO run VALUES (1, now(), NULL, '', '{}', '{}')")
    assert run_image(root, pool).kinds == {"bug": 1}
    assert run_image(root, pool).n_unit == 0
    change(root, """INSERT INTO run VALUES (2, now(), NULL, '', '{"numpy": "9.9"}', '{}')""")
    assert run_image(root, pool).n_unit == 1


def test_values_that_no_table_takes_fail_their_unit_alone(tmp_path):
    """An infinite flux is a bug of its unit, recorded with what the database said; its file goes, the others stay."""
    root = make_survey(tmp_path / "s", [1, math.inf, 3])
    summary = run_image(root, InlinePool(root))
    assert (summary.n_done, summary.kinds) == (2, {"bug": 1})
    ((reason, text),) = change(root, "SELECT reason, traceback FROM unit JOIN unit_failure USING (stage, unit_key)")
    assert reason.startswith("ConstraintException: ") and "commit_unit" in text
    assert content(root)[1] == []


def test_inputs_that_cannot_be_had_fail_their_unit_alone(tmp_path):
    """A value that an input query cannot convert is the verdict of its unit; a query that is wrong stops the run."""
    root = make_survey(tmp_path / "s", [1, 2, 3])
    faulty = "SELECT n, CASE WHEN $n = 1 THEN CAST('a' || n AS INTEGER) END AS value FROM sky"
    summary = run_image(root, InlinePool(root), statements=IMAGE_SQL | {"neighbors": faulty})
    assert (summary.n_done, summary.kinds) == (2, {"bug": 1})
    assert change(root, "SELECT unit_key FROM unit_failure") == [("n=1",)]
    with pytest.raises(CatalogError, match="inputs of image n=1 cannot be read"):
        run_image(
            root,
            InlinePool(root),
            statements=IMAGE_SQL | {"neighbors": "SELECT nothing FROM sky"},
            options=replace(SHIFT, retry_failed=True),
        )


def test_where_limits_the_work_and_takes_nothing_back(tmp_path):
    """A condition chooses among the units due; units outside it, done before, stay."""
    root = make_survey(tmp_path / "s", [1, 2, 3])
    pool = InlinePool(root)
    assert run_image(root, pool, options=replace(SHIFT, where="n >= 1")).n_done == 2
    summary = run_image(root, pool, options=replace(SHIFT, where="n < 1"))
    assert (summary.n_done, summary.n_removed) == (1, 0)
    with pytest.raises(ConfigError, match="not one condition"):
        run_image(root, pool, options=replace(SHIFT, where="n >>> ("))


def test_a_refused_unit_leaves_no_rows_and_no_file(tmp_path):
    """The refuse query sees the new rows and turns the unit into a failure with its numbers."""
    root = make_survey(tmp_path / "s", [1, 2])
    refuse = "SELECT 'too bright' AS reason, json_object('level', level) AS numbers FROM new_image WHERE level > 5"
    assert run_image(root, InlinePool(root), statements=IMAGE_SQL | {"refuse": refuse}).n_failed == 1
    tables, orphans = content(root)
    assert [row[0] for row in tables["image"]] == [0] and orphans == []
    assert tables["unit"][1][3:6] == ("failed", "too bright", '{"level": 5.5}')


def test_a_bug_fails_its_unit_alone(tmp_path):
    """An error that nobody foresaw is the verdict of its unit, with its traceback; all others are done."""
    root = make_survey(tmp_path / "s", [1, -3, 3])
    summaries = toy_run.run(root, 2, ToyConfig())
    assert counts(summaries)[0] == (3, 2, 0, 1, 0) and summaries[0].kinds == {"bug": 1}
    assert change(root, "SELECT unit_key, reason FROM unit WHERE status = 'failed'") == [
        ("n=1", "ZeroDivisionError: a bug")
    ]
    ((kind, n_attempt, text),) = change(root, "SELECT kind, n_attempt, traceback FROM unit_failure")
    assert (kind, n_attempt) == ("bug", 1) and "in make_image" in text and str(Path.home()) not in text


def test_a_done_unit_that_cannot_be_done_again_now_keeps_what_it_left(tmp_path):
    """Its rows and files stay, and it is due in every run until it can be done: nothing is lost to an absent disk."""
    root = make_survey(tmp_path / "s", [1, 2])
    run_image(root, InlinePool(root))
    before, _ = content(root)
    change(root, "UPDATE sky SET value = -5 WHERE n = 1")
    for _ in range(2):
        summary = run_image(root, InlinePool(root))
        assert (summary.n_unit, summary.n_failed, summary.kinds) == (1, 1, {"transient": 1})
        assert {table: content(root)[0][table] for table in ("image", "star")} == {
            table: before[table] for table in ("image", "star")
        }
    change(root, "UPDATE sky SET value = 7 WHERE n = 1")
    assert run_image(root, InlinePool(root)).n_done == 1


def test_a_crash_fails_its_unit_alone(tmp_path):
    """A unit that crashes its worker twice is recorded; all others are done."""
    root = make_survey(tmp_path / "s", [1, 2, -4, 4, 5])
    assert counts(toy_run.run(root, 2, ToyConfig()))[0] == (5, 4, 0, 1, 0)
    assert change(root, "SELECT unit_key, reason, numbers FROM unit WHERE status = 'failed'") == [
        ("n=2", "worker died", '{"signal": "SIGABRT", "n_death": 2}')
    ]


def test_a_key_given_twice_is_refused(tmp_path):
    """A work query that names a unit twice is a broken contract."""
    root = make_survey(tmp_path / "s", [1])
    change(root, "INSERT INTO sky VALUES (0, 3)")
    with pytest.raises(CatalogError, match="gives n=0 more than once"):
        run_image(root, InlinePool(root))


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("ALTER TABLE star RENAME COLUMN flux TO fluxx", "no column flux; did you mean fluxx"),
        ("ALTER TABLE image ALTER COLUMN level TYPE INTEGER", "INTEGER but comes as double"),
        ("ALTER TABLE image DROP COLUMN n", "table image has no column n"),
    ],
)
def test_rows_that_do_not_fit_stop_the_run(tmp_path, statement, message):
    """A wrong column name, or an integer that comes as a float, is named; nothing of the unit is kept."""
    root = make_survey(tmp_path / "s", [1])
    change(root, statement)
    with pytest.raises(CatalogError, match=message):
        run_image(root, InlinePool(root))
    assert change(root, "SELECT count(*) FROM unit") == [(0,)]


def test_a_killed_run_resumes(tmp_path):
    """Killed again and again at random moments, a run ends with the catalog of one that was left in peace."""
    values = [1, 2, -1, 4, 5, -2, 7, 8]
    peaceful = make_survey(tmp_path / "peaceful", values)
    toy_run.run(peaceful, 1, ToyConfig(delay_s=0.05))
    root = make_survey(tmp_path / "killed", values)
    script = [sys.executable, str(Path(toy_run.__file__)), str(root), "2", "0.05"]
    moments = random.Random(1)
    for n_file in (1, 4):
        process = subprocess.Popen(script, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
        while process.poll() is None and len(list(root.glob("files/image/image*"))) < n_file:
            time.sleep(0.005)
        time.sleep(moments.uniform(0.0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    toy_run.run(root, 2, ToyConfig(delay_s=0.05))
    tables, orphans = content(root)
    assert tables == content(peaceful)[0]
    files.delete(root, orphans)
    assert toy_run.run(root, 1, ToyConfig(delay_s=0.05))[0].n_unit == 0
