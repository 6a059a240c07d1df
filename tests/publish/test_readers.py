"""Readers while others write: the published snapshot."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
import reader
import synthetic_sources

import dbpipe
from dbpipe.catalog.sky_shards import Tiles
from dbpipe.catalog.sql.dictionary import column_metadata
from dbpipe.catalog.store import connection
from dbpipe.errors import CatalogError
from dbpipe.publish import readers as published
from dbpipe.survey import CATALOG, SNAPSHOT, Survey

N_PUBLISH = 15
VISIT = "INSERT INTO visit VALUES ({visit}, 'r', 'x', {visit}, 30, NULL, 20260101)"


@pytest.fixture
def root(tmp_path):
    """A survey with a band and a detector and nothing observed, published and closed."""
    with Survey.init(tmp_path / "s") as survey:
        survey.connection.execute("INSERT INTO band VALUES ('r')")
        survey.connection.execute("INSERT INTO detector VALUES (0, 'a')")
        survey.publish()
    return tmp_path / "s"


def add_visit(connection, visit):
    """Commit a visit, and in another transaction its sources: between the two the catalog is not consistent."""
    connection.execute(VISIT.format(visit=visit))
    columns = connection.execute("DESCRIBE dia_source").fetchall()
    required = {name: 0 for name, _, nullable, *_ in columns if nullable == "NO"}
    row = required | {"visit": visit, "band": "'r'", "dia_source_id": f"{visit} * 1000 + i"}
    values = ", ".join(f"{value} AS {name}" for name, value in row.items())
    connection.execute(f"INSERT INTO dia_source BY NAME SELECT {values} FROM range({reader.PER_VISIT}) AS r(i)")


@pytest.fixture
def readers(root):
    """Two processes that ask the survey without pause; call the fixture's value to stop them and get their reports."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, reader.__file__, str(root)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": environment, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert all(process.stdout.readline() == "reading\n" for process in processes)
    yield lambda: [json.loads(process.communicate()[0]) for process in processes]
    for process in processes:
        process.kill()
        process.communicate()


def test_readers_never_wait_never_fail_and_see_only_what_was_published(root, readers):
    """During many publishes two processes read without one error; what they see is whole and only ever grows."""
    with Survey.open(root, read_only=False) as survey:
        for visit in range(1, N_PUBLISH + 1):
            add_visit(survey.connection, visit)
            survey.publish()
    reports = readers()
    assert [report["faults"] for report in reports] == [[], []]
    assert all(report["n_read"] > N_PUBLISH / 3 and report["n_busy"] for report in reports)


def test_a_reader_is_told_from_when_the_answer_is(root):
    """While a survey is written to, a reader sees it as published, and who is writing; afterward all of it."""
    with Survey.open(root, read_only=False) as survey:
        survey.connection.execute(VISIT.format(visit=1))
        with dbpipe.open(root) as reading:
            assert reading.sql("SELECT count(*) FROM visit").fetchall() == [(0,)]
            before = reading.as_of
            assert f"process {os.getpid()}" in reading.busy and before is not None
    with dbpipe.open(root) as reading:  # nobody is writing any more, and closing has published
        assert reading.sql("SELECT count(*) FROM visit").fetchall() == [(1,)]
        assert reading.busy is None and reading.as_of > before


def test_a_forgotten_reader_does_not_hold_up_the_next_run(root):
    """If nothing has changed since it was published, a reader has the snapshot, and a writer need not wait for it."""
    with dbpipe.open(root) as forgotten, Survey.open(root, read_only=False) as survey:
        assert forgotten.as_of is not None and forgotten.busy is None
        add_visit(survey.connection, 1)
        survey.publish()
        assert forgotten.sql("SELECT count(*) FROM visit").fetchall() == [(0,)]


def test_the_snapshot_is_the_catalog(root):
    """Every table, view, comment and row is in the snapshot, in the file format of the catalog."""
    with Survey.open(root, read_only=False) as survey:
        add_visit(survey.connection, 1)
        survey.publish()
    queries = (
        "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal "
        "AND table_name <> 'published' ORDER BY ALL",
        "SELECT * FROM dia_source ORDER BY ALL",
        "SELECT * FROM DiaSource ORDER BY ALL",
    )
    with dbpipe.open(root) as snapshot, connection.connect(root / CATALOG, read_only=True) as catalog:
        for query in queries:
            assert snapshot.sql(query).fetchall() == catalog.sql(query).fetchall()


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"damaged" * 1000), Path.unlink, Path.touch])
def test_a_snapshot_that_is_lost_is_no_loss(root, spoil):
    """If the snapshot is damaged or gone the catalog itself answers, and the next one to write publishes anew."""
    spoil(root / SNAPSHOT)
    with dbpipe.open(root) as survey:
        assert survey.sql("SELECT count(*) FROM band").fetchall() == [(1,)]
    with Survey.open(root, read_only=False) as survey:
        survey.publish()
    with dbpipe.open(root) as survey:
        assert survey.as_of is not None


