"""A survey of an older dbpipe: brought up to date whatever happens on the way."""

import fcntl
import shutil
import signal
from pathlib import Path

import pytest
import upgrades

import dbpipe
from dbpipe.cli.terminal.console import reading
from dbpipe.errors import CatalogError
from dbpipe.runner.order import BY_NAME
from dbpipe.survey import LOCK, Survey


class Interrupted(BaseException):
    """What stops an upgrade."""


def interrupt():
    raise Interrupted


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A survey of today, older than what is to come; do not change it."""
    root = tmp_path_factory.mktemp("old") / "survey"
    upgrades.make_survey(root)
    return root


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """A folder with the migrations of a later dbpipe."""
    folder = tmp_path_factory.mktemp("later") / "migrations"
    upgrades.make_migrations(folder, upgrades.FUTURE, *upgrades.LATER)
    return folder


@pytest.fixture
def in_future(later):
    """Let this test be of the later dbpipe."""
    with upgrades.using(later):
        yield


def ask_everything(survey):
    """Ask every table and view for a row; return the objects."""
    names = survey.sql(
        "SELECT DISTINCT schema_name, table_name FROM duckdb_columns() WHERE NOT internal AND table_name <> 'published'"
    ).fetchall()
    for schema, name in names:
        survey.sql(f'SELECT * FROM "{schema}"."{name}" LIMIT 1').fetchall()
    return survey.sql("SELECT dia_object_id, ra FROM dia_object ORDER BY ALL").fetchall()


def check_after_a_stop(root):
    """What is left of an upgrade can be read while somebody writes, and the next writer ends the upgrade."""
    objects = [(tile, float(tile)) for tile in upgrades.TILES]
    with open(root / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with dbpipe.open(root) as survey:
            assert ask_everything(survey) == objects
    with dbpipe.open(root) as survey:
        assert ask_everything(survey) == objects
    with Survey.open(root, read_only=False) as survey:
        assert ask_everything(survey) == objects
        assert survey.sql("SELECT ra, n_worthy FROM dia_object ORDER BY 1").fetchall() == [(7.0, 7), (11.0, 8)]
        assert survey.sql("SELECT color FROM band").fetchall() == [("none",)]
        assert survey.sql("SELECT count(worth) FROM dia_association").fetchall() == [(0,)]
    with dbpipe.open(root) as survey:
        assert survey.sql("SELECT count(*) FROM future").fetchall() == [(0,)]


@pytest.mark.parametrize("part", [0.0, 0.1, 0.25, 0.6, 1.0])
@pytest.mark.usefixtures("in_future")
def test_an_upgrade_that_is_stopped_is_ended_by_the_next(old, tmp_path, part):
    """At whatever statement an upgrade is stopped, readers have all they had, and the next writer does the rest."""
    root, whole = tmp_path / "survey", tmp_path / "whole"
    shutil.copytree(old, root)
    shutil.copytree(old, whole)
    n_statement = upgrades.open_counting(whole, None, interrupt)
    with pytest.raises(Interrupted):
        upgrades.open_counting(root, round(part * (n_statement - 1)), interrupt)
    check_after_a_stop(root)


@pytest.mark.slow
def test_an_upgrade_killed_at_any_statement_is_ended_by_the_next(old, later, tmp_path, in_future):
    """The same with SIGKILL, in a process of its own, at twenty statements from the first to the last."""
    whole = tmp_path / "whole"
    shutil.copytree(old, whole)
    n_statement = int(upgrades.upgrade(whole, later).stdout)
    for number in range(20):
        root = tmp_path / str(number)
        shutil.copytree(old, root)
        last = number * (n_statement - 1) // 19
        assert upgrades.upgrade(root, later, last).returncode == -signal.SIGKILL
        check_after_a_stop(root)


def test_a_survey_of_a_later_version_is_one_line(old, later, tmp_path):
    """An older dbpipe neither reads nor changes what a later one made, and says which it needs."""
    root = tmp_path / "survey"
    shutil.copytree(old, root)
    with upgrades.using(later):
        Survey.open(root, read_only=False).close()
    for read_only in (True, False):
        with pytest.raises(CatalogError, match="use a newer dbpipe") as caught:
            Survey.open(root, read_only=read_only)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("in_future")
def test_a_snapshot_of_an_older_version_says_why_it_lacks_something(old, tmp_path):
    """While somebody writes, what was published before the upgrade is asked; what it does not have yet is one line."""
    root = tmp_path / "survey"
    shutil.copytree(old, root)
    with open(root / LOCK, "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with (
            pytest.raises(CatalogError, match="color.*still as an older dbpipe left it") as caught,
            reading(root) as survey,
        ):
            survey.fetch("SELECT color FROM band")
        assert "\n" not in str(caught.value)


def test_the_version_is_that_of_the_changelog():
    """What `dbpipe --version` says is the newest heading of the changelog, and no older release has that number."""
    lines = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    newest, *older = [line.split()[1].strip("[]") for line in lines if line.startswith("## ")]
    assert newest == ("Unreleased" if "dev" in dbpipe.__version__ else dbpipe.__version__)
    assert dbpipe.__version__.partition(".dev")[0] not in older


def test_what_an_older_version_made_is_named(tmp_path):
    """Every stage says how many units an older version of it made, and nothing of its own."""
    names = [name for name in BY_NAME if name != "template"]
    with Survey.init(tmp_path / "survey") as survey:
        rows = ", ".join(
            f"('{name}', 'visit={k}', '', {BY_NAME[name].version - (k < 2)}, 1, 'done', '2026-01-01', 0, 0, 0)"
            for name in names
            for k in range(5)
        )
        columns = (
            "stage, unit_key, fingerprint, stage_version, run_id, status, finished_at, wall_s, cpu_s, peak_rss_mib"
        )
        survey.connection.execute(f"INSERT INTO unit ({columns}) VALUES {rows}")
        found = survey.find_outdated()
    assert [outdated.stage for outdated in found] == names
    assert {(outdated.n_unit, outdated.version - outdated.made_by) for outdated in found} == {(2, 1)}
