"""Stopping on request: Ctrl-C, SIGTERM and a terminal that closes end any command in one line, whatever it is doing."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_N_AT_ONCE = 3
"""So many requests end the process without clearing up; locks and workers go with it."""

_AGAIN_S = 0.01
"""Until then Python has left the destructor that swallowed a request."""


class Stopped(BaseException):
    """A signal asked to stop; what is under way clears up behind it."""


class Request:
    """Whether somebody asked to stop, and by which signal."""

    number = None
    n_asked = 0

    def take(self, number: int, _frame: Any = None) -> None:
        """Raise `Stopped` the first time; clearing up is not to be disturbed."""
        self.n_asked += 1
        if self.n_asked >= _N_AT_ONCE:
            os._exit(128 + number)
        if self.number is None:
            self.number = number
            raise Stopped(number)

    def take_again(self, unraisable: Any) -> None:
        """Ask once more after a `Stopped` that Python could not pass on, from a destructor for instance."""
        if unraisable.exc_type is not Stopped:
            sys.__unraisablehook__(unraisable)
        elif self.number is not None:
            number, self.number = self.number, None
            self.n_asked -= 1
            threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)).start()


@contextmanager
def listening() -> Iterator[Request]:
    """Give a `Request`, and let signals raise `Stopped` within the block; those that are ignored stay so (nohup)."""
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]
    hook, sys.unraisablehook = sys.unraisablehook, request.take_again
    for number in heard:
        signal.signal(number, request.take)
    try:
        yield request
    finally:
        sys.unraisablehook = hook
        for number in heard:
            signal.signal(number, before[number])


@atexit.register
def _be_deaf() -> None:
    """Nothing is left to stop when Python ends, and a signal would only make it talk."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