def test_a_publish_that_is_killed_leaves_the_old_snapshot(root):
    """A half-written copy beside the snapshot is never read, and is swept up by the next publish."""
    leftover = root / "published" / ".tmp-1-survey.duckdb"
    shutil.copyfile(root / SNAPSHOT, leftover)
    with dbpipe.open(root) as survey:
        assert survey.as_of is not None
    with Survey.open(root, read_only=False) as survey:
        survey.publish()
    assert [path.name for path in (root / SNAPSHOT).parent.iterdir()] == [Path(CATALOG).name]


@pytest.fixture
def long_root(tmp_path, monkeypatch):
    """A survey whose sources are too many to be copied at every publish, in tiles, with two nights."""
    monkeypatch.setattr(published, "MAX_COPIED_ROWS", 100)
    with Survey.init(tmp_path / "s") as survey:
        synthetic_sources.prepare(survey.connection)
        synthetic_sources.add_visits(survey.connection, range(1, 5), per_visit=100)
        split_into_tiles(survey.connection)
        survey.publish()
    return tmp_path / "s"


def split_into_tiles(connection):
    """Move the linked sources and objects to the tables of their tiles."""
    numbers = connection.execute("SELECT DISTINCT hpx29 >> 50 FROM association.source ORDER BY 1").fetchall()
    Tiles(connection).add([tile for (tile,) in numbers])
    for (tile,) in numbers:
        for kind in ("source", "object"):
            connection.execute(
                f"INSERT INTO association.{kind}_{tile} SELECT * FROM association.{kind} WHERE hpx29 >> 50 = {tile}"
            )
    connection.execute("DELETE FROM association.source; DELETE FROM association.object")


COMPARED = ("dia_source", "dia_source_clean", "DiaSource", "dia_association", "dia_object", "visit")


def test_a_large_catalog_is_published_as_files(long_root):
    """Views over Parquet files stand for the long tables: every relation answers as the catalog does."""
    with dbpipe.open(long_root) as snapshot, connection.connect(long_root / CATALOG, read_only=True) as catalog:
        views = {name for (name,) in snapshot.sql("SELECT view_name FROM duckdb_views()").fetchall()}
        assert "dia_source" in views and any(name.startswith("source_") for name in views)
        for relation in COMPARED:
            query = f"SELECT * FROM {relation} ORDER BY ALL"
            assert snapshot.sql(query).fetchall() == catalog.sql(query).fetchall() != []
        assert column_metadata(snapshot.connection, "dia_source") == column_metadata(catalog, "dia_source")


def test_a_night_adds_files_to_the_published_ones(long_root, monkeypatch):
    """Only the night and the tiles that changed are written; old files stay for a day and go then."""
    folder = (long_root / SNAPSHOT).parent / "tables"
    before = {path: path.stat().st_ino for path in folder.rglob("*.parquet")}
    with dbpipe.open(long_root) as old, Survey.open(long_root, read_only=False) as survey:
        synthetic_sources.add_visits(survey.connection, [5], per_visit=100)
        split_objects = survey.connection.execute("SELECT min(hpx29 >> 50) FROM association.source").fetchall()
        survey.connection.execute("DELETE FROM association.source; DELETE FROM association.object")
        tile = split_objects[0][0]
        survey.connection.execute(f"UPDATE association.source_{tile} SET dia_object_id = 1")
        survey.publish()
        after = {path: path.stat().st_ino for path in folder.rglob("*.parquet")}
        assert before.items() <= after.items()
        new = sorted(path.parent.name for path in after.keys() - before.keys())
        assert new == ["dia_source", f"source_{tile}"]
        assert old.sql("SELECT count(*), sum(psf_flux_njy) FROM dia_source").fetchall()[0][0] == 400
        monkeypatch.setattr(published, "GRACE_S", -1.0)
        survey.publish()
    assert len(list(folder.rglob("*.parquet"))) == len(after) - 1
    with dbpipe.open(long_root) as survey:
        assert survey.as_of is not None and survey.count("dia_source") == 500


