"""Which units of work are due, and what became of them: rows, files and verdict in one transaction."""

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from dbpipe.catalog.arrow import check_columns
from dbpipe.catalog.connection import first_line, is_disk_failure, is_of_rows, transaction
from dbpipe.catalog.failures import DATA, MAX_RUN, failure_of
from dbpipe.catalog.lent import execute_with, lent
from dbpipe.catalog.queries import load_named, select_parameters
from dbpipe.errors import CatalogError, DiskError

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
    numbers: dict = field(default_factory=dict)
    n_pix: int | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mib: float = 0.0
    kind: str = DATA
    """Kind of a failure, see `dbpipe.catalog.failures`; a row of the table ``unit_failure``."""
    traceback: str | None = None

    def failed(self, failure):
        """Return the verdict that this unit failed."""
        return replace(self, status="failed", **asdict(failure))


@dataclass(frozen=True)
class Result:
    """What a unit leaves behind besides its verdict."""

    rows: dict = field(default_factory=dict)
    """Table -> pyarrow.Table."""
    files: tuple = ()
    """Rows of the table ``file``: dictionaries with path, product, sha256, size_byte."""


@dataclass(frozen=True)
class Place:
    """Where the rows of a unit live."""

    key: dict
    """Key column -> value."""
    writes: tuple[str, ...]
    inserts: tuple[str, ...] = ()
    refuse: str | None = None
    """Query over ``new_<table>`` that gives (reason, numbers) if the rows must not go in."""


def find_pending(connection, stage, offered, *, retry_failed=False):
    """Return the ``work_order`` of the units that are due.

    Parameters
    ----------
    offered : pyarrow.Table
        work_order, unit_key, fingerprint of every unit that the work query gives.
    """
    values = {"stage": stage, "retry_failed": retry_failed, "max_run": MAX_RUN}
    return [row[0] for row in _over_offered(connection, "pending", offered, values)]


def find_stale(connection, stage, offered):
    """Return the keys of units on record that are no longer offered."""
    return [row[0] for row in _over_offered(connection, "stale", offered, {"stage": stage})]


def _over_offered(connection, name, offered, values):
    with lent(connection, {"offered": offered}):
        return connection.execute(_query(name), values).fetchall()


def commit_unit(connection, verdict, result, place):
    """Replace what a unit left behind, in one transaction.

    Returns
    -------
    (Verdict, list of str)
        The verdict as recorded (the refuse query may have turned it into a failure), and the files that are garbage
        now and may be deleted.

    Raises
    ------
    CatalogError
        If the rows do not fit the schema. Nothing is changed then.
    """
    identity = {"stage": verdict.stage, "unit_key": verdict.unit_key}
    registered = []
    try:
        with transaction(connection):
            old_files = [row[0] for row in connection.execute(_query("files_of_unit"), identity).fetchall()]
            connection.execute(_query("delete_files"), identity)
            for table in place.writes:
                _delete_rows(connection, table, place.key)
            if verdict.status == "done":
                registered = _register(connection, result.rows, place)
                verdict = _refused(connection, verdict, place)
            if verdict.status == "done":
                _insert(connection, result.rows, place)
                _insert_files(connection, result.files, identity)
            record_verdicts(connection, [verdict])
    except duckdb.Error as error:
        if is_disk_failure(error):
            text = f"{verdict.stage} {verdict.unit_key} cannot be committed: {first_line(error)}"
            raise DiskError(text) from error
        if is_of_rows(error) and verdict.status == "done":  # a value that no table takes: this unit's, and a bug
            return commit_unit(connection, verdict.failed(failure_of(error)), Result(files=result.files), place)
        raise CatalogError(f"{verdict.stage} {verdict.unit_key}: rows do not fit the catalogue: {error}") from error
    finally:
        for name in registered:
            connection.unregister(name)
    kept = {file["path"] for file in result.files} if verdict.status == "done" else set()
    made = {file["path"] for file in result.files}
    return verdict, sorted((set(old_files) | made) - kept)


def remove_unit(connection, stage, unit_key, *, key, writes):
    """Take back everything a unit left behind, in one transaction; returns its files, garbage now."""
    identity = {"stage": stage, "unit_key": unit_key}
    with transaction(connection):
        files = [row[0] for row in connection.execute(_query("files_of_unit"), identity).fetchall()]
        connection.execute(_query("delete_files"), identity)
        for table in writes:
            _delete_rows(connection, table, key)
        forget_verdict(connection, stage, unit_key)
    return files


def format_key(key):
    """Return the text of a unit key, ``visit=1,detector=0``."""
    return ",".join(f"{name}={value}" for name, value in key.items())


def parse_key(text, names):
    """Return the key as a dictionary of text again; only the last value may contain commas."""
    values = text.split(",", len(names) - 1)
    return {name: value.removeprefix(f"{name}=") for name, value in zip(names, values, strict=True)}


def find_reasons(connection, run_id):
    """Return (stage, status, reason, number of units, an example) of everything that a run did not do."""
    return connection.execute(load_named("reports", "status")["reasons_of_run"], {"run_id": run_id}).fetchall()


def start_run(connection, command, versions, settings):
    """Open the record of a command and return its run_id."""
    values = {
        "started_at": _now(),
        "command": command,
        "versions": json.dumps(versions),
        "settings": json.dumps(settings),
    }
    return connection.execute(_query("start_run"), values).fetchall()[0][0]


def finish_run(connection, run_id):
    """Write down when a command ended."""
    connection.execute(_query("finish_run"), {"run_id": run_id, "finished_at": _now()})


def _delete_rows(connection, table, key):
    condition = " AND ".join(f"{name} = cast_to_type(${name}, {name})" for name in key)  # a key read back is text
    connection.execute(f"DELETE FROM {table} WHERE {condition}", key)


def _register(connection, rows, place):
    """Make the new rows visible to the refuse query as new_<table>."""
    unknown = set(rows) - set(place.writes) - set(place.inserts)
    if unknown:
        raise CatalogError(f"rows for {', '.join(sorted(unknown))}, which the stage does not declare to write")
    names = []
    for table in (*place.inserts, *place.writes):
        if table in rows:
            check_columns(connection, table, rows[table])
            connection.register(f"new_{table}", rows[table])
        elif place.refuse:
            connection.register(f"new_{table}", connection.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table())
        else:
            continue
        names.append(f"new_{table}")
    return names


def _refused(connection, verdict, place):
    """Return the verdict, or the failure that the stage's refuse query pronounces."""
    if place.refuse is None:
        return verdict
    rows = connection.execute(place.refuse, select_parameters(place.refuse, place.key)).fetchall()
    if not rows:
        return verdict
    reason, numbers = rows[0]
    return replace(verdict, status="failed", reason=reason, numbers=json.loads(numbers) if numbers else {})


def _insert(connection, rows, place):
    for table in place.inserts:
        if table in rows and rows[table].num_rows:
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM new_{table} ON CONFLICT DO NOTHING")
    for table in place.writes:
        if table in rows and rows[table].num_rows:
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM new_{table}")


def _insert_files(connection, files, identity):
    if files:
        rows = pa.Table.from_pylist([{**file, **identity} for file in files])
        execute_with(connection, _query("insert_files"), {"new_file": rows})


def record_verdicts(connection, verdicts):
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


def forget_verdict(connection, stage, unit_key):
    """Take back the verdict on a unit, part of the caller's transaction."""
    for name in ("forget", "forget_failure"):
        connection.execute(_query(name), {"stage": stage, "unit_key": unit_key})


def _query(name):
    return load_named("catalog", "unit")[name]


def _now():
    return datetime.now(UTC).replace(tzinfo=None)
