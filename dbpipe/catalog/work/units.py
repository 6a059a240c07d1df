"""Which units of work are due, and what became of them: rows, files and verdict in one transaction."""

import json
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.store.connection import first_line, is_disk_failure, is_of_rows, quote_name, transaction
from dbpipe.catalog.store.lent import execute_with, insert, lent
from dbpipe.catalog.store.rekey import put_back, rekeying
from dbpipe.catalog.store.undisturbed import undisturbed
from dbpipe.catalog.work.judge import apply, ask, judge, new_rows
from dbpipe.errors import CatalogError, DiskError
from dbpipe.failures import DATA, MAX_RUN, TRANSIENT, Failure, failure_of
from dbpipe.ranges import shorten

_OF_FAILURE = ("stage", "unit_key", "fingerprint", "kind", "traceback")


@dataclass(frozen=True)
class Verdict:
    """One row of the table ``unit``."""

    stage: str
    unit_key: str
    fingerprint: str
    stage_version: int
    run_id: int
    status: str
    """done, skipped or failed."""
    reason: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    n_pix: int | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mib: float = 0.0
    kind: str = DATA
    """Kind of a failure, see `dbpipe.failures`; a row of the table ``unit_failure``."""
    traceback: str | None = None

    @property
    def identity(self) -> Any:
        """Stage and unit_key."""
        return {"stage": self.stage, "unit_key": self.unit_key}

    def failed(self, failure: Failure) -> "Verdict":
        """Return the verdict that this unit failed."""
        return replace(self, status="failed", **asdict(failure))


@dataclass(frozen=True)
class Result:
    """What a unit leaves behind besides its verdict."""

    rows: dict[str, Any] = field(default_factory=dict)
    """Table -> pyarrow.Table."""
    files: tuple[Any, ...] = ()
    """Rows of the table ``file``: dictionaries with path, product, sha256, size_byte."""


@dataclass(frozen=True)
class Place:
    """Where the rows of a unit live."""

    key: dict[str, Any]
    """Key column -> value."""
    writes: tuple[str, ...]
    inserts: tuple[str, ...] = ()
    statements: dict[str, Any] = field(default_factory=dict)
    """Named queries of the stage; those of `dbpipe.catalog.work.judge` see the rows of the unit as ``new_<table>``."""


def find_pending(
    connection: duckdb.DuckDBPyConnection, stage: str, offered: pa.Table, *, retry_failed: bool = False
) -> list[int]:
    """Return the ``work_order`` of the units that are due.

    Parameters
    ----------
    offered : pyarrow.Table
        work_order, unit_key, fingerprint of every unit that the work query gives.
    """
    values = {"stage": stage, "retry_failed": retry_failed, "max_run": MAX_RUN}
    return [row[0] for row in _over_offered(connection, "pending", offered, values)]


def find_stale(connection: duckdb.DuckDBPyConnection, stage: str, offered: pa.Table) -> list[Any]:
    """Return the keys of units on record that are no longer offered."""
    return [row[0] for row in _over_offered(connection, "stale", offered, {"stage": stage})]


def _over_offered(
    connection: duckdb.DuckDBPyConnection, name: str, offered: pa.Table, values: Mapping[str, Any]
) -> list[tuple[int]]:
    with lent(connection, {"offered": offered}):
        return connection.execute(_query(name), values).fetchall()


def commit_unit(
    connection: duckdb.DuckDBPyConnection, verdict: Verdict, result: Result, place: Place
) -> tuple[Verdict, list[Any]]:
    """Replace what a unit left behind, in one transaction.

    But where a unit that is done cannot be done again now, and may be later (a disk that is away, say), what it left
    stays. So does its old fingerprint, by which it is due in the next run.

    Returns
    -------
    (Verdict, list of str)
        The verdict as recorded (a query of the stage may have refused the rows), and the files that are garbage
        now and may be deleted.

    Raises
    ------
    CatalogError
        If the rows do not fit the schema. Nothing is changed then.
    """
    is_done = verdict.status == "done"
    made = {file["path"] for file in result.files}
    if verdict.kind == TRANSIENT and connection.execute(_query("is_done"), verdict.identity).fetchall():
        return verdict, sorted(made)
    try:
        with undisturbed(), new_rows(connection, result.rows, place) if is_done else nullcontext():
            verdict = judge(connection, verdict, place) if is_done else verdict
            is_done = verdict.status == "done"
            superseded = _superseded(connection, place) if is_done else []
            keys = [key for (key,) in ask(connection, place, "rekeyed")] if is_done else []
            with rekeying(connection, "visit", keys), transaction(connection):
                if is_done:
                    apply(connection, place, "rekey_")
                    put_back(connection)
                old_files, verdict = _take_back(connection, verdict, place, superseded)
                if is_done:
                    _insert(connection, result, place, verdict)
                    apply(connection, place, "follow_")
                for key in (place.key, *superseded):
                    apply(connection, place, "retry_", **key)
                record_verdicts(connection, [verdict])
    except duckdb.Error as error:
        if is_disk_failure(error):
            text = f"{verdict.stage} {verdict.unit_key} cannot be committed: {first_line(error)}"
            raise DiskError(text) from error
        if is_of_rows(error) and verdict.status == "done":  # a value that no table takes: this unit's, and a bug
            return commit_unit(connection, verdict.failed(failure_of(error)), Result(files=result.files), place)
        raise CatalogError(f"{verdict.stage} {verdict.unit_key}: rows do not fit the catalog: {error}") from error
    return verdict, sorted(old_files - made if is_done else old_files | made)