def test_a_run_that_did_nothing_does_not_look_at_the_rows(long_root, monkeypatch):
    """It keeps the files that are published; where the catalog has changed since, or one is gone, it looks."""
    with Survey.open(long_root, read_only=False) as survey:
        survey.run(n_worker=1)
    looked_at, look = [], published.fingerprint
    monkeypatch.setattr(published, "fingerprint", lambda *given: looked_at.append(given) or look(*given))
    folder = (long_root / SNAPSHOT).parent / "tables"
    files = sorted(folder.rglob("*.parquet"))
    with Survey.open(long_root, read_only=False) as survey:
        assert not any(summary.n_unit or summary.n_removed for summary in survey.run(n_worker=1))
        assert looked_at == [] and sorted(folder.rglob("*.parquet")) == files
        survey.connection.execute("DELETE FROM dia_source WHERE visit = 1")
        survey.run(n_worker=1)
        assert looked_at
    with dbpipe.open(long_root) as snapshot:
        assert snapshot.count("dia_source") == 300
    looked_at.clear()
    files[-1].unlink()
    with Survey.open(long_root, read_only=False) as survey:
        survey.run(n_worker=1)
    assert looked_at
    with dbpipe.open(long_root) as snapshot:
        assert snapshot.count("dia_source") == 300


def test_a_large_survey_that_moves_takes_its_files_along(long_root):
    """The snapshot names its files relative to itself."""
    moved = long_root.rename(long_root.with_name("elsewhere"))
    with dbpipe.open(moved) as survey:
        assert survey.as_of is not None and survey.count("dia_source") == 400


@pytest.mark.parametrize("is_current", [True, False])
def test_the_cron_line_with_a_relative_folder(long_root, monkeypatch, is_current):
    """From the folder of the survey, night after night: what was exported is there, and so is what the user put there.

    The export reads the snapshot, whose files DuckDB looks for elsewhere than in the current folder.
    """
    from dbpipe.cli.app import app

    monkeypatch.chdir(long_root.parent)
    lake = Path("lake")
    if not is_current:
        with Survey.open(long_root, read_only=False) as survey:
            survey.connection.execute("UPDATE dia_source SET snr = snr + 1")
    for night in range(1, 4):
        app(["export", long_root.name, "lake", "--layout", "night"], standalone_mode=False)
        for place in (lake / "trees" / "2024", lake / "mine", lake / "current" / "dia_source"):
            place.mkdir(exist_ok=True)
            (place / f"night{night}.txt").write_text("mine")
        rows = duckdb.sql("SELECT count(*) FROM read_parquet('lake/current/dia_source/by_night/*/*.parquet')")
        assert rows.fetchall() == [(400,)]
    assert sorted(path.name for path in (lake / "trees").iterdir()) == ["000001", "000002", "000003", "2024"]
    assert len(list(lake.rglob("night?.txt"))) == 9


HOSTILE_RECORD = ["[]", "7", "not JSON", '{"../../victim.txt": 0.0}', '{"tables/x/a-0123456789abcdef.parquet": "x"}']


@pytest.mark.parametrize("text", HOSTILE_RECORD)
def test_publishing_deletes_only_what_was_published(long_root, monkeypatch, text):
    """A record of dropped files that says anything, files of others among those published, links: all stay."""
    folder, victim = (long_root / SNAPSHOT).parent, long_root / "victim.txt"
    victim.write_text("thesis")
    (folder / "dropped.json").write_text(text)
    theirs = ["tables/notes.txt", "tables/dia_source/notes.parquet", "tables/mine/a-0123456789abcdeg.parquet"]
    for name in theirs:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("mine")
    link = folder / "tables" / "dia_source" / "20260101-0123456789abcdef.parquet"
    link.symlink_to(victim)
    old = folder / "tables" / "dia_source" / "20260102-0123456789abcdef.parquet"
    old.write_text("ours")
    monkeypatch.setattr(published, "GRACE_S", -1.0)
    with Survey.open(long_root, read_only=False) as survey:
        survey.publish()
    assert victim.read_text() == "thesis" and link.is_symlink() and not old.exists()
    assert [(folder / name).read_text() for name in theirs] == ["mine"] * 3


def test_nothing_is_published_through_a_link(long_root, tmp_path):
    """If a folder of the published files is a link, nothing is written behind it."""
    victim, tables = tmp_path / "victim", (long_root / SNAPSHOT).parent / "tables"
    victim.mkdir()
    shutil.rmtree(tables)
    tables.symlink_to(victim)
    with Survey.open(long_root, read_only=False) as survey, pytest.raises(CatalogError, match="is a symbolic link"):
        survey.publish()
    assert list(victim.iterdir()) == []
