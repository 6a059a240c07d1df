"""The command line: parse, call, print.

Exit codes: 0 fine, 1 dbpipe says no, 2 wrong usage, 3 units failed (`run --strict`), 75 the survey is busy.
"""

import sys
import traceback

from dbpipe.errors import DbpipeError, DiskError, PathError, SurveyBusy, from_os_error, speaks_of_path

EXIT_BUSY = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""


def main():
    """Run the command line and exit; errors meant for the user are one message, not a traceback."""
    from dbpipe.cli.app import app  # not at the top: worker processes import the script that calls main

    try:
        app()
    except SurveyBusy as error:
        sys.exit(_complain(error, EXIT_BUSY))
    except DbpipeError as error:
        sys.exit(_complain(error, 1))
    except Exception as error:
        known = _disk_error(error)
        if known is None:
            raise
        sys.exit(_complain(known, 1))


def _disk_error(error):
    """Return what to say of a full disk, a catalogue that is damaged, or a path that is wrong; else None."""
    from dbpipe.catalog.connection import first_line, is_disk_failure  # worker processes have no use for DuckDB

    if is_disk_failure(error):
        line = first_line(error)
        known = (
            PathError(line) if speaks_of_path(line) else DiskError(f"the catalogue cannot be read or written: {line}")
        )
    else:
        known = from_os_error(error) if isinstance(error, OSError) else None
    if known is not None:
        known.__cause__ = error
    return known


def _complain(error, code):
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    numbers = ", ".join(f"{name} = {value}" for name, value in getattr(error, "numbers", {}).items())
    print(f"dbpipe: {error}" + (f" ({numbers})" if numbers else ""), file=sys.stderr)
    return code
