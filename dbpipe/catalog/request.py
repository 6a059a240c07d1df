"""Which raw files ingest is asked for."""

import os

import pyarrow as pa

from dbpipe.catalog.lent import execute_with


def request_ingest(connection, paths):
    """Make the table ``ingest_request`` of this connection: what the work query of ingest reads."""
    states = [_state(path) for path in paths]
    request = pa.table(
        {
            "path": pa.array(paths, pa.string()),
            "size_byte": pa.array([size_byte for size_byte, _ in states], pa.int64()),
            "mtime_ns": pa.array([mtime_ns for _, mtime_ns in states], pa.int64()),
        }
    )
    query = "CREATE OR REPLACE TEMP TABLE ingest_request AS SELECT * FROM requested"
    execute_with(connection, query, {"requested": request})


def _state(path):
    """Return size and time of change; zeros for a file that went away meanwhile, which the verdict on it will say."""
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns
