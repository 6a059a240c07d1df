"""Readers hold up nobody: a writer never waits for one, and what it leaves is there for the next."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import reader_of_bands

import dbpipe
from dbpipe import cli
from dbpipe.catalog.store.lock import Lock
from dbpipe.errors import CatalogError, ConfigError, DiskError, SurveyBusy
from dbpipe.survey import CATALOG, LOCK, SNAPSHOT, Survey, opening

KILLED = """
import os, sys
from dbpipe.survey import Survey
survey = Survey.open(sys.argv[1], read_only=False)
survey.connection.execute("INSERT INTO band VALUES ('left')")
if len(sys.argv) > 2:
    print("writing", flush=True)
    sys.stdin.read()
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def root(tmp_path):
    """An empty survey, closed."""
    Survey.init(tmp_path / "s").close()
    return tmp_path / "s"


def start(*arguments, **keywords):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, *map(str, arguments)], env=environment, text=True, **keywords)


def kill_a_writer(root):
    """Leave the survey as a command does that is killed after a COMMIT."""
    assert start("-c", KILLED, root).wait() == -9


def command(monkeypatch, capsys, *arguments):
    """Run a command and return (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, *capsys.readouterr()


def bands(survey):
    return [band for (band,) in survey.sql("SELECT band FROM band ORDER BY band").fetchall()]


def test_what_a_killed_writer_has_left_is_published_by_the_next_reader(root):
    """The reader sees every commit and has a snapshot, so that the next writer need not wait for it."""
    kill_a_writer(root)
    with dbpipe.open(root) as reading, Survey.open(root, read_only=False) as survey:
        assert bands(reading) == ["left"] and reading.busy is None and reading.as_of is not None
        survey.connection.execute("INSERT INTO band VALUES ('more')")
        survey.publish()
        assert bands(reading) == ["left"]


def test_a_change_is_published_by_closing_and_nothing_else_is(root):
    """Who changes the catalog leaves a snapshot of it; who only opens it leaves files as they were."""
    with Survey.open(root, read_only=False) as survey:
        survey.connection.execute("INSERT INTO band VALUES ('new')")
    before = (root / SNAPSHOT).stat().st_mtime_ns, (root / CATALOG).stat().st_mtime_ns
    Survey.open(root, read_only=False).close()
    assert ((root / SNAPSHOT).stat().st_mtime_ns, (root / CATALOG).stat().st_mtime_ns) == before
    with dbpipe.open(root) as survey:
        assert bands(survey) == ["new"] and survey.busy is None


@pytest.mark.parametrize("error", [ConfigError("no"), CatalogError("no"), KeyboardInterrupt(), ZeroDivisionError()])
def test_what_was_committed_before_an_error_is_seen(root, error):
    """Whatever ends a command, the next reader sees its commits, and the error is the one that is told."""
    with pytest.raises(type(error)), Survey.open(root, read_only=False) as survey:
        survey.connection.execute("INSERT INTO band VALUES ('kept')")
        raise error
    with dbpipe.open(root) as survey:
        assert bands(survey) == ["kept"] and survey.busy is None


@pytest.mark.parametrize("arguments", [("ingest", "{}"), ("refcat", "{}/stars.csv"), ("gc",), ("run",), ("inject",)])
def test_every_command_that_changes_the_catalog_publishes(root, tmp_path, monkeypatch, capsys, arguments):
    """After each of them the snapshot is the catalog as it is, and nobody has to make one."""
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.fits").write_bytes(b"not FITS")
    (raw / "stars.csv").write_text("ra,dec,r\n10.0,20.0,18.0\n")
    name, *rest = (text.format(raw) for text in arguments)
    command(monkeypatch, capsys, name, root, *rest)
    monkeypatch.setattr(opening, "_publish_for_readers", lambda *_, **__: pytest.fail("it is not current"))
    with dbpipe.open(root, published=False) as survey:
        assert survey.busy is None and survey.find_writer() == ""


def test_a_publish_that_fails_loses_nothing_and_says_so(root, monkeypatch):
    """With no room for the snapshot the commit stays, the error says so, and the next does it."""
    with monkeypatch.context() as patched:
        full = OSError(28, "No space left")
        patched.setattr("dbpipe.publish.readers.publish", lambda *_, **__: (_ for _ in ()).throw(full))
        with pytest.raises(DiskError, match="everything is done, but readers do not see it yet.*No space left"):
            with Survey.open(root, read_only=False) as survey:
                survey.connection.execute("INSERT INTO band VALUES ('kept')")
        with dbpipe.open(root) as survey:
            assert bands(survey) == [] and "No space left" in survey.busy
    with dbpipe.open(root) as survey:
        assert bands(survey) == ["kept"]


def test_a_night_is_not_skipped_because_of_readers(root, monkeypatch, capsys):
    """With readers that publish, copy and stay, a run that gives up when busy is done each time."""
    forgotten = [dbpipe.open(root) for _ in range(2)]
    reading = [start(reader_of_bands.__file__, root, stdin=subprocess.PIPE) for _ in range(2)]
    for night in range(5):
        kill_a_writer_of(root, f"night{night}")
        code, out, err = command(monkeypatch, capsys, "run", root, "--if-busy", "exit", "--json")
        assert code == 0 and '"status": "done"' in out, err
    for process in reading:
        process.communicate()
    assert [process.returncode for process in reading] == [0, 0]
    assert [bands(survey) for survey in forgotten] == [[], []]


def kill_a_writer_of(root, band):
    program = KILLED.replace("'left'", f"'{band}'")
    assert start("-c", program, root).wait() == -9


def test_a_reader_is_served_while_another_publishes(root):
    """Who finds a reader publishing has the snapshot of before, and is told; without one he waits for the new one."""
    kill_a_writer(root)
    publishing = Lock(root / LOCK, reader=True)
    with dbpipe.open(root) as survey:
        assert bands(survey) == [] and f"process {os.getpid()} (reader: " in survey.busy
    threading.Timer(0.3, publishing.close).start()
    (root / SNAPSHOT).unlink()
    with dbpipe.open(root) as survey:
        assert bands(survey) == ["left"]


def test_who_may_not_write_reads_a_copy(root, monkeypatch):
    """Without a snapshot and the right to make one the answer comes from a copy, which is gone afterward."""
    kill_a_writer(root)
    (root / SNAPSHOT).unlink()
    monkeypatch.setattr(opening, "_is_writable", lambda root: False)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != LOCK}
    with dbpipe.open(root) as survey:
        assert bands(survey) == ["left"] and survey.as_of is None and survey.busy is None
        folder = Path(survey._opened.folder.name)
        assert folder.is_dir()
    assert not folder.exists()
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.name != LOCK} == before


def test_check_does_not_compare_files_while_somebody_writes(root, monkeypatch, capsys):
    """Files that a run has just written or deleted are no broken rule; who is at work is said."""
    code, out, _ = command(monkeypatch, capsys, "check", root)
    assert code == 0 and "not looked at" not in out
    n_rule = int(out.split("Healthy: ")[1].split()[0])
    with start("-c", KILLED, root, "wait", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == "writing\n"
        (root / "files" / "calexp").mkdir(parents=True)
        (root / "files" / "calexp" / "calexp-1-0-0123abcd.fits").touch()
        code, out, _ = command(monkeypatch, capsys, "check", root)
        assert code == 0 and f"Healthy: {n_rule - 2} rules" in out and "dbpipe gc" not in out
        assert out.count(f"process {writer.pid}") == 2 and "files.raw was not looked at" in out
        code, _, err = command(monkeypatch, capsys, "gc", root, "--dry-run")
        assert code == 0 and f"process {writer.pid}" in err
        with pytest.raises(SurveyBusy):
            dbpipe.open(root, published=False)
        writer.kill()
    code, out, _ = command(monkeypatch, capsys, "check", root)
    assert code == 0 and f"Healthy: {n_rule} rules" in out and "1 files are not named" in out


def test_a_writer_does_not_wait_for_a_reader_of_any_age(root):
    """Opened before many nights, a reader answers as on the first day, and no night is busy for it."""
    with dbpipe.open(root) as old:
        for night in range(3):
            with Survey.open(root, read_only=False) as survey:
                survey.connection.execute(f"INSERT INTO band VALUES ('{night}')")
            assert bands(old) == []
    with dbpipe.open(root) as new:
        assert bands(new) == ["0", "1", "2"]


def test_a_copied_survey_is_one(root, tmp_path):
    """Copied in a way that changes times, the snapshot does not fit any more: the reader makes a new one."""
    shutil.copytree(root, tmp_path / "t", copy_function=shutil.copyfile)
    with dbpipe.open(tmp_path / "t") as survey:
        assert survey.busy is None
