"""The links, objects and tracks of now in the place of those before; part of the caller's transaction."""

from collections.abc import Sequence
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.association.sources import LINKED, Change, join_in_time, query, take, to_rows
from dbpipe.catalog.sky_shards import Tiles, tile_of
from dbpipe.catalog.store.arrow import to_table
from dbpipe.catalog.store.lent import execute_with
from dbpipe.ids import NONE
from dbpipe.sky.linking.objects import find_changes, object_rows


def write_sources(tiles: Tiles, change: Change) -> None:
    """Write the links that have changed, in the tiles of their detections."""
    removed, members, after = change.removed, change.members, change.after
    is_old = members["is_old"]
    changed = is_old & np.any([members[name] != after[name] for name in LINKED], axis=0)
    tiles.add(np.unique(tile_of(after["hpx29"])).tolist())
    tiles.execute(query("delete_sources"), to_rows(removed, slice(None)), tile_of(removed["hpx29"]))
    for name, rows in (("relink", changed), ("insert_sources", ~is_old)):
        tiles.execute(query(name), to_rows(after, rows), tile_of(after["hpx29"][rows]))


def write_objects(tiles: Tiles, change: Change) -> None:
    """Replace the objects of before by those of now."""
    members, after = change.members, change.after
    was = [{name: part[name] for name in change.removed} for part in (take(members, members["is_old"]), change.removed)]
    before = join_in_time(*was)
    # the first source of an object is among its sources, and says in which tile the object is kept
    gone = np.flatnonzero(before["dia_source_id"] == before["dia_object_id"])
    table = pa.table({"dia_object_id": before["dia_object_id"][gone]})
    tiles.execute(query("delete_objects"), table, tile_of(before["hpx29"][gone]))
    linked = take(after, after["dia_object_id"] != NONE)
    rows, origin = object_rows(linked, linked["dia_object_id"])
    tiles.execute(query("insert_objects"), to_table(rows), tile_of(linked["hpx29"][origin]))


def write_tracklets(
    connection: duckdb.DuckDBPyConnection, nights: np.ndarray, rows: Sequence[dict[str, float]]
) -> None:
    """Replace the tracks of some nights."""
    if not len(nights):
        return
    execute_with(connection, query("delete_tracklets"), {"affected": pa.table({"night": nights})})
    if rows:
        execute_with(connection, query("insert_tracklets"), {"found": to_table(rows)})


def write_history(connection: duckdb.DuckDBPyConnection, change: Change, run_id: int) -> None:
    """Put on record what became of objects that are no more."""
    removed, members, after = change.removed, change.members, change.after
    is_old = members["is_old"]
    before = np.concatenate([members["dia_object_id"][is_old], removed["dia_object_id"]])
    now = np.concatenate([after["dia_object_id"][is_old], np.full(len(removed["ra"]), NONE)])
    living = after["dia_object_id"][after["dia_object_id"] != NONE]
    changes = find_changes(before, now, living)
    if changes:
        names = ("dia_object_id", "successor_id", "change")
        same = {"run_id": run_id, "changed_at": datetime.now(UTC).replace(tzinfo=None)}
        rows = [dict(zip(names, entry, strict=True)) | same for entry in changes]
        execute_with(connection, query("insert_history"), {"changes": pa.Table.from_pylist(rows)})
