"""What a batch changes: its own detections, and the linked ones of every group that something joins or leaves."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.association.images import image_table, visit_range
from dbpipe.association.sources import join, join_in_time, no_sources, query, take, to_columns
from dbpipe.catalog.sky_shards import TILE_SHIFT, Tiles
from dbpipe.catalog.store.lent import fetch_with
from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.sky.healpix import ORDER, cell_order, with_neighbors
from dbpipe.sky.linking.grouping import connect

if TYPE_CHECKING:
    from dbpipe.association.images import Image

_VAGUE_ARCSEC = 0.3
"""Error of a position that has none."""


def fetch_of_images(tiles: Any, batch: pa.Table) -> dict[str, np.ndarray]:
    """Return the linked detections of some images."""
    registered = {"batch": batch}
    numbers = fetch_with(tiles.connection, query("tiles_of_images"), registered)["tile"].to_pylist()
    return to_columns(tiles.fetch(query("of_images"), numbers, registered=registered))


def fetch_new(connection: duckdb.DuckDBPyConnection, images: "Sequence[Image]") -> dict[str, np.ndarray]:
    """Return the detections to link of some images, whatever they are linked to now."""
    if not images:
        return no_sources(connection)
    values = {"vague_deg": _VAGUE_ARCSEC / ARCSEC_PER_DEG, **visit_range(images)}
    rows = fetch_with(connection, query("sources"), {"batch": image_table(images)}, values)
    nothing = pa.nulls(rows.num_rows, pa.int64())
    return to_columns(rows.append_column("dia_object_id", nothing).append_column("tracklet_id", nothing))


def find_neighborhood(
    tiles: Any,
    batch: pa.Table,
    removed: Mapping[str, np.ndarray],
    new: Mapping[str, np.ndarray],
    *,
    radius_arcsec: float,
) -> dict[str, np.ndarray]:
    """Return all detections of the groups that something joins or leaves.

    Parameters
    ----------
    tiles : Tiles
    batch : pyarrow.Table
        visit, detector of the images that change.
    removed, new : dict of arrays
        Their detections as they were linked, and those to link.
    radius_arcsec : float

    Returns
    -------
    dict of arrays
        In time; ``is_old`` says which were linked before.
    """
    order = cell_order(radius_arcsec)
    shift = 2 * (ORDER - order)
    old = no_sources(tiles.connection)
    changed = np.concatenate([removed["hpx29"], new["hpx29"]]) >> shift
    loaded, wanted = np.zeros(0, np.int64), with_neighbors(changed, order)
    while True:
        old = join(old, _fetch_in_cells(tiles, batch, np.setdiff1d(wanted, loaded), shift))
        loaded = np.union1d(loaded, wanted)
        touched = _touched(radius_arcsec, removed, new, old)
        wanted = with_neighbors(old["hpx29"][touched] >> shift, order)
        if np.isin(wanted, loaded).all():
            break
    old = take(old, touched) | {"is_old": np.ones(touched.sum(), bool)}
    return join_in_time(old, dict(new) | {"is_old": np.zeros(len(new["ra"]), bool)})


def _fetch_in_cells(tiles: Tiles, batch: pa.Table, cells: np.ndarray, shift: int) -> dict[str, np.ndarray]:
    """The linked detections in some cells, without those of the images of the batch."""
    numbers = np.unique(cells >> (TILE_SHIFT - shift)).tolist()
    registered = {"near": pa.table({"cell": cells}), "batch": batch}
    return to_columns(tiles.fetch(query("in_cells"), numbers, registered=registered, parameters={"shift": shift}))


def _touched(
    radius_arcsec: float,
    removed: Mapping[str, np.ndarray],
    new: Mapping[str, np.ndarray],
    old: Mapping[str, np.ndarray],
) -> np.ndarray:
    """Tell which old detections are connected with one that comes or goes."""
    parts = (removed, new, old)
    ra, dec = (np.concatenate([part[name] for part in parts]) for name in ("ra", "dec"))
    group = connect(ra, dec, radius_arcsec=radius_arcsec)
    n_changed = len(removed["ra"]) + len(new["ra"])
    is_touched = np.zeros(len(group), bool)
    is_touched[group[:n_changed]] = True
    return is_touched[group[n_changed:]]
