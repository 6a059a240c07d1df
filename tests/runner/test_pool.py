"""Worker processes: whatever becomes of one, every call gets its answer in its turn, and nothing is left behind."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pool_calls
import pytest
from pool_calls import crash, grow, hang, leave, refuse, square, write_and_die

from dbpipe.errors import ConfigError
from dbpipe.runner.pool import Died, RunConfig, WorkerPool


def children(pid):
    """Return the workers of a process: spawned Pythons, not the resource tracker."""
    found = [
        int(number) for path in Path(f"/proc/{pid}/task").glob("*/children") for number in path.read_text().split()
    ]
    return [number for number in found if b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()]


def outcomes(calls, n_worker=2, **limits):
    """Run calls and return their outcomes."""
    with WorkerPool(".", n_worker, limits=RunConfig(**limits)) as pool:
        return [outcome for _, outcome in pool.run_ordered(calls)]


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_is_blamed_on_its_call_alone(how):
    """A call that crashes is given up after two tries and named by its signal; the calls beside it are done."""
    found = outcomes([(square, 2), (crash, how), (square, 3), (square, 4)])
    assert found[1] == Died("died", "worker died", {"signal": how.name, "n_death": 2})
    assert [found[0], *found[2:]] == [4, 9, 16]


def test_what_a_dead_worker_was_writing_is_taken_away(tmp_path, monkeypatch):
    """A product that is half written goes with the worker that wrote it; what has another name or writer stays."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "files" / "warp"
    folder.mkdir(parents=True)
    (folder / ".tmp-1-warp-1-89abcdef.fits").touch()
    (died,) = outcomes([(write_and_die, "warp-1-89abcdef.fits")], n_worker=1)
    left = sorted(path.name for path in folder.iterdir())
    assert isinstance(died, Died) and left[0] == ".tmp-1-warp-1-89abcdef.fits" and len(left) == 3
    assert all(name.endswith("-notes.txt") for name in left[1:])


def test_a_call_that_leaves_the_process_is_named_by_its_exit_code():
    """The end of a process in the middle of a call is a death, also with exit code 0."""
    found = outcomes([(leave, 0), (square, 3)], n_worker=1)
    assert found == [Died("died", "worker died", {"signal": "exit code 0", "n_death": 2}), 9]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_killed_from_outside_cost_no_call(how):
    """A signal to end workers at random moments, whatever they are doing: every call is done, in order."""
    moments, n_killed = random.Random(3), 0
    with WorkerPool(".", 2) as pool:
        given = pool.run_ordered((square, x, 0.3) for x in range(8))
        found = [next(given)[1]]
        stop = threading.Event()

        def kill():
            nonlocal n_killed
            while n_killed < 4 and not stop.wait(moments.uniform(0.05, 0.4)):
                for pid in children(os.getpid())[:1]:
                    os.kill(pid, how)
                    n_killed += 1

        killer = threading.Thread(target=kill)
        killer.start()
        found += [outcome for _, outcome in given]
        stop.set()
        killer.join()
    assert found == [x * x for x in range(8)] and n_killed >= 1
    assert children(os.getpid()) == []


def test_a_call_that_hangs_in_compiled_code_is_ended_at_the_time_limit():
    """The limit holds also where no Python code gets a turn, and only for the call that exceeds it."""
    hung, fine = outcomes([(hang,), (square, 3, 0.1)], unit_time_limit_s=1.0)
    assert hung.kind == "time_limit" and hung.numbers["limit_s"] == 1.0 and 1.0 <= hung.numbers["wall_s"] < 3.0
    assert fine == 9


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")
def test_a_call_that_takes_too_much_memory_is_ended():
    """The limit is named with what was found; the calls after it are done."""
    greedy, fine = outcomes([(grow, 700), (square, 3)], n_worker=1, unit_memory_limit_mib=500.0)
    assert greedy.kind == "memory_limit" and greedy.numbers["resident_mib"] > 500 and fine == 9


def test_an_exception_that_cannot_be_sent_is_told_in_words():
    """Nothing that a call can raise or return ends the worker."""
    (found,) = outcomes([(refuse, "odd")], n_worker=1)
    assert isinstance(found, RuntimeError) and "odd" in str(found)


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan"), float("inf")])
def test_limits_are_positive_and_finite(limit):
    """A limit that nothing can keep, or that is none, is refused."""
    for name in ("unit_time_limit_s", "unit_memory_limit_mib"):
        with pytest.raises(ConfigError, match=f"{name} = {limit}: must be a number, above 0"):
            RunConfig(**{name: limit})


PARENT = """
import os, sys
sys.path.insert(0, sys.argv[1])
import pool_calls
from dbpipe.runner.pool import WorkerPool
if __name__ == "__main__":
    with WorkerPool(".", 2) as pool:
        given = pool.run_ordered([(pool_calls.square, 1), *[(getattr(pool_calls, sys.argv[2]),)] * 2])
        next(given)
        print("under way", flush=True)
        list(given)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(tmp_path, how):
    """However the parent ends, its workers do too, also in the middle of compiled code, and say nothing."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), str(Path(pool_calls.__file__).parent), "hang"]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert parent.stdout.readline() == "under way\n"
        workers = children(parent.pid)
        time.sleep(0.2)
        parent.send_signal(how)
        _, err = parent.communicate(timeout=60.0)
    finally:
        parent.kill()
    assert workers and err.count("Traceback") == (how == signal.SIGINT)  # the parent's own
    give_up = time.monotonic() + 5.0
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < give_up, "a worker outlived its parent"
        time.sleep(0.02)
