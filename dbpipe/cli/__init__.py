"""The command line: parse, call, print.

Exit codes: 0 fine, 1 dbpipe says no, 2 wrong usage, 3 units failed (`run --strict`), 75 the survey is busy.
"""

import sys
import traceback

from dbpipe.errors import DbpipeError, SurveyBusy

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


def _complain(error, code):
    if "--debug" in sys.argv:
        traceback.print_exception(error)
    numbers = ", ".join(f"{name} = {value}" for name, value in getattr(error, "numbers", {}).items())
    print(f"dbpipe: {error}" + (f" ({numbers})" if numbers else ""), file=sys.stderr)
    return code