def _superseded(connection: duckdb.DuckDBPyConnection, place: Place) -> list[Any]:
    return [dict(zip(place.key, key, strict=True)) for key in ask(connection, place, "supersede")]


def _take_back(
    connection: duckdb.DuckDBPyConnection, verdict: Verdict, place: Place, superseded: Sequence[Any]
) -> tuple[set[Any], Verdict]:
    """Take back what a unit, and those that it supersedes, left; returns their files and the verdict.

    A verdict that is not done says how many rows there were.
    """
    old_files, n_row = set(), 0
    for key, unit_key in ((place.key, verdict.unit_key), *((key, format_key(key)) for key in superseded)):
        identity: dict[str, Any] = {"stage": verdict.stage, "unit_key": unit_key}
        old_files |= {row[0] for row in connection.execute(_query("files_of_unit"), identity).fetchall()}
        connection.execute(_query("delete_files"), identity)
        n_row += sum(_delete_rows(connection, table, key) for table in place.writes)
        if unit_key != verdict.unit_key:
            forget_verdict(connection, **identity)
    if n_row and verdict.status != "done":
        verdict = replace(verdict, numbers=verdict.numbers | {"n_row_taken_back": n_row})
    return old_files, verdict


def remove_unit(
    connection: duckdb.DuckDBPyConnection, stage: str, unit_key: str, *, key: Mapping[str, Any], writes: Sequence[str]
) -> list[Any]:
    """Take back everything a unit left behind, in one transaction; returns its files, garbage now."""
    identity = {"stage": stage, "unit_key": unit_key}
    with transaction(connection):
        files = [row[0] for row in connection.execute(_query("files_of_unit"), identity).fetchall()]
        connection.execute(_query("delete_files"), identity)
        for table in writes:
            _delete_rows(connection, table, key)
        forget_verdict(connection, stage, unit_key)
    return files


def format_key(key: Mapping[str, Any]) -> str:
    """Return the text of a unit key, ``visit=1,detector=0``."""
    return ",".join(f"{name}={value}" for name, value in key.items())


def parse_key(text: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the key as a dictionary of text again; only the last value may contain commas.

    Raises
    ------
    CatalogError
        If the text is no key with these names.
    """
    values = text.split(",", len(names) - 1)
    if [value.partition("=")[:2] for value in values] != [(name, "=") for name in names]:
        wanted = ",".join(f"{name}=..." for name in names)
        raise CatalogError(f"the catalog was changed by others: the unit {shorten(text)} is not called {wanted}")
    return {name: value.removeprefix(f"{name}=") for name, value in zip(names, values, strict=True)}


def start_run(
    connection: duckdb.DuckDBPyConnection,
    command: str,
    versions: Mapping[str, str],
    settings: Mapping[str, dict[str, Any]],
) -> int:
    """Open the record of a command and return its run_id."""
    values = {
        "started_at": _now(),
        "command": command,
        "versions": json.dumps(versions),
        "settings": json.dumps(settings),
    }
    return connection.execute(_query("start_run"), values).fetchall()[0][0]


def finish_run(connection: duckdb.DuckDBPyConnection, run_id: int) -> None:
    """Write down when a command ended."""
    connection.execute(_query("finish_run"), {"run_id": run_id, "finished_at": _now()})


def _delete_rows(connection: duckdb.DuckDBPyConnection, table: str, key: Mapping[str, Any]) -> int:
    """Delete the rows of a key, also one read back as text, and return their number; with no key there are none."""
    condition = " AND ".join(f"{quote_name(name)} = cast_to_type(${name}, {quote_name(name)})" for name in key)
    ((n_row,),) = connection.execute(f"DELETE FROM {quote_name(table)} WHERE {condition}", key).fetchall()
    return n_row


def _insert(connection: duckdb.DuckDBPyConnection, result: Result, place: Place, verdict: Verdict) -> None:
    for table in place.inserts:
        if table in result.rows and result.rows[table].num_rows:
            new = quote_name(f"new_{table}")
            connection.execute(f"INSERT INTO {quote_name(table)} BY NAME FROM {new} ON CONFLICT DO NOTHING")
    for table in place.writes:
        if table in result.rows and result.rows[table].num_rows:
            insert(connection, table, result.rows[table])
    if result.files:
        identity = {"stage": verdict.stage, "unit_key": verdict.unit_key}
        rows = pa.Table.from_pylist([{**file, **identity} for file in result.files])
        execute_with(connection, _query("insert_files"), {"new_file": rows})


def record_verdicts(connection: duckdb.DuckDBPyConnection, verdicts: Sequence[Verdict]) -> None:
    """Write down verdicts, part of the caller's transaction."""
    now, rows = _now(), [asdict(verdict) for verdict in verdicts]
    failures = [{name: row[name] for name in _OF_FAILURE} for row in rows if row["status"] == "failed"]
    for row in rows:
        row |= {"finished_at": now, "numbers": json.dumps(row["numbers"]) if row["numbers"] else None}
        del row["kind"], row["traceback"]
    new_unit = {"new_unit": pa.Table.from_pylist(rows)}
    if failures:
        execute_with(connection, _query("record_failures"), {"new_failure": pa.Table.from_pylist(failures)})
    execute_with(connection, _query("forget_failures"), new_unit)
    execute_with(connection, _query("record"), new_unit)


def forget_verdict(connection: duckdb.DuckDBPyConnection, stage: str, unit_key: str) -> None:
    """Take back the verdict on a unit, part of the caller's transaction."""
    for name in ("forget", "forget_failure"):
        connection.execute(_query(name), {"stage": stage, "unit_key": unit_key})


def _query(name: str) -> str:
    return load_named("catalog", "unit")[name]


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
