"""The two orders in which tables leave: by night, and by tile of the sky (HATS).

by night  <table>/by_night/night=<YYYYMMDD>/<table>.parquet, for what has a time; the night is in the name of the folder
hats      <table>/hats/, a HATS collection: the table in tiles, and beside it what lies just outside of each tile, so
          that a match across the border of a tile finds its other half
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from duckdb import ColumnExpression, ConstantExpression, FunctionExpression, StarExpression

from dbpipe.catalog.sql.dictionary import query_metadata
from dbpipe.catalog.sql.queries import load_named
from dbpipe.publish import hats_metadata
from dbpipe.publish.partitions import ORDER_IN_TIME, Layout
from dbpipe.publish.write import FOOTER_VERSION
from dbpipe.sky import hats_tiles

ORDER_ON_SKY = {
    "dia_source": "_healpix_29, midpoint_mjd_tai, dia_source_id",
    "dia_object": "_healpix_29, dia_object_id",
    "dia_forced_source": "_healpix_29, dia_object_id, midpoint_mjd_tai, detector",
}
NAMES = ("night", "hats")
_ON_SKY = (ColumnExpression("hpx29").alias("_healpix_29"), StarExpression(exclude=["hpx29"]))


@dataclass(frozen=True)
class Files:
    """A layout, and how its parts and what belongs to them become files."""

    layout: Layout
    folder: str
    """Where in the tree."""
    path: Callable[..., Any]
    """Function: part -> path in the folder."""
    finish: Callable[..., Any] | None = None
    """Function of the folder and part -> number of rows, called when all parts are there."""


def plan(connection: duckdb.DuckDBPyConnection, name: str, *, margin_arcsec: float) -> list[Files]:
    """Return the list of `Files` of a layout, of every table that is there and has rows."""
    known = {table for _, table in connection.execute(load_named("catalog", "introspection")["relations"]).fetchall()}
    if name == "night":
        return [_by_night(connection, table) for table in ORDER_IN_TIME if table in known]
    planned = (_on_sky(connection, table, margin_arcsec) for table in ORDER_ON_SKY if table in known)
    return [files for both in planned for files in both]


def _by_night(connection: duckdb.DuckDBPyConnection, table: str) -> Files:
    queries = load_named("export", "tables")
    layout = Layout(
        rows=connection.sql(queries[table]),
        content=queries[f"{table}_content"],
        cell=ColumnExpression("visit"),
        cells=connection.sql(queries["nights"]).to_arrow_table(),
        columns=(StarExpression(exclude=["night"]),),
        order_by=ORDER_IN_TIME[table],
        **_description(connection, queries[table]),
    )
    return Files(layout, f"{table}/by_night", lambda night: f"night={night}/{table}.parquet")


def _on_sky(connection: duckdb.DuckDBPyConnection, table: str, margin_arcsec: float) -> Iterator[Files]:
    """The table itself and its margin; nothing if it has no rows."""
    cell = _pixel(hats_tiles.MAX_ORDER)
    rows = connection.table_function("query_table", [table]).select(cell.alias("cell"))
    counts = rows.aggregate("cell, count(*) AS n", "cell").order("cell").to_arrow_table()
    cells = counts["cell"].to_numpy()
    order, pixel = hats_tiles.split_sky(cells, counts["n"].to_numpy())
    if not len(cells):
        return
    queries = load_named("export", "tables")
    common: dict[str, Any] = {
        "rows": connection.sql(queries[table]),
        "content": queries[f"{table}_content"],
        "columns": _ON_SKY,
        "order_by": ORDER_ON_SKY[table],
        **_description(connection, queries[table]),
    }
    parts = [hats_metadata.part_name(*tile) for tile in zip(order.tolist(), pixel.tolist(), strict=True)]
    finish = partial(hats_metadata.write_catalog, name=table, margin_arcsec=None)
    layout = Layout(cell=cell, cells=pa.table({"cell": cells, "part": parts}), **common)
    yield Files(layout, f"{table}/hats/{table}", hats_metadata.part_path, finish)
    order_of_rims, rims = _rims(np.unique(np.stack([order, pixel], axis=1), axis=0), margin_arcsec)
    finish = partial(hats_metadata.write_catalog, name=table, margin_arcsec=margin_arcsec)
    layout = Layout(cell=_pixel(order_of_rims), cells=rims, **common)
    yield Files(
        layout, f"{table}/hats/{hats_metadata.margin_name(table, margin_arcsec)}", hats_metadata.part_path, finish
    )


def _pixel(order: int) -> Any:
    """The pixel of an order that a row is in."""
    return FunctionExpression(">>", ColumnExpression("hpx29"), ConstantExpression(2 * (hats_tiles.INDEX_ORDER - order)))


def _rims(found: np.ndarray, margin_arcsec: float) -> tuple[int, pa.Table]:
    """Return the order of the pixels of the rims, and which are around which tile."""
    order = hats_tiles.rim_order(margin_arcsec)
    rims = [hats_tiles.find_rim(*tile, at_order=order) for tile in found.tolist()]
    names = [hats_metadata.part_name(*tile) for tile in found.tolist()]
    part = [name for name, rim in zip(names, rims, strict=True) for _ in range(len(rim))]
    return order, pa.table({"cell": np.concatenate(rims), "part": part})


def _description(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    """Metadata of the columns, and what every file depends on besides its rows."""
    relation = connection.sql(query)
    metadata = query_metadata(connection, query, relation.columns)
    if "hpx29" in metadata:
        metadata["_healpix_29"] = metadata["hpx29"]
    types = [str(kind) for kind in relation.types]
    text = json.dumps([relation.columns, types, metadata, FOOTER_VERSION])
    return {"metadata": metadata, "format": hashlib.sha256(text.encode()).hexdigest()[:12]}
