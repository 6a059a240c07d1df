"""Worker processes: spawned, never forked; one BLAS and numba thread each; results in the order of the calls.

One thread of this process looks after each worker. It knows what its worker holds, so that a worker that dies costs
nothing but another try of that one unit, and it ends a worker whose unit takes more time or memory than it may.
"""

import multiprocessing
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from dbpipe.catalog.files import delete_unfinished
from dbpipe.errors import DbpipeError
from dbpipe.failures import DIED, MEMORY_LIMIT, TIME_LIMIT
from dbpipe.ranges import Range, Ranged
from dbpipe.runner import worker

if TYPE_CHECKING:
    from dbpipe.runner.worker import Done

_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_LOOK_AHEAD_PER_WORKER = 3
"""Calls prepared but not yet fetched, per worker: enough to keep it busy, few enough to bound the memory."""
_LOOK_EVERY_S = 0.2
"""How often time and memory of a unit are looked at: an array grows by less than 1 GiB in that time."""
_MAX_CRASH, _MAX_DEATH = 2, 5
"""Deaths of its workers after which a call is given up: a crash is its own, a signal to end may have come from
anywhere, say from a system without memory, so that the last try is made with no other worker at work."""
_FROM_OUTSIDE = ("SIGKILL", "SIGTERM", "SIGHUP", "SIGQUIT")
"""Signals that no computation brings upon itself."""
_MAX_START = 10
"""Workers in a row that may be killed before they have started."""

_DYING_S = 5.0
"""How long a process may take to end."""


@dataclass(frozen=True)
class RunConfig(Ranged):
    """Settings of a run: what one unit of work may cost. No result depends on them."""

    unit_time_limit_s: Annotated[float, Range(above=0.0, at_most=1e7)] = 3600.0
    """A unit that takes longer is ended and recorded as failed, and the run goes on [s]; the next runs try it again,
    three in all. The largest images of cameras in use take minutes."""
    unit_memory_limit_mib: Annotated[float, Range(above=0.0, at_most=1e8)] = 16384.0
    """A unit whose process holds more memory of its own is ended in the same way [MiB]; Linux only. Give less if the
    machine has less for each worker."""


@dataclass(frozen=True)
class Died:
    """Stands for the result of a call whose worker died again and again, or was ended at a limit."""

    kind: str
    """See `dbpipe.failures`."""
    reason: str
    numbers: dict[str, Any]


class WorkerPool:
    """Processes that run calls side by side and give the results in order.

    Use it in a ``with`` block. From a script, guard the main part with ``if __name__ == "__main__":`` because each
    worker imports the script.
    """

    def __init__(self, survey: Path, n_worker: int | None = None, *, limits: RunConfig | None = None) -> None:
        """Prepare a pool for the survey; processes start with the first call, one per core unless told otherwise."""
        self._survey = os.path.abspath(survey)
        self._n_worker = n_worker or _count_cores()
        self._limits = limits or RunConfig()
        self._keepers = ThreadPoolExecutor(self._n_worker)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._workers: set[_Worker] = set()
        self._room = _Room()
        self._stopping = False

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._stopping = True
        for each in list(self._workers):
            each.end(at_once=kind is not None)
        self._keepers.shutdown(wait=True, cancel_futures=True)

    def run_ordered(self, calls: Iterable[tuple[Any, ...]]) -> Iterator[tuple[tuple[Any, ...], Any]]:
        """Yield the results of (function, *arguments) calls in their order.

        Yields
        ------
        (call, outcome)
            The outcome is the result, the exception that the function raised, or `Died`.
        """
        calls = iter(calls)
        under_way: deque[tuple[Any, Future[Any]]] = deque()
        while True:
            n_free = _LOOK_AHEAD_PER_WORKER * self._n_worker - len(under_way)
            for _, call in zip(range(n_free), calls, strict=False):
                under_way.append((call, self._keepers.submit(self._run, call)))
            if not under_way:
                return
            call, future = under_way.popleft()
            yield call, future.result()

    def _run(self, call: tuple[Any, ...]) -> "Died | Done":
        """Run a call, again if its worker dies, and return its outcome."""
        n_death = n_crash = 0
        while True:
            with self._room.enter(alone=n_death == _MAX_DEATH - 1):
                mine = self._take()
                outcome = mine.run(call, self._limits)
            if not isinstance(outcome, Died):
                self._idle.put(mine)
                return outcome
            self._workers.discard(mine)
            delete_unfinished(self._survey, mine.pid)
            n_death += 1
            n_crash += outcome.numbers.get("signal") not in _FROM_OUTSIDE
            if outcome.kind != DIED or self._stopping:
                return outcome
            if n_crash == _MAX_CRASH or n_death == _MAX_DEATH:
                return Died(DIED, outcome.reason, outcome.numbers | {"n_death": n_death})

    def _take(self) -> "_Worker":
        """Return a worker that waits for work: one that is there and alive, or a new one."""
        while True:
            try:
                mine = self._idle.get_nowait()
            except queue.Empty:
                break
            if mine.is_alive():
                return mine
            self._workers.discard(mine)
        if not self._workers:
            delete_unfinished(self._survey)  # of a run that was killed together with its workers
        n_start = 0
        while True:
            n_start += 1
            mine = _Worker(self._survey)
            self._workers.add(mine)
            if self._stopping:
                mine.end(at_once=True)
            if mine.has_started():
                return mine
            self._workers.discard(mine)
            if self._stopping or mine.bury() not in _FROM_OUTSIDE or n_start == _MAX_START:
                raise DbpipeError(
                    "worker processes cannot start (in a script, put the calls under `if __name__ == '__main__':`)"
                )


