"""Ctrl-C, SIGTERM and a closed pipe end any command quietly, at any moment, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import make_fits
import pytest

from dbpipe import cli
from dbpipe.catalog import migrations
from dbpipe.catalog.work import units
from dbpipe.publish import readers
from dbpipe.survey import Survey

STOPPED = "dbpipe: stopped; what was committed is kept, run again to resume\n"
COMMAND = [sys.executable, "-m", "dbpipe"]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A survey in which nothing is ever done."""
    root = tmp_path_factory.mktemp("stop") / "s"
    Survey.init(root).close()
    return root


def command(monkeypatch, capsys, *arguments):
    """Run the command line in this process and return (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def send(number):
    """Send a signal to this process, and be there when it arrives."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def send_and_swallow(number):
    """What DuckDB does with an exception of a signal handler."""
    try:
        send(number)
    except BaseException:
        raise RuntimeError("Query interrupted") from None


class Dying:
    """Passes the signal to a destructor, from which no exception comes out."""

    def __init__(self, number):
        self.number = number

    def __del__(self):
        os.kill(os.getpid(), self.number)


def send_to_destructor(number):
    """Lose the exception of a signal handler."""
    Dying(number)
    time.sleep(1.0)


@pytest.mark.parametrize(
    ("place", "name", "how", "number"),
    [
        (readers, "publish", send, signal.SIGINT),
        (readers, "publish", send_to_destructor, signal.SIGTERM),
        (migrations, "pending_migrations", send, signal.SIGTERM),
        (units, "start_run", send_and_swallow, signal.SIGTERM),
        (units, "start_run", send, signal.SIGHUP),
    ],
)
def test_a_stop_is_one_line_and_lets_go_of_the_survey(root, monkeypatch, capsys, place, name, how, number):
    """Wherever a signal arrives, and whatever becomes of its exception, the command ends in one line."""
    with monkeypatch.context() as patch:
        patch.setattr(place, name, lambda *_, **__: how(number))
        assert command(patch, capsys, "run", root, "--quiet") == (128 + number, "", STOPPED)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with Survey.open(root, read_only=False) as survey:
        assert survey.count("visit") == 0


def test_clearing_up_is_not_disturbed(root, monkeypatch, capsys):
    """Who presses Ctrl-C twice gets the same as who presses it once."""

    def fail(*_, **__):
        try:
            send(signal.SIGINT)
        finally:
            send(signal.SIGINT)

    monkeypatch.setattr(readers, "publish", fail)
    assert command(monkeypatch, capsys, "run", root, "--quiet") == (130, "", STOPPED)


def test_what_is_ignored_stays_so(root, monkeypatch, capsys):
    """Under nohup, a terminal that closes stops nothing."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(units, "start_run", lambda *_: send(signal.SIGHUP) or 1)
        assert command(monkeypatch, capsys, "run", root)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_that_nobody_foresaw_is_one_line(root, monkeypatch, capsys):
    """Outside a unit it ends the command with an exit code of its own; the log, or DBPIPE_DEBUG, has the traceback."""
    monkeypatch.setattr(units, "start_run", lambda *_: 1 / 0)
    code, _, err = command(monkeypatch, capsys, "run", root)
    assert code == 70 and err.count("\n") == 1 and "ZeroDivisionError: division by zero (a bug" in err
    assert "Traceback" in (root / "dbpipe.log").read_text()
    monkeypatch.setenv("DBPIPE_DEBUG", "1")
    assert "Traceback" in command(monkeypatch, capsys, "run", root)[2]


@pytest.mark.parametrize("moment_s", [0.0, 0.3, 1.0])
def test_ctrl_c_in_a_terminal_reaches_workers_too_and_they_say_nothing(tmp_path, moment_s):
    """The signal goes to all processes of the terminal, also to workers that are still starting."""
    root = tmp_path / "s"
    Survey.init(root).close()
    for visit in range(1234, 1240):
        make_fits.write_eimage(tmp_path, name=f"lsst_e_{visit}_f2_R22_S11_E000.fits", OBSID=visit)
    ingest = [*COMMAND, "ingest", str(root), str(tmp_path), "--workers", "2"]
    process = subprocess.Popen(
        ingest, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while not any(Path(f"/proc/{process.pid}/task").glob("*/children")) or len(children(process.pid)) < 2:
        assert process.poll() is None, "ended before its workers started"
        time.sleep(0.005)
    time.sleep(moment_s)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60.0)
    assert (process.returncode, err) in ((130, STOPPED), (0, ""))
    give_up = time.monotonic() + 10.0
    while processes_of(process.pid):
        assert time.monotonic() < give_up, "a worker outlived its parent"
        time.sleep(0.02)
    Survey.open(root, read_only=False).close()


def children(pid):
    texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [number for text in texts for number in text.split()]


def processes_of(group):
    """Whether a process group has a living member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    "arguments", [["sql", "{root}", "SELECT range AS x FROM range(2000000)", "--csv"], ["schema"], ["config", "{root}"]]
)
def test_a_reader_that_has_seen_enough_is_no_error(root, arguments):
    """`dbpipe sql ... | head -1` says nothing on standard error."""
    writer = subprocess.Popen(
        [*COMMAND, *(text.format(root=root) for text in arguments)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    writer.stdout.read(1)
    writer.stdout.close()
    assert writer.stderr.read() == b"" and writer.wait(timeout=60.0) in (0, 1, 141)
    writer.stderr.close()
