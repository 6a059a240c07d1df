"""Where a DIASource comes from, section by section: `sql/reports/explain.sql`; the view is dia_source_provenance."""

import re
from dataclasses import dataclass
from typing import Any

import duckdb

from dbpipe.catalog.sql.queries import load_named
from dbpipe.errors import ConfigError
from dbpipe.ids import unpack_source_id

_TITLE = re.compile(r"^-- *(.*\S)")
_LARGEST_ID = (1 << 63) - 1


@dataclass(frozen=True)
class Section:
    """One part of the explanation."""

    name: str
    title: str
    rows: list[Any]
    """Dictionaries; empty where there is nothing to say, as for a source without object."""


def explain(connection: duckdb.DuckDBPyConnection, dia_source_id: int) -> list[Section]:
    """Return the sections that say where a DIASource comes from.

    Raises
    ------
    ConfigError
        If there is no such source.
    """
    if not 0 <= dia_source_id <= _LARGEST_ID:
        raise ConfigError(f"{dia_source_id} is no id of a DIASource: ids are whole numbers of 63 bits")
    sections = []
    for name, query in load_named("reports", "explain").items():
        table = connection.sql(query, params={"dia_source_id": dia_source_id}).to_arrow_table()
        title = _TITLE.match(query)
        sections.append(Section(name, title[1] if title else name, table.to_pylist()))
        if name == "detection" and not table.num_rows:
            raise ConfigError(_unknown(connection, dia_source_id))
    return sections


def _unknown(connection: duckdb.DuckDBPyConnection, dia_source_id: int) -> str:
    """Say that there is no such source, and what its id would mean."""
    visit, detector, _ = unpack_source_id(dia_source_id)
    ((n_row,),) = connection.execute(
        load_named("catalog", "lookup")["count_of_image"], {"visit": visit, "detector": detector}
    ).fetchall()
    if n_row:
        return f"there is no DIASource {dia_source_id}; visit {visit}, detector {detector} has {n_row} others"
    return f"there is no DIASource {dia_source_id}: dia_source has its visit and detector ({visit}, {detector}) nowhere"
