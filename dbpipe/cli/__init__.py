"""The command line: parse, call, print. `app` has the commands in the order of the help page.

Exit codes: 0 fine, 1 dbpipe says no, 2 wrong usage, 3 done, but units met an error that nobody foresaw, lost their
worker or ran into a limit (with `--strict` also: but units failed), 70 a bug of dbpipe, 75 the survey is busy,
128 + n stopped by signal n: 130 by Ctrl-C, 143 by SIGTERM.
"""

import os
import signal
import sys
import traceback
from typing import Any

from dbpipe.cli.terminal.stop import Request, listening
from dbpipe.cli.terminal.text import printable_lines
from dbpipe.errors import (
    CatalogError,
    DbpipeError,
    DiskError,
    PathError,
    SurveyBusy,
    from_os_error,
    speaks_of_path,
)
from dbpipe.later import Later

EXIT_BUSY = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""
EXIT_BUG = 70
"""EX_SOFTWARE of sysexits.h."""
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE
run_command = Later("dbpipe.cli.app", "app")
"""What the command line asks for; worker processes import the script that calls `main`, and have no use for it."""


def main() -> None:
    """Run the command line and exit; whatever goes wrong is one message, not a traceback."""
    with listening() as request:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # no text is lost where the terminal knows only ASCII
        try:
            run_command()
            code = 0
        except BaseException as error:
            code = _end(error, request)
        code = _flush(code)
    sys.exit(code)


def _end(error: BaseException, request: Request) -> int:
    """Say how a command ended and return its exit code."""
    if request.number is not None:  # whatever the stop has become on its way, DuckDB makes a RuntimeError of it
        print("dbpipe: stopped; what was committed is kept, run again to resume", file=sys.stderr)
        return 128 + request.number
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, BrokenPipeError):
        return EXIT_BROKEN_PIPE
    if isinstance(error, SurveyBusy):
        return _complain(error, EXIT_BUSY)
    if isinstance(error, DbpipeError):
        return _complain(error, 1)
    known = _disk_error(error) or _catalog_error(error)
    if known is not None:
        return _complain(known, 1)
    text = f"{type(error).__name__}: {error} (a bug of dbpipe, please report it; DBPIPE_DEBUG=1 shows where)"
    return _complain(DbpipeError(text), EXIT_BUG, cause=error)


def _flush(code: int) -> int:
    """Write what is still to be written, as long as somebody reads it, and return the exit code."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = EXIT_BROKEN_PIPE
    except OSError as error:
        code = _complain(DiskError(f"standard output cannot be written: {error}"), 1)
    else:
        return code
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tries again at its end, and talks
    return code


def _disk_error(error: BaseException) -> DiskError | PathError | None:
    """Return what to say of a full disk, a catalog that is damaged, or a path that is wrong; else None."""
    from dbpipe.catalog.store.connection import first_line, is_disk_failure  # worker processes have no use for DuckDB

    known: DiskError | PathError | None
    if is_disk_failure(error):
        line = first_line(error)
        known = PathError(line) if speaks_of_path(line) else DiskError(f"the catalog cannot be read or written: {line}")
    else:
        known = from_os_error(error) if isinstance(error, OSError) else None
    if known is not None:
        known.__cause__ = error
    return known


def _catalog_error(error: BaseException) -> "CatalogError | None":
    """Return what to say of a catalog that refuses what every one that dbpipe made answers; else None."""
    import duckdb

    from dbpipe.catalog.store.connection import first_line

    if not isinstance(error, duckdb.Error):
        return None
    known = CatalogError(f"the catalog is not as dbpipe makes it, or there is a fault in dbpipe: {first_line(error)}")
    known.__cause__ = error
    return known


def _complain(error: Any, code: int, *, cause: Any | None = None) -> int:
    if "--debug" in sys.argv or os.environ.get("DBPIPE_DEBUG"):
        lines = traceback.format_exception(cause or error)
        print(printable_lines("".join(lines).rstrip()), file=sys.stderr)
    numbers = ", ".join(f"{name} = {value}" for name, value in getattr(error, "numbers", {}).items())
    print(printable_lines(f"dbpipe: {error}" + (f" ({numbers})" if numbers else "")), file=sys.stderr)
    return code
