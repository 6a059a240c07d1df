"""Data-quality checks: rules, warnings, and a user's own."""

import pytest

from dbpipe.catalog import checks, migrations
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views
from dbpipe.errors import ConfigError


@pytest.fixture
def catalog():
    """An empty catalog with its views."""
    with connection.memory() as empty:
        migrations.migrate(empty)
        apply_views(empty)
        yield empty


@pytest.fixture
def folder(tmp_path):
    """A folder for a user's checks."""
    path = tmp_path / "checks"
    path.mkdir()
    return path


def ask(catalog, folder):
    """Rules and warnings of the user, by name, that found something."""
    found = checks.run_checks(catalog, folder, folder=folder), checks.run_warnings(catalog, folder=folder)
    return [{finding.name: finding for finding in part if finding.n_row} for part in found]


def test_a_rule_and_a_warning_are_told_apart(catalog, folder):
    """A line "-- warning" makes a check one of quality; the comment says what should be true, the rows what is not."""
    (folder / "mine.sql").write_text(
        "-- name: one\n-- One is two.\nSELECT 1 AS a, 2 AS b\n\n"
        "-- name: two\n-- warning\n-- Nothing is seven.\nSELECT 7 AS n UNION ALL SELECT 7;\n"
        "-- name: three\nSELECT 1 WHERE false\n"
    )
    rules, warnings = ask(catalog, folder)
    assert list(rules) == ["checks/mine.sql: one"] and list(warnings) == ["checks/mine.sql: two"]
    assert rules["checks/mine.sql: one"].example == "a = 1, b = 2" and warnings["checks/mine.sql: two"].n_row == 2
    assert [f.rule for f in (*rules.values(), *warnings.values())] == ["One is two.", "Nothing is seven."]


def test_a_file_without_names_is_one_check(catalog, folder):
    """A bare SELECT is a check named like its file."""
    (folder / "bare.sql").write_text("SELECT 1 AS a;\n")
    assert list(ask(catalog, folder)[0]) == ["checks/bare.sql: bare"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("SELEKT 1", "SELEKT"),
        ("SELECT visit FROM calexps", "calexps"),
        ("SELECT nonsense FROM calexp", "nonsense"),
        ("DELETE FROM calexp", "not one SELECT"),
        ("SELECT 1; SELECT 2", "not one SELECT"),
        ("", "not one SELECT"),
        ("SELECT 'a'::INTEGER", "INT32"),
    ],
)
def test_a_check_that_cannot_be_asked_says_why(catalog, folder, text, why):
    """Wrong SQL is named with the file and DuckDB's words, changes nothing, and the other checks go on."""
    (folder / "a.sql").write_text(text)
    (folder / "b.sql").write_text("SELECT 1 AS a")
    rules, _ = ask(catalog, folder)
    assert set(rules) == {"checks/a.sql: a", "checks/b.sql: b"}
    assert why in rules["checks/a.sql: a"].error and not rules["checks/b.sql: b"].error


def test_a_file_that_gives_a_name_twice_is_refused(catalog, folder):
    """The message names the file."""
    (folder / "a.sql").write_text("-- name: x\nSELECT 1\n-- name: x\nSELECT 2\n")
    with pytest.raises(ConfigError, match=r"a\.sql cannot be read: .*one query name twice: x, x"):
        ask(catalog, folder)


def test_the_example_is_a_check_that_runs(catalog, folder):
    """What is written as an example is a warning that an empty catalog does not raise; it is not overwritten."""
    path = checks.write_example(folder / "deeper", "my_check")
    assert path.read_text().startswith("-- name: my_check\n")
    (finding,) = (f for f in checks.run_warnings(catalog, folder=folder / "deeper") if "my_check" in f.name)
    assert (finding.n_row, finding.error) == (0, "") and finding.rule.startswith("Say here")
    with pytest.raises(ConfigError, match="is there already"):
        checks.write_example(folder / "deeper", "my_check")
    with pytest.raises(ConfigError, match="not 'a/b'"):
        checks.write_example(folder, "a/b")


def test_no_folder_is_no_check(catalog, tmp_path):
    """A survey without checks of its own has those of dbpipe."""
    assert len(checks.run_warnings(catalog, folder=tmp_path / "none")) == len(checks.run_warnings(catalog)) > 0
