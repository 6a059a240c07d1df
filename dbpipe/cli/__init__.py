"""The command line: parse, call, print.

Exit codes: 0 fine, 1 dbpipe says no, 2 wrong usage, 3 units failed (`run --strict`), 75 the survey is busy.
"""

import errno
import sys
import traceback

from dbpipe.errors import DbpipeError, DiskError, SurveyBusy

EXIT_BUSY = 75
"""EX_TEMPFAIL of sysexits.h: try again later."""

_DISK_ERRNO = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


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
        known = _disk_error(error) or _catalog_error(error)
        if known is None:
            raise
        sys.exit(_complain(known, 1))


def _disk_error(error):
    """Return what to say of a disk that is full or read-only, or of a catalogue that is damaged; else None."""
    from dbpipe.catalog.connection import first_line, is_disk_failure  # worker processes have no use for DuckDB

    if is_disk_failure(error):
        known = DiskError(f"the catalogue cannot be read or written: {first_line(error)}")
    elif isinstance(error, OSError) and error.errno in _DISK_ERRNO:
        known = DiskError(str(error))
    else:
        return None
    known.__cause__ = error
    return known


def _catalog_error(error):
    """Return what to say of a catalogue that refuses what every one that dbpipe made answers; else None."""
    import duckdb

    from dbpipe.catalog.connection import first_line
    from dbpipe.errors import CatalogError

    if not isinstance(error, duckdb.Error):
        return None
    known = CatalogError(f"the catalogue is not as dbpipe makes it, or there is a fault in dbpipe: {first_line(error)}")
    known.__cause__ = error
    return known


def _complain(error, code):
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    numbers = ", ".join(f"{name} = {value}" for name, value in getattr(error, "numbers", {}).items())
    print(f"dbpipe: {error}" + (f" ({numbers})" if numbers else ""), file=sys.stderr)
    return code
