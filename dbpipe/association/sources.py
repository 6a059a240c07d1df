"""Detections as columns: a dictionary of numpy arrays, in which `NONE` stands for an id that is NULL."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.catalog.sql.queries import load_named
from dbpipe.ids import NONE

LINKED = ("dia_object_id", "tracklet_id")
"""What association says of a detection."""


@dataclass(frozen=True)
class Change:
    """What a batch of images changes."""

    removed: dict[str, Any]
    """Linked detections that go, as they were linked."""
    members: dict[str, Any]
    """Detections whose links may change, as they were linked; ``is_old`` says which were."""
    after: dict[str, Any]
    """The same detections, as they are to be linked."""


def query(name: str) -> str:
    """Return a statement of ``sql/stages/associate.sql``."""
    return load_named("stages", "associate")[name]


def no_sources(connection: duckdb.DuckDBPyConnection) -> dict[str, np.ndarray]:
    """Return the columns of no detection."""
    return to_columns(connection.table("association.source").limit(0).to_arrow_table())


def to_columns(table: pa.Table) -> dict[str, np.ndarray]:
    """Return a pyarrow.Table of detections as columns."""
    columns = {name: table[name] for name in table.column_names}
    for name in LINKED:
        columns[name] = columns[name].fill_null(NONE)
    return {name: column.to_numpy() for name, column in columns.items()}


def to_rows(source: Mapping[str, np.ndarray], rows: np.ndarray | slice) -> pa.Table:
    """Return some rows of columns as a pyarrow.Table."""
    table = {name: pa.array(values[rows]) for name, values in source.items() if name not in ("is_old", *LINKED)}
    for name in LINKED:
        values = source[name][rows]
        table[name] = pa.array(values, pa.int64(), mask=values == NONE)
    return pa.table(table)


def take(source: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return some rows of columns."""
    return {name: values[rows] for name, values in source.items()}


def join(*sources: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join columns of detections, one after the other."""
    return {name: np.concatenate([source[name] for source in sources]) for name in sources[0]}


def join_in_time(*sources: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join columns of detections, in the order of time and id."""
    joined = join(*sources)
    return take(joined, np.lexsort((joined["dia_source_id"], joined["midpoint_mjd_tai"])))
