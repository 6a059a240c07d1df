"""A reader that asks a survey again and again while others write: python reader.py SURVEY, until its input is closed.

Prints one JSON line: how often it asked, and everything that was wrong.
"""

import json
import sys
import threading

import dbpipe

QUERY = "SELECT count(*), coalesce(max(visit), 0), (SELECT count(*) FROM dia_source) FROM visit"
PER_VISIT = 10
"""DIASources that the test gives each visit, in another transaction."""


def read(root, stop):
    """Ask until told to stop and return (number of answers, number that were snapshots of a busy survey, faults)."""
    n_read, n_busy, faults, before = 0, 0, [], 0
    while not stop.is_set():
        try:
            with dbpipe.open(root) as survey:
                ((n_visit, last, n_source),) = survey.sql(QUERY).fetchall()
                n_busy += survey.busy is not None
        except Exception as error:  # whatever it is, the test wants to know
            faults.append(f"{type(error).__name__}: {error}")
            continue
        if n_source != PER_VISIT * n_visit or last != n_visit or n_visit < before:
            faults.append(f"{n_visit} visits up to {last}, {n_source} sources after {before}")
        n_read, before = n_read + 1, n_visit
    return n_read, n_busy, faults


if __name__ == "__main__":
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    dbpipe.open(sys.argv[1]).close()  # imports everything, which takes a while
    print("reading", flush=True)
    print(json.dumps(dict(zip(("n_read", "n_busy", "faults"), read(sys.argv[1], stop), strict=True))))
