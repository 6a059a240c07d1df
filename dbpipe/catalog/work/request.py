"""Which raw files ingest is asked for, where they are, and what becomes of the images in use."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.sql.queries import fetch_table, load_named
from dbpipe.catalog.store.lent import execute_with
from dbpipe.catalog.work.units import forget_verdict

_FUNCTION = "real_path"


def place_of(path: str) -> str:
    """Return the one absolute path of a file: its own name in the folder behind all links.

    The name itself may mean something (a description can read visit and band from it), so a link to a file stays a
    name of its own.
    """
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def request_ingest(connection: duckdb.DuckDBPyConnection, paths: Sequence[str]) -> None:
    """Make the table ``ingest_request`` of this connection: what the work query of ingest reads."""
    states = [_state(path) for path in paths]
    request = pa.table(
        {
            "path": pa.array(paths, pa.string()),
            "size_byte": pa.array([size_byte for size_byte, _ in states], pa.int64()),
            "mtime_ns": pa.array([mtime_ns for _, mtime_ns in states], pa.int64()),
        }
    )
    execute_with(connection, _query("request"), {"requested": request})


def _state(path: str) -> tuple[int, int]:
    """Return size and time of change; zeros for a file that went away meanwhile, which the verdict on it will say."""
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


@contextmanager
def seeing_files(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let queries in the block ask ``real_path(path)``: `place_of` a file, NULL if it is not there."""
    known = load_named("catalog", "introspection")["has_function"]
    if not connection.execute(known, {"name": _FUNCTION}).fetchall():
        settings: dict[str, Any] = {"null_handling": "special", "side_effects": True}
        connection.create_function(_FUNCTION, _find, [duckdb.type("VARCHAR")], duckdb.type("VARCHAR"), **settings)
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # after an error in the middle of a query; it can stay then
            connection.remove_function(_FUNCTION)


def _find(path: str | None) -> str | None:
    return place_of(path) if path is not None and os.path.exists(path) else None


def find_waiting(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Return the files that are to be looked at again though nobody named them, and are there.

    They were refused, or left out, because of another file that has changed or gone since.
    """
    rows = connection.execute(_query("waiting")).fetchall()
    paths = [path for (path,) in rows if os.path.isfile(path)]
    for path in paths:
        connection.execute(_query("retry"), {"path": path})
    return paths


def forget_gone(connection: duckdb.DuckDBPyConnection) -> None:
    """Forget the verdicts on files that were refused, or left out, and that somebody has removed since."""
    for (unit_key,) in connection.execute(_query("gone")).fetchall():
        forget_verdict(connection, "ingest", unit_key)


def remember_images(connection: duckdb.DuckDBPyConnection) -> None:
    """Keep in mind which images are in use now, for `find_changes`."""
    connection.execute(_query("remember_images"))


def find_changes(connection: duckdb.DuckDBPyConnection, run_id: int) -> list[dict[str, Any]]:
    """Return what has become of the images since: dictionaries of path, path_before, change, reason, numbers."""
    return fetch_table(connection, _query("changes"), {"run_id": run_id}).to_pylist()


def count_verdicts(connection: duckdb.DuckDBPyConnection, run_id: int) -> list[tuple[str, str | None, int]]:
    """Return (status, reason, number) of the files that a run of ingest looked at."""
    return connection.execute(_query("verdicts"), {"run_id": run_id}).fetchall()


def count_kinds(connection: duckdb.DuckDBPyConnection, run_id: int) -> dict[str, int]:
    """Return kind of failure -> number of the files that a run of ingest could not take in."""
    return dict(connection.execute(_query("kinds"), {"run_id": run_id}).fetchall())


def forget_unused_visits(connection: duckdb.DuckDBPyConnection) -> None:
    """Forget visits that no image is of any more, as far as nothing on record refers to them."""
    for (visit,) in connection.execute(_query("unused_visits")).fetchall():
        connection.execute(_query("forget_zenith"), {"visit": visit})
        with suppress(duckdb.ConstraintException):  # a template decision of long ago, or what the next run takes back
            connection.execute(_query("forget_visit"), {"visit": visit})


def _query(name: str) -> str:
    return load_named("stages", "ingest")[name]
