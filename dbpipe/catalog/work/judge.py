"""What the catalog says to the rows of a unit before they go in, by queries of its stage over ``new_<table>``.

look       prepares what the others ask
skip       (reason, numbers) if there is nothing to add
refuse     (reason, numbers) if the rows must not go in
supersede  keys of the units whose place this one takes
rekeyed    visits on record of which something changes that has a foreign key, see `dbpipe.catalog.store.rekey`
rekey_*    statements that change it
follow_*   statements that change other rows on record, when those of the unit are in
retry_*    the same, whatever became of the unit and of those that it supersedes
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.sql.queries import select_parameters
from dbpipe.catalog.store.arrow import check_columns
from dbpipe.catalog.store.lent import lent
from dbpipe.errors import CatalogError

if TYPE_CHECKING:
    from dbpipe.catalog.work.units import Place, Verdict


@contextmanager
def new_rows(connection: duckdb.DuckDBPyConnection, rows: Mapping[str, pa.Table], place: "Place") -> Iterator[None]:
    """Let statements in the block see the rows of a unit, or none, as new_<table>."""
    unknown = set(rows) - set(place.writes) - set(place.inserts)
    if unknown:
        raise CatalogError(f"rows for {', '.join(sorted(unknown))}, which the stage does not declare to write")
    tables = {}
    for table in (*place.inserts, *place.writes):
        if table in rows:
            check_columns(connection, table, rows[table])
            tables[f"new_{table}"] = rows[table]
        elif place.statements:
            tables[f"new_{table}"] = connection.table(table).limit(0).to_arrow_table()
    with lent(connection, tables):
        yield


def judge(connection: duckdb.DuckDBPyConnection, verdict: "Verdict", place: "Place") -> "Verdict":
    """Return the verdict, or what the stage's queries skip and refuse make of it."""
    ask(connection, place, "look")
    for name, status in (("skip", "skipped"), ("refuse", "failed")):
        for reason, numbers in ask(connection, place, name)[:1]:
            numbers = {key: value for key, value in json.loads(numbers or "{}").items() if value is not None}
            return replace(verdict, status=status, reason=reason, numbers=numbers)
    return verdict


def ask(connection: duckdb.DuckDBPyConnection, place: "Place", name: str, **more: Any) -> list[tuple[Any, ...]]:
    """Return the rows that a query of the stage gives; none if it has no such query."""
    query = place.statements.get(name)
    if query is None:
        return []
    return connection.execute(query, select_parameters(query, place.key | more)).fetchall()


def apply(connection: duckdb.DuckDBPyConnection, place: "Place", prefix: str, **more: Any) -> None:
    """Run the stage's statements of a prefix, in their order."""
    for name in place.statements:
        if name.startswith(prefix):
            ask(connection, place, name, **more)
