"""Worker processes: spawned, never forked; one BLAS and numba thread each; results in the order of the calls."""

import multiprocessing
import os
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from dbpipe import worker
from dbpipe.errors import DbpipeError

_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_LOOK_AHEAD_PER_WORKER = 3
"""Calls submitted but not yet fetched, per worker: enough to keep it busy, few enough to bound the memory."""


class Died:
    """Stands for the result of a call that killed its worker twice."""


class WorkerPool:
    """Processes that run calls side by side and give the results in order.

    Use it in a ``with`` block. From a script, guard the main part with ``if __name__ == "__main__":`` because each
    worker imports the script.
    """

    def __init__(self, survey, n_worker=None):
        """Prepare a pool for the survey; processes start with the first call, one per core unless told otherwise."""
        self._survey = os.path.abspath(survey)
        self._n_worker = n_worker or _count_cores()
        self._executor = None
        self._leash = None

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None and self._executor is not None:
            self._executor.shutdown(wait=True)
        self._stop()

    def _start(self):
        context = multiprocessing.get_context("spawn")
        far_end, self._leash = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self._n_worker, mp_context=context, initializer=worker.initialize, initargs=(self._survey, far_end)
        )
        error = self._submit((worker.hello,)).exception()
        if error is not None:
            self._stop()
            raise DbpipeError(
                "worker processes cannot start (in a script, put the calls under `if __name__ == '__main__':`)"
            ) from error

    def _stop(self):
        if self._executor is not None:
            self._leash.close()  # idle workers and those in the middle of something end here
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None

    def _submit(self, call):
        if self._executor is None:
            self._start()
        with _one_thread_each():
            return self._executor.submit(*call)

    def run_ordered(self, calls):
        """Yield the results of (function, *arguments) calls in their order.

        Yields
        ------
        (call, outcome)
            The outcome is the result, the exception that the function raised, or `Died`. When a worker dies nobody
            knows whose fault it was, so everything that was under way is run again, alone, one by one.
        """
        calls = iter(calls)
        under_way = deque()  # (call, future); None as future: must run alone
        while True:
            if not any(future is None for _, future in under_way):
                n_free = _LOOK_AHEAD_PER_WORKER * self._n_worker - len(under_way)
                under_way.extend((call, self._try_submit(call)) for _, call in zip(range(n_free), calls, strict=False))
            if not under_way:
                return
            call, future = under_way.popleft()
            if future is not None and _broke(future):
                self._stop()
                future = None
                under_way = deque((c, None if f is None or _broke(f) else f) for c, f in under_way)
            yield call, self._run_alone(call) if future is None else _outcome(future)

    def _try_submit(self, call):
        try:
            return self._submit(call)
        except BrokenProcessPool:  # it broke since the last look
            self._stop()
            return None

    def _run_alone(self, call):
        future = self._submit(call)
        if _broke(future):
            self._stop()
            return Died()
        return _outcome(future)


def _count_cores():
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _broke(future):
    """Wait for a future: did a worker die under it?"""
    return isinstance(future.exception(), BrokenProcessPool)


def _outcome(future):
    error = future.exception()
    return future.result() if error is None else error


@contextmanager
def _one_thread_each():
    """Limit the threads of processes started inside the block; two workers must not fight for the cores."""
    before = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
