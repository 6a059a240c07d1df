"""The worker's side of a unit: run the stage, write its files, measure what it cost.

A worker never touches the database. Its directory is the survey, and it dies when the process that started it does.
"""

import fcntl
import json
import math
import numbers
import os
import re
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import pyarrow as pa

from dbpipe.catalog.files import FOLDER, product_path
from dbpipe.catalog.store.arrow import to_table
from dbpipe.disk.beside import write_beside
from dbpipe.errors import CatalogError, DataError
from dbpipe.failures import DATA, clean, failure_of, stops_run
from dbpipe.stage import Skip, Stage


@dataclass(frozen=True)
class Done:
    """What comes back from a worker."""

    status: str
    reason: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)
    files: tuple[Any, ...] = ()
    n_pix: int | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mib: float = 0.0
    kind: str = DATA
    """Kind of a failure, see `dbpipe.failures`."""
    traceback: str | None = None


class CannotWrite(Exception):
    """The survey's disk takes no product, of this unit or another."""


_MAX_KEY = 40
"""Characters of a key in the name of a file: a name has at most 255 bytes, and a band from a header may be long."""
READY = "ready"
"""What a worker says when it has started well."""


def serve(survey: Path, leash: Any, calls: Any) -> None:
    """Answer calls until there are no more.

    Parameters
    ----------
    survey : path
        Becomes the current directory.
    leash : multiprocessing connection
        Its other end is with the parent; when that closes, for whatever reason, this process ends at once.
    calls : multiprocessing connection
        Takes (function, *arguments) and gives what the function returned, or the exception that it raised.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then lets go of the leash
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    if sys.platform == "linux":
        # compiled code may keep every thread waiting: then the signal that the pipe sends when it closes ends us
        fcntl.fcntl(leash.fileno(), fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(leash.fileno(), fcntl.F_SETFL, fcntl.fcntl(leash.fileno(), fcntl.F_GETFL) | os.O_ASYNC)
        with suppress(OSError):  # without memory, the system shall end us and not the parent
            Path("/proc/self/oom_score_adj").write_text("500")
    os.chdir(survey)
    with suppress(EOFError, ConnectionError):  # the parent has closed its end, or is gone
        calls.send(READY)
        while True:
            function, *arguments = calls.recv()
            calls.send_bytes(_answer(function, arguments))


def _end_with(leash: Any) -> None:
    try:
        leash.recv_bytes()
    except EOFError:
        os._exit(1)


def _answer(function: Callable[..., Any], arguments: Any) -> Any:
    """Call and return the pickled result or exception; one that cannot be sent is told in words."""
    try:
        outcome = function(*arguments)
    except Exception as error:
        error.add_note(traceback.format_exc())  # the parent cannot see this side of it
        outcome = error
    try:
        return ForkingPickler.dumps(outcome)
    except Exception as error:
        return ForkingPickler.dumps(RuntimeError(f"{outcome!r:.200} cannot be sent: {error}"))


def settled(done: Done) -> Any:
    """Return what is known already, in its turn among the calls."""
    return done


def failed(error: BaseException) -> Done:
    """Return the `Done` of a unit that met an error."""
    done = Done("failed", **asdict(failure_of(error)))
    return replace(done, numbers=plain_numbers(done.numbers))


def work(stage: Stage, unit: Any, inputs: Mapping[str, pa.Table], config: Any, fingerprint: str) -> Done:
    """Run one unit and return `Done`; what is not of this unit alone (a full disk, wrong settings) propagates."""
    started = time.perf_counter(), time.process_time()
    try:
        _check_paths(stage, unit, inputs)
        done = _made(stage, unit, inputs, config)
        if done.status == "done":
            done = _write(stage, unit, fingerprint, done)
    except CannotWrite as error:
        raise (error.__cause__ or error) from None
    except Exception as error:
        if stops_run(error):
            raise
        done = failed(error)
    return replace(
        done,
        wall_s=time.perf_counter() - started[0],
        cpu_s=time.process_time() - started[1],
        peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    )


def _check_paths(stage: Stage, unit: Any, inputs: Mapping[str, pa.Table]) -> None:
    """Refuse a unit that would read something else than the survey's own files; only raw ones lie anywhere."""
    found = [value for name, value in unit.items() if _is_path(name) and not (stage.reads_raw and name == "path")]
    for table in inputs.values():
        for name in filter(_is_path, table.column_names):
            found += table[name].to_pylist()
    for path in found:
        try:
            product_path(".", path)
        except CatalogError as error:
            raise DataError("the catalog names a file that is not one of the survey's own", path=path) from error


def _is_path(name: str) -> Any:
    return name == "path" or name.endswith("_path")


def _made(stage: Stage, unit: Any, inputs: Mapping[str, pa.Table], config: Any) -> Any:
    """Run the stage; the products of what is done are not written yet."""
    outputs = stage.run(unit, inputs, config)
    if isinstance(outputs, Skip):
        return Done("skipped", clean(outputs.reason), plain_numbers(outputs.numbers))
    tables = {name: to_table(rows) for name, rows in outputs.rows.items()}
    n_pix = None if outputs.n_pix is None else int(outputs.n_pix)
    return Done("done", rows=tables, files=tuple(outputs.files.items()), n_pix=n_pix)


def _write(stage: Stage, unit: Any, fingerprint: str, done: Done) -> Any:
    """Write the products of a unit and fill their path and hash into the rows of the same name."""
    tables, files = dict(done.rows), []
    for product, content in done.files:
        if product not in tables or tables[product].num_rows != 1:
            raise CatalogError(f"{stage.name} made a file {product}, so it must give one row of the table {product}")
        key = "-".join(re.sub(r"[^\w.+-]", "_", str(unit[name])) for name in stage.key)[:_MAX_KEY]
        path = f"{FOLDER}/{product}/{product}-{key}-{fingerprint[:8]}.fits"
        try:
            sha256, size = write_beside(product_path(".", path), content.write)
        except OSError as error:
            raise CannotWrite from error
        files.append({"path": path, "product": product, "sha256": sha256, "size_byte": size})
        tables[product] = _with_columns(tables[product], path=path, sha256=sha256)
    return replace(done, rows=tables, files=tuple(files))


def _with_columns(table: Any, **values: Any) -> Any:
    for name, value in values.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, [[value]])
    return table


def plain_numbers(values: Any) -> Any:
    """Return the numbers behind a verdict as JSON can hold them: NaN and infinities become null."""
    return json.loads(json.dumps({name: _plain(value) for name, value in values.items()}))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {clean(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return clean(value)
