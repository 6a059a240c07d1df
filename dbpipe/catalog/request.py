"""Which raw files ingest is asked for."""

import os

import pyarrow as pa

from dbpipe.catalog.lent import execute_with


def request_ingest(connection, paths):
    """Make the table ``ingest_request`` of this connection: what the work query of ingest reads."""
    states = [os.stat(path) for path in paths]
    request = pa.table(
        {
            "path": pa.array(paths, pa.string()),
            "size_byte": pa.array([state.st_size for state in states], pa.int64()),
            "mtime_ns": pa.array([state.st_mtime_ns for state in states], pa.int64()),
        }
    )
    query = "CREATE OR REPLACE TEMP TABLE ingest_request AS SELECT * FROM requested"
    execute_with(connection, query, {"requested": request})
