"""The worker's side of a unit: run the stage, write its files, measure what it cost.

A worker never touches the database. Its directory is the survey, and it dies when the process that started it does.
"""

import json
import math
import numbers
import os
import re
import resource
import signal
import threading
import time
from dataclasses import dataclass, field

from dbpipe.catalog.arrow import to_table
from dbpipe.catalog.files import FOLDER, product_path
from dbpipe.disk.beside import write_beside
from dbpipe.errors import CatalogError, DataError
from dbpipe.stage import Skip


@dataclass(frozen=True)
class Done:
    """What comes back from a worker."""

    status: str
    reason: str | None = None
    numbers: dict = field(default_factory=dict)
    rows: dict = field(default_factory=dict)
    files: tuple = ()
    n_pix: int | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mib: float = 0.0


def initialize(survey, leash):
    """Prepare a fresh worker process.

    Parameters
    ----------
    survey : path
        Becomes the current directory.
    leash : multiprocessing connection
        Its other end is with the parent; when that closes, for whatever reason, this process ends at once.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then lets go of the leash
    threading.Thread(target=_end_with, args=(leash,), daemon=True).start()
    os.chdir(survey)


def _end_with(leash):
    try:
        leash.recv_bytes()
    except EOFError:
        os._exit(1)


def hello():
    """Return the process number: a worker that can say it has started well."""
    return os.getpid()


def work(stage, unit, inputs, config, fingerprint):
    """Run one unit and return `Done`; anything but a DataError is a bug and propagates."""
    started = time.perf_counter(), time.process_time()
    try:
        _check_paths(stage, unit, inputs)
        outputs = stage.run(unit, inputs, config)
        if isinstance(outputs, Skip):
            done = Done("skipped", outputs.reason, plain_numbers(outputs.numbers))
        else:
            rows, files = _write(stage, unit, fingerprint, outputs)
            done = Done("done", rows=rows, files=files, n_pix=None if outputs.n_pix is None else int(outputs.n_pix))
    except DataError as error:
        done = Done("failed", error.message, plain_numbers(error.numbers))
    return Done(
        **{name: getattr(done, name) for name in ("status", "reason", "numbers", "rows", "files", "n_pix")},
        wall_s=time.perf_counter() - started[0],
        cpu_s=time.process_time() - started[1],
        peak_rss_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,
    )


def _check_paths(stage, unit, inputs):
    """Refuse a unit that would read something else than the survey's own files; only raw ones lie anywhere."""
    found = [value for name, value in unit.items() if _is_path(name) and not (stage.reads_raw and name == "path")]
    for table in inputs.values():
        for name in filter(_is_path, table.column_names):
            found += table[name].to_pylist()
    for path in found:
        try:
            product_path(".", path)
        except CatalogError as error:
            raise DataError("the catalogue names a file that is not one of the survey's own", path=path) from error


def _is_path(name):
    return name == "path" or name.endswith("_path")


def _write(stage, unit, fingerprint, outputs):
    """Write the files of a unit and fill their path and hash into the rows of the same name."""
    tables = {name: to_table(rows) for name, rows in outputs.rows.items()}
    files = []
    for product, content in outputs.files.items():
        key = "-".join(re.sub(r"[^\w.+-]", "_", str(unit[name])) for name in stage.key)
        path = f"{FOLDER}/{product}/{product}-{key}-{fingerprint[:8]}.fits"
        sha256, size = write_beside(product_path(".", path), content.write)
        files.append({"path": path, "product": product, "sha256": sha256, "size_byte": size})
        if product not in tables or tables[product].num_rows != 1:
            raise CatalogError(f"{stage.name} made a file {product}, so it must give one row of the table {product}")
        tables[product] = _with_columns(tables[product], path=path, sha256=sha256)
    return tables, tuple(files)


def _with_columns(table, **values):
    for name, value in values.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, [[value]])
    return table


def plain_numbers(values):
    """Return the numbers behind a verdict as JSON can hold them: NaN and infinities become null."""
    return json.loads(json.dumps({name: _plain(value) for name, value in values.items()}))


def _plain(value):
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value) if math.isfinite(value) else None
    return str(value)
