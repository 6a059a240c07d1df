"""What a stage has to do: its work query, the fingerprint of every unit, and which of them are due."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.sql import queries
from dbpipe.catalog.sql.errors import explain_refusal, lacks_column
from dbpipe.catalog.sql.questions import check_condition
from dbpipe.catalog.store.arrow import running_numbers, texts
from dbpipe.catalog.store.connection import only_reading, quote_name
from dbpipe.catalog.work import units
from dbpipe.declared import flatten
from dbpipe.errors import CatalogError, ConfigError
from dbpipe.stage import Stage


@dataclass(frozen=True)
class Options:
    """How a stage is run."""

    where: str | None = None
    """SQL condition on the work rows; units outside stay as they are."""
    retry_failed: bool = False
    """Try again what failed before although nothing has changed."""
    remove_stale: bool = True
    """Take back units that the work query does not offer any more."""
    parameters: dict[str, Any] = field(default_factory=dict)
    """$parameters of the work query."""


@dataclass(frozen=True)
class Task:
    """A unit of work that is due."""

    unit: dict[str, Any]
    unit_key: str
    fingerprint: str


@dataclass(frozen=True)
class Offer:
    """Every unit that a stage's work query gives, and those that are due, in work order."""

    units: pa.Table
    due: list[Any]


def offer_work(
    connection: duckdb.DuckDBPyConnection,
    stage: Stage,
    config: Any,
    *,
    options: Options | None = None,
    statements: Mapping[str, str] | None = None,
) -> Offer:
    """Ask the database what a stage has to do.

    Returns
    -------
    Offer

    Raises
    ------
    CatalogError
        If the work query is wrong, or gives a key twice.
    """
    options = options or Options()
    statements = statements or stage_queries(stage)
    rows = fetch_work(connection, statements["work"], options.parameters)
    settings = flatten(config)
    tasks = [_task(stage, row, settings) for row in rows.to_pylist()]
    twice = [key for key, n in Counter(task.unit_key for task in tasks).items() if n > 1]
    if twice:
        raise CatalogError(f"the work query of {stage.name} gives {twice[0]} more than once")
    offered = pa.table(
        {
            "work_order": running_numbers(len(tasks)),
            "unit_key": texts([task.unit_key for task in tasks]),
            "fingerprint": texts([task.fingerprint for task in tasks]),
        }
    )
    due = units.find_pending(connection, stage.name, offered, retry_failed=options.retry_failed)
    if options.where is not None:
        chosen = find_where(connection, rows, options.where)
        due = [number for number in due if chosen is None or number in chosen]
    return Offer(offered, [tasks[number] for number in due])


def stage_queries(stage: Stage) -> dict[str, str]:
    """Return the named queries of a stage's SQL file, and those of other files that its inputs name."""
    found = dict(queries.load_named("stages", stage.name))
    for name in stage.inputs:
        other, dot, query_name = name.partition(".")
        if dot:
            found[name] = queries.load_named("stages", other)[query_name]
            if query_name == "work":
                found[name] = _one_row(found[name], stage.key)
    return found


def _one_row(work: str, key: tuple[str, ...]) -> str:
    """Narrow a work query to the unit of a key."""
    return f"SELECT * FROM (\n{work}\n) WHERE " + " AND ".join(f"{quote_name(name)} = ${name}" for name in key)


def fetch_work(connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, str]) -> pa.Table:
    """Return the rows of a work query as a pyarrow.Table."""
    try:
        return queries.fetch_table(connection, query, parameters)
    except duckdb.Error as error:
        raise CatalogError(f"a work query failed: {error}") from error


def _task(stage: Stage, row: Mapping[str, Any], settings: Mapping[str, Any]) -> Task:
    row = {name: _plain(value) for name, value in row.items()}
    missing = [name for name in stage.key if not isinstance(row.get(name), int | str)]
    if missing:
        raise CatalogError(f"the work query of {stage.name} gives no whole number or text for its key {missing[0]}")
    made_from = {name: value for name, value in row.items() if name not in stage.address}
    whole = {"row": made_from, "config": settings, "version": stage.version}
    text = json.dumps(whole, sort_keys=True, separators=(",", ":"), default=str)
    key = units.format_key({name: row[name] for name in stage.key})
    return Task(row, key, hashlib.sha256(text.encode()).hexdigest())


def _plain(value: Any | None) -> float | str | None:
    """DuckDB's 128-bit sums come as Decimal; a stage gets int or float."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value


def find_where(connection: duckdb.DuckDBPyConnection, rows: pa.Table, condition: str) -> set[Any] | None:
    """Return the numbers of the work rows that meet the condition; None if they lack its columns."""
    check_condition(connection, condition)
    numbered = rows.append_column("work_order", running_numbers(rows.num_rows))
    try:
        with only_reading(connection):
            found = connection.from_arrow(numbered).set_alias("work_row").filter(condition)
            return {n for (n,) in found.select("work_order").fetchall()}
    except duckdb.Error as error:
        if lacks_column(error):
            return None
        raise ConfigError(f"the condition {condition!r}: {explain_refusal(connection, condition, error)}") from error
