"""The DIASources of one object, read from the few places where they can be: a table of billions is left alone."""

from typing import Any

import duckdb
from duckdb import ColumnExpression, ConstantExpression

from dbpipe.catalog.sky_shards import TILE_ORDER, Tiles
from dbpipe.catalog.sql.queries import fetch_table, load_named
from dbpipe.catalog.store.arrow import for_pandas
from dbpipe.errors import ConfigError
from dbpipe.ids import unpack_source_id
from dbpipe.sky.healpix import ORDER, cell_order, with_neighbors

_REACH_ARCSEC = 120.0
"""Farther than any two sources of an object are from each other."""


def find_detections(connection: duckdb.DuckDBPyConnection, dia_object_id: Any) -> Any:
    """Return positions and fluxes of the DIASources of an object, in time, a pyarrow.Table.

    Raises
    ------
    ConfigError
        If there is no such object.
    """
    near = tiles_around(connection, dia_object_id)
    linked = Tiles(connection).fetch(_query("linked"), near, parameters={"dia_object_id": dia_object_id})
    numbers = linked["dia_source_id"].to_pylist()
    if not numbers:
        raise ConfigError(f"there is no object {dia_object_id} (a former id? resolve_object says what became of it)")
    # each as a constant of its own: of a list, or a table, DuckDB looks at smallest and largest only
    wanted = ColumnExpression("dia_source_id").isin(*map(ConstantExpression, numbers))
    found = connection.sql(_query("detections")).filter(wanted)
    return for_pandas(found.order("midpoint_mjd_tai, dia_source_id").to_arrow_table())


def tiles_around(connection: duckdb.DuckDBPyConnection, dia_object_id: Any) -> Any:
    """Return the tiles in which the sources of an object can be; its id is that of the first of them."""
    visit, detector, _ = unpack_source_id(dia_object_id)
    values = {"dia_source_id": dia_object_id, "visit": visit, "detector": detector}
    place = fetch_table(connection, _query("place"), values)["hpx29"].to_pylist()
    order = cell_order(_REACH_ARCSEC)
    cells = with_neighbors([number >> 2 * (ORDER - order) for number in place], order)
    return sorted({int(cell) >> 2 * (order - TILE_ORDER) for cell in cells})


def _query(name: str) -> Any:
    return load_named("catalog", "lookup")[name]