class _Worker:
    """A process that takes one call at a time."""

    _starting = threading.Lock()

    def __init__(self, survey: str) -> None:
        context = multiprocessing.get_context("spawn")
        far_leash, self._leash = context.Pipe(duplex=False)
        self._calls, far_calls = context.Pipe()
        self._process = context.Process(target=worker.serve, args=(survey, far_leash, far_calls), daemon=True)
        with self._starting, _apart():
            self._process.start()
        far_leash.close()
        far_calls.close()

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def has_started(self) -> bool:
        try:
            return self._calls.recv() == worker.READY
        except (EOFError, OSError):
            return False

    def run(self, call: tuple[Any, ...], limits: RunConfig) -> "Died | Done":
        """Return the outcome of a call, or `Died`; this worker is no more then."""
        started = time.monotonic()
        try:
            self._calls.send(call)
            while not self._calls.poll(min(_LOOK_EVERY_S, limits.unit_time_limit_s)):
                exceeded = self._exceeded(limits, time.monotonic() - started)
                if exceeded is not None:
                    self.end(at_once=True)
                    return exceeded
            return self._calls.recv()
        except (EOFError, OSError):
            return Died(DIED, "worker died", {"signal": self.bury()})

    def bury(self) -> str:
        """Return the name of the signal that ended the process, or its exit code."""
        self._process.join(_DYING_S)  # it has let go of its connection, which is nearly the last that it does
        exit_code = self._process.exitcode
        self.end(at_once=True)
        with suppress(ValueError, TypeError):
            return signal.Signals(-(exit_code or 0)).name
        return f"exit code {exit_code}"

    def end(self, *, at_once: bool) -> None:
        """End the process; at once: also in the middle of compiled code."""
        if at_once:
            self._process.kill()
        self._leash.close()
        self._process.join()

    def _exceeded(self, limits: RunConfig, wall_s: float) -> Died | None:
        if wall_s > limits.unit_time_limit_s:
            numbers = {"limit_s": limits.unit_time_limit_s, "wall_s": round(wall_s, 3)}
            return Died(TIME_LIMIT, "took longer than a unit may (run.unit_time_limit_s)", numbers)
        resident_mib = _resident_mib(self._process.pid or 0)
        if resident_mib > limits.unit_memory_limit_mib:
            numbers = {"limit_mib": limits.unit_memory_limit_mib, "resident_mib": round(resident_mib)}
            return Died(MEMORY_LIMIT, "needed more memory than a unit may (run.unit_memory_limit_mib)", numbers)
        return None


class _Room:
    """Where calls run: many at a time, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._n_inside = self._n_waiting_alone = 0
        self._is_alone = False

    @contextmanager
    def enter(self, *, alone: bool) -> Iterator[None]:
        with self._changed:
            self._n_waiting_alone += alone
            self._changed.wait_for(lambda: self._has_place(alone))
            self._n_waiting_alone -= alone
            self._n_inside += 1
            self._is_alone = alone
        try:
            yield
        finally:
            with self._changed:
                self._n_inside -= 1
                self._is_alone = False
                self._changed.notify_all()

    def _has_place(self, alone: bool) -> bool:
        return self._n_inside == 0 if alone else not (self._is_alone or self._n_waiting_alone)


def _count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _resident_mib(pid: int) -> float:
    """Return how much memory of its own a process holds; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared = (int(text) for text in file.read().split()[:3])
    except (OSError, ValueError):
        return 0.0
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 2**20


@contextmanager
def _apart() -> Iterator[None]:
    """Start processes with one thread each, so that two do not fight for the cores, and deaf to Ctrl-C from the start.

    The environment and the signal mask of this thread are handed on to them.
    """
    resource_tracker.ensure_running()  # else the first start does it, and clears the mask
    before = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, "1"))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
