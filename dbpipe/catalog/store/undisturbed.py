"""Work that a request to stop waits for.

While DuckDB looks at a table that Python holds, Python may hear a signal, and DuckDB makes an error of its own of what
the handler raises: one that looks as if the rows were wrong. A unit would be on record as failed, and the run go on.
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_N_AT_ONCE = 3
"""So many requests end the process at once: what is not committed never was."""

_under_way = threading.Event()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals that ask to stop wait until the end of the block; a block within another one adds nothing."""
    if _under_way.is_set() or threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def note(number: int, _frame: Any) -> None:
        asked.append(number)
        if len(asked) >= _N_AT_ONCE:
            os._exit(128 + number)

    known = {number: signal.getsignal(number) for number in _SIGNALS}
    handlers = {int(number): handler for number, handler in known.items() if callable(handler)}
    _under_way.set()
    for number in handlers:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        _under_way.clear()
        if asked:
            handlers[asked[0]](asked[0], None)
