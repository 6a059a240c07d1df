"""A survey that somebody else hands over: whatever is in its folder, nothing outside is touched or read."""

import shutil
import sys

import pytest

import dbpipe
from dbpipe import cli
from dbpipe.catalog.store import connection
from dbpipe.errors import DbpipeError
from dbpipe.survey import CATALOG, LOCK, SNAPSHOT, Survey

CANARY = "the secret of somebody else"


@pytest.fixture(scope="module")
def survey_as_made(tmp_path_factory):
    """An empty survey, to be copied and spoiled."""
    root = tmp_path_factory.mktemp("made") / "s"
    Survey.init(root).close()
    return root


@pytest.fixture
def root(survey_as_made, tmp_path):
    """A copy of it, with a file of somebody else beside."""
    (tmp_path / "victim.txt").write_text(CANARY)
    shutil.copytree(survey_as_made, tmp_path / "s")
    return tmp_path / "s"


def commands(monkeypatch, capsys, root, *, names=("sql", "status", "check", "run", "gc")):
    """Run what anybody would run first; returns what was printed. Every failure is one line."""
    printed = []
    for name in names:
        more = ["SELECT * FROM visit_quality"] if name == "sql" else []
        monkeypatch.setattr(sys, "argv", ["dbpipe", name, str(root), *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert ended.value.code in (0, 1, 75, None) and "Traceback" not in err and err.count("\n") <= 1, err
        printed.append(out + err)
    return printed


@pytest.mark.parametrize("place", [CATALOG, SNAPSHOT])
@pytest.mark.parametrize(
    "statement",
    [
        "CREATE OR REPLACE VIEW visit_quality AS SELECT * FROM read_text('{victim}')",
        "CREATE OR REPLACE VIEW visit_quality AS SELECT * FROM read_csv('{victim}', auto_detect = false, "
        "columns = {{'a': 'VARCHAR'}})",
        "CREATE OR REPLACE MACRO ab_mag(x) AS (SELECT content FROM read_text('{victim}'))",
        "CREATE OR REPLACE MACRO count_star() AS (SELECT content FROM read_text('{victim}'))",
        "CREATE TABLE published (as_of VARCHAR); INSERT INTO published VALUES ('x')",
        "DROP TABLE IF EXISTS published",
        "CREATE OR REPLACE TABLE published AS SELECT NULL AS as_of, 'x' AS catalog_size_byte, 1.5 AS catalog_mtime_ns",
        'CREATE TABLE association."source_1/../../../../evil" AS SELECT 1 AS hpx29',
        """CREATE TABLE "x"" LIMIT 0; COPY (SELECT 'evil') TO 'survey.toml'; --" AS SELECT 1 AS a""",
        "CREATE TABLE association.source_x AS SELECT 1 AS hpx29",
        "DROP TABLE file; CREATE TABLE file AS SELECT 1 AS path, 2 AS sha256, 'x' AS size_byte",
        "DROP TABLE unit",
        "ALTER TABLE schema_migration ALTER version TYPE VARCHAR; UPDATE schema_migration SET version = 'x'",
        "DELETE FROM schema_migration",
    ],
)
def test_a_catalog_made_to_harm(root, monkeypatch, capsys, place, statement):
    """Views, macros, labels and tables of any kind: answered or refused in one line, nothing outside is read."""
    victim = root.parent / "victim.txt"
    with connection.connect(root / place) as catalog:
        try:
            catalog.execute(statement.format(victim=victim))
        except connection.duckdb.Error as error:
            pytest.skip(f"DuckDB itself does not let it: {connection.first_line(error)}")
    printed = commands(monkeypatch, capsys, root)
    assert not any(CANARY in text for text in printed)
    assert victim.read_text() == CANARY and sorted(p.name for p in root.parent.iterdir()) == ["s", "victim.txt"]


def test_the_name_of_a_table_is_no_statement(root, monkeypatch):
    """Publishing copies tables of any name, and does nothing that a name says."""
    monkeypatch.chdir(root)
    name = f"x\" LIMIT 0; COPY (SELECT 1) TO '{root / 'evil.csv'}'; --"
    with connection.connect(root / CATALOG) as catalog:
        catalog.execute(f"CREATE TABLE {connection.quote_name(name)} AS SELECT 1 AS a")
    Survey.open(root, read_only=False).close()
    assert not (root / "evil.csv").exists()
    with dbpipe.open(root) as survey:
        assert survey.count(name) == 1


@pytest.mark.parametrize("stage", ["calibrate", "warp", "detect", "forced"])
@pytest.mark.parametrize(
    "unit_key", ["", "visit=1", "visit=x,detector=0", "a,b,c,d,e", "detector=0,visit=1", "visit=99e99"]
)
def test_a_unit_of_any_name_is_none(root, monkeypatch, capsys, stage, unit_key):
    """What is on record under a name that no unit has is refused in one line, as far as a run comes."""
    with connection.connect(root / CATALOG) as catalog:
        catalog.execute(
            "INSERT INTO unit BY NAME SELECT $stage AS stage, $unit_key AS unit_key, 'x' AS fingerprint, "
            "'done' AS status, 1 AS stage_version, 0 AS run_id, 0 AS wall_s, 0 AS cpu_s, 0 AS peak_rss_mib, "
            "now()::TIMESTAMP AS finished_at",
            {"stage": stage, "unit_key": unit_key},
        )
    commands(monkeypatch, capsys, root)


def test_garbage_is_not_known_where_a_table_says_anything(root):
    """Nothing is deleted from a survey whose catalog names files that cannot be its own."""
    product = root / "files" / "calexp" / "calexp-2-0-0123abcd.fits"
    product.parent.mkdir(parents=True)
    product.write_text("an image")
    with connection.connect(root / CATALOG) as catalog:
        catalog.execute(
            "INSERT INTO file VALUES ('../victim.txt', 'calexp', 'calibrate', 'visit=1', repeat('0', 64), 1)"
        )
    with Survey.open(root, read_only=False) as survey, pytest.raises(DbpipeError, match="cannot be"):
        survey.delete_garbage()
    assert product.exists()


@pytest.mark.parametrize("name", [CATALOG, f"{CATALOG}.wal", LOCK, "dbpipe.log", SNAPSHOT])
def test_a_file_of_a_survey_is_not_a_link(root, monkeypatch, capsys, name):
    """What dbpipe would write through a symbolic link is refused, or put in the place of the link."""
    victim, path = root.parent / "victim.txt", root / name
    if path.exists():
        shutil.copyfile(path, victim)
        path.unlink()
    before = victim.read_bytes()
    path.symlink_to(victim)
    commands(monkeypatch, capsys, root)
    assert victim.read_bytes() == before


def test_a_folder_of_a_survey_is_not_a_link(root, monkeypatch, capsys):
    """The snapshot is not written into a folder elsewhere."""
    elsewhere = root.parent / "elsewhere"
    shutil.move(root / "published", elsewhere)
    (root / "published").symlink_to(elsewhere)
    before = {path: path.read_bytes() for path in elsewhere.iterdir()}
    with connection.connect(root / CATALOG) as catalog:
        catalog.execute("INSERT INTO band VALUES ('x')")
    commands(monkeypatch, capsys, root)
    assert {path: path.read_bytes() for path in elsewhere.iterdir()} == before


def test_checks_and_settings_that_come_along_only_ask(root, monkeypatch, capsys):
    """Its checks and the SELECT of its template are questions like any other; a pipe is not waited for."""
    victim = root.parent / "victim.txt"
    (root / "checks").mkdir()
    texts = (f"FROM read_text('{victim}')", f"COPY band TO '{victim}'", "DELETE FROM band", f"FROM '{victim}'")
    for k, text in enumerate(texts):
        (root / "checks" / f"{k}.sql").write_text(text)
    (root / "survey.toml").write_text(f"[template]\nchoose = 'sql'\nsql = \"COPY band TO '{victim}'\"\n")
    (printed,) = commands(monkeypatch, capsys, root, names=("check",))
    assert printed.count("checks/") == len(texts) and CANARY not in printed
    commands(monkeypatch, capsys, root, names=("run",))
    assert victim.read_text() == CANARY


def test_a_snapshot_names_only_its_own_files(root):
    """A view over files elsewhere cannot be read, whatever it is called; other tables can."""
    victim = root.parent / "tables" / "a" / "all-0123456789abcdef.parquet"
    victim.parent.mkdir(parents=True)
    with connection.connect(root / SNAPSHOT) as catalog:
        catalog.execute(f"COPY (SELECT '{CANARY}' AS a) TO '{victim}'")
        catalog.execute(f"CREATE VIEW far AS FROM read_parquet('{victim}')")
    with dbpipe.open(root) as survey:
        assert survey.fetch("SELECT count(*) AS n FROM band").to_pylist() == [{"n": 0}]
        with pytest.raises(DbpipeError, match="would reach the file"):
            survey.fetch("FROM far")
