"""`dbpipe run` from cron: only what is new, one at a time, nothing half copied, and words that a program can read."""

import json
import logging
import os
import subprocess
import sys
import threading

import make_fits
import pytest

from dbpipe import cli
from dbpipe.cli.commands.run import describe_run
from dbpipe.cli.terminal import console
from dbpipe.survey import Survey
from dbpipe.survey.discover import split_settled
from dbpipe.survey.opening import Writing

LONG_AGO_S = 1e9


@pytest.fixture
def root(tmp_path):
    """An empty survey."""
    Survey.init(tmp_path / "s").close()
    return tmp_path / "s"


@pytest.fixture
def raw(tmp_path):
    """A folder with one exposure, copied long ago."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    write_exposure(folder, 1234)
    return folder


def write_exposure(folder, visit):
    """Write a raw file that seems to have been there for long."""
    name = f"lsst_e_{visit}_f2_R22_S11_E000.fits"
    make_fits.write_eimage(folder, name=name, OBSID=visit)
    os.utime(folder / name, (LONG_AGO_S, LONG_AGO_S))
    return folder / name


def command(monkeypatch, capsys, *arguments):
    """Run the command line in this process and return (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def test_a_night_is_one_line_and_a_night_without_news_is_none(root, raw, monkeypatch, capsys):
    """New files are taken in and said in one line, also in the log; nothing new is silence; a new file is new work."""
    nightly = ("run", root, "--ingest", raw, "--to", "calibrate", "--workers", 1, "--quiet")
    code, out, err = command(monkeypatch, capsys, *nightly)
    assert code == 0 and out.count("\n") == 1 and "1 new files" in out and err == ""
    assert out.strip() in (root / "dbpipe.log").read_text()
    assert command(monkeypatch, capsys, *nightly) == (0, "", "")
    write_exposure(raw, 1235)
    assert "1 new files, 2 units of work, 1 failed" in command(monkeypatch, capsys, *nightly)[1]
    make_fits.write_eimage(raw, name=write_exposure(raw, 1236).name, OBSID=1236)
    os.utime(write_exposure(raw, 1234), (LONG_AGO_S, LONG_AGO_S + 1))
    assert "1 new files, 1 read again, " in command(monkeypatch, capsys, *nightly)[1]
    write_broken = write_exposure(raw, 1235)
    write_broken.write_bytes(b"SIMPLE")
    os.utime(write_broken, (LONG_AGO_S, LONG_AGO_S))
    assert "0 new files, 1 refused, 1 IN USE BEFORE AND NO MORE" in command(monkeypatch, capsys, *nightly)[1]


def test_ingest_is_a_stage_to_run_to(root, raw, monkeypatch, capsys):
    """`--to ingest` takes files in and ends."""
    code, out, err = command(monkeypatch, capsys, "run", root, "--ingest", raw, "--to", "ingest", "--workers", 1)
    assert code == 0 and "1 new files, 1 units of work" in out and err == ""


def test_what_cannot_be_done_now_is_said_to_be_in_the_log():
    """In the catalog a unit that was done stays done, so that its status gives no reason."""
    stage = {"n_unit": 1, "kinds": {"transient": 1}}
    record = {"survey": "s", "stages": {"calibrate": stage}, "n_file_left": 0, "n_unit": 1, "n_failed": 1}
    record |= {"n_skipped": 0, "n_removed": 0, "n_unexpected": 0, "n_dia_source": 5, "n_dia_source_more": 0}
    line = describe_run(record | {"wall_s": 1.0})
    assert "1 failed (1 to be tried again by the next run)" in line
    assert line.endswith("; why: dbpipe status s, s/dbpipe.log")


def test_one_command_makes_the_survey_and_begins(tmp_path, raw, monkeypatch, capsys):
    """With `--instrument` a survey need not be there: it is made, and the files are taken in."""
    arguments = ("run", tmp_path / "new", "--instrument", "phosim-eimage", "--ingest", raw, "--to", "ingest")
    code, out, err = command(monkeypatch, capsys, *arguments, "--workers", 1)
    assert (code, err) == (0, "") and "1 new files" in out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--where", "count(*) > 3"), "cannot contain aggregates"),
        (("--where", "visit + [3] = 1"), "the condition"),
        (("--where", ""), "is not one condition"),
        (("--to", "calibrat"), "did you mean calibrate?"),
        (("--where", "visti > 3"), "no stage has the columns"),
        (("--where", "visit >"), "is not one condition"),
        (("--refcat", "nowhere.csv"), "nowhere.csv"),
        (("--ingest", "nowhere"), "nowhere is not there"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_done(tmp_path, raw, monkeypatch, capsys, wrong, said):
    """Nothing is ingested, and no survey is made."""
    with_survey = tmp_path / "new"
    arguments = ("run", with_survey, "--instrument", "phosim-eimage", "--ingest", raw, "--workers", 1, *wrong)
    code, _, err = command(monkeypatch, capsys, *arguments)
    assert code != 0 and said in err and not with_survey.exists()
    Survey.init(with_survey).close()
    code, _, err = command(monkeypatch, capsys, *arguments)
    assert code != 0 and said in err
    with Survey.open(with_survey) as survey:
        assert survey.count("unit") == 0 and survey.count("run") == 0


def test_the_record_can_be_read_by_a_program(root, raw, monkeypatch, capsys):
    """--json is one object with counts; --strict turns failed units into exit code 3, once."""
    nightly = ("run", root, "--ingest", raw, "--to", "calibrate", "--workers", 1, "--json", "--strict")
    code, out, _ = command(monkeypatch, capsys, *nightly)
    record = json.loads(out)
    assert code == 3  # no reference star: the exposure cannot be calibrated
    assert record["status"] == "done" and record["n_unit"] == 2 and record["n_failed"] == 1
    assert record["stages"]["ingest"]["n_done"] == 1 and record["n_dia_source"] == 0
    assert record["stages"]["calibrate"]["reasons"]
    code, out, _ = command(monkeypatch, capsys, *nightly)
    assert code == 0 and json.loads(out)["n_unit"] == 0
    code, out, err = command(monkeypatch, capsys, *nightly, "--ingest", raw / "nowhere")
    assert code == 1 and json.loads(out)["status"] == "error" and "nowhere is not there" in err


@pytest.mark.parametrize(("choice", "code"), [("fail", 75), ("exit", 0)])
def test_a_second_run_says_so_and_ends(root, raw, choice, code):
    """While one run works another one says in one line who does, and ends with the exit code that was asked for."""
    with Survey.open(root, read_only=False):
        done = subprocess.run(nightly_process(root, raw, choice), capture_output=True, text=True, env=environment())
    assert done.returncode == code
    said = done.stderr if choice == "fail" else done.stdout
    assert f"process {os.getpid()}" in said and (done.stdout + done.stderr).count("\n") == 1


@pytest.mark.slow
def test_a_second_run_can_wait(root, raw):
    """With --if-busy wait a run begins when the other one has ended."""
    with Survey.open(root, read_only=False):
        waiting = subprocess.Popen(nightly_process(root, raw, "wait"), env=environment(), stdout=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=5)
    out, _ = waiting.communicate(timeout=100)
    assert waiting.returncode == 0 and b"1 new files" in out


def nightly_process(root, raw, if_busy):
    arguments = ["run", str(root), "--ingest", str(raw), "--to", "calibrate", "--if-busy", if_busy, "--quiet"]
    return [sys.executable, "-m", "dbpipe", *arguments]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def test_a_file_that_grows_is_left_for_next_time(root, raw, monkeypatch, capsys):
    """A file that is being copied is not touched and is counted; when it is whole the next run takes it."""
    path = write_exposure(raw, 1235)
    content = path.read_bytes()
    path.write_bytes(content[:3000])
    stop = threading.Event()
    copying = threading.Thread(target=copy_slowly, args=(path, content, stop))
    copying.start()
    nightly = ("run", root, "--ingest", raw, "--to", "calibrate", "--workers", 1, "--settle", 1, "--json")
    try:
        record = json.loads(command(monkeypatch, capsys, *nightly)[1])
    finally:
        stop.set()
        copying.join()
    assert record["n_file_left"] == 1 and record["stages"]["ingest"]["n_unit"] == 1
    record = json.loads(command(monkeypatch, capsys, *nightly)[1])
    assert record["n_file_left"] == 0 and record["stages"]["ingest"]["n_done"] == 1


def copy_slowly(path, content, stop):
    """Append byte by byte until told to finish."""
    with open(path, "ab", buffering=0) as file:
        n = 3000
        while not stop.wait(0.05) and n < len(content) - 1:
            file.write(content[n : n + 1])
            n += 1
        file.write(content[n:])


def test_a_copy_that_stalled_is_refused_and_taken_when_it_is_whole(root, raw, monkeypatch, capsys):
    """What looked settled but was cut short is a failure on record, until more of the file has come."""
    path = write_exposure(raw, 1235)
    content = path.read_bytes()
    path.write_bytes(content[:3000])
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    nightly = ("run", root, "--ingest", raw, "--to", "calibrate", "--workers", 1, "--json")
    assert json.loads(command(monkeypatch, capsys, *nightly)[1])["stages"]["ingest"]["n_failed"] == 1
    path.write_bytes(content)
    os.utime(path, (LONG_AGO_S, LONG_AGO_S + 1))
    assert json.loads(command(monkeypatch, capsys, *nightly)[1])["stages"]["ingest"]["n_done"] == 1
    with Survey.open(root) as survey:
        assert survey.sql("SELECT count(*) FROM unit WHERE stage = 'ingest' AND status = 'failed'").fetchall() == [(0,)]


def test_old_files_are_not_waited_for(tmp_path):
    """Only a file that changed just now costs time; one that is moved away meanwhile is left, too."""
    old, young, moved = (tmp_path / name for name in ("old", "young", "moved"))
    for path in (old, young, moved):
        path.touch()
    os.utime(old, (LONG_AGO_S, LONG_AGO_S))
    assert split_settled([str(old)], settle_s=100, sleep=lambda _: pytest.fail("waited")) == ([str(old)], [])
    paths = [str(path) for path in (old, young, moved)]
    found = split_settled(paths, settle_s=100, sleep=lambda _: moved.unlink())
    assert found == ([str(old), str(young)], [str(moved)])


def test_the_log_rotates(root, monkeypatch):
    """A full log makes room for a new one; so many old ones are kept."""
    monkeypatch.setattr(console, "LOG_SIZE_BYTE", 2000)
    for _ in range(2):
        with console.writing(root):
            for number in range(300):
                logging.getLogger("dbpipe").warning("something went wrong with number %d", number)
    logs = sorted(path.name for path in root.glob("dbpipe.log*"))
    assert logs == ["dbpipe.log", *(f"dbpipe.log.{n}" for n in range(1, console.N_OLD_LOG + 1))]
    assert all(path.stat().st_size <= 2000 for path in root.glob("dbpipe.log*"))


def test_a_run_publishes_once_at_its_end(root, raw, monkeypatch):
    """Ingest and stages of one run become visible together."""
    published = []
    publish = Writing.publish
    monkeypatch.setattr(Writing, "publish", lambda *given, **how: published.append(given) or publish(*given, **how))
    with Survey.open(root, read_only=False) as survey:
        survey.ingest([raw], n_worker=1)
        assert published == []
        survey.run(to="calibrate", n_worker=1)
    assert len(published) == 1


def test_a_unit_at_its_limit_is_told_and_tried_again(root, raw, monkeypatch, capsys):
    """It is named in the line for cron, by the exit code and by status; with a better limit the next night does it."""
    nightly = ("run", root, "--ingest", raw, "--to", "calibrate", "--workers", 1, "--quiet")
    settings = (root / "survey.toml").read_text()
    (root / "survey.toml").write_text(settings.replace("# unit_time_limit_s = 3600.0", "unit_time_limit_s = 1e-6"))
    code, out, _ = command(monkeypatch, capsys, *nightly)
    assert code == 3 and "1 failed (1 ran into the time limit)" in out and f"dbpipe status {root} --traceback" in out
    assert "failed: time_limit" in command(monkeypatch, capsys, "status", root)[1]
    found = command(monkeypatch, capsys, "status", root, "--traceback", "ingest path=")[1]
    assert "run.unit_time_limit_s" in found and "limit_s = 1e-06" in found and "time_limit, runs: 1" in found
    (root / "survey.toml").write_text(settings)
    code, out, _ = command(monkeypatch, capsys, *nightly)
    assert code == 0 and "1 new files, 2 units of work" in out
