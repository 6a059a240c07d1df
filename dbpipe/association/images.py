"""Which images are to be linked, and what became of them."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.association.contract import ASSOCIATE, AssociateConfig
from dbpipe.association.sources import query
from dbpipe.catalog.sky_shards import tile_of
from dbpipe.catalog.sql.queries import fetch_table
from dbpipe.catalog.store.connection import transaction
from dbpipe.catalog.store.lent import execute_with, fetch_with
from dbpipe.catalog.work import units
from dbpipe.catalog.work.offer import Options, find_where
from dbpipe.catalog.work.units import Verdict
from dbpipe.declared import flatten
from dbpipe.failures import Failure


@dataclass(frozen=True)
class Image:
    """A detector image whose detections are to be linked, or taken out (then without fingerprint)."""

    visit: int
    detector: int
    unit_key: str
    fingerprint: str | None
    detect_fingerprint: str | None = None


def is_due(connection: duckdb.DuckDBPyConnection, config: AssociateConfig, options: Options) -> bool:
    """Return whether a run has images to link or to take out."""
    return any(find_due(connection, config, options.where, retry_failed=options.retry_failed))


def count_due(connection: duckdb.DuckDBPyConnection, config: AssociateConfig) -> int:
    """Return how many images have detections that are not linked yet."""
    return len(find_due(connection, config)[1])


def find_due(
    connection: duckdb.DuckDBPyConnection,
    config: AssociateConfig,
    where: Any | None = None,
    *,
    retry_failed: bool = False,
) -> tuple[list[Image], list[Image]]:
    """Return the images to take out and those to link, two lists."""
    settings = json.dumps([ASSOCIATE.version, flatten(config)], sort_keys=True)
    rows = fetch_table(connection, query("due"), {"settings": settings, "retry_failed": retry_failed})
    chosen = find_where(connection, rows, where) if where is not None else None
    due = [
        Image(*(row[name] for name in ("visit", "detector", "unit_key", "fingerprint", "detect_fingerprint")))
        for number, row in enumerate(rows.to_pylist())
        if chosen is None or number in chosen
    ]
    stale = fetch_table(connection, query("stale"), {}).to_pylist() if where is None else []
    return [Image(row["visit"], row["detector"], row["unit_key"], None) for row in stale], due


def count_sources(connection: duckdb.DuckDBPyConnection, images: Sequence[Image]) -> list[int]:
    """Return how many detections each image has to link."""
    if not images:
        return []
    batch = {"batch": image_table(images)}
    counts = fetch_with(connection, query("count_sources"), batch, visit_range(images)).to_pylist()
    known = {(row["visit"], row["detector"]): row["n_source"] for row in counts}
    return [known.get((image.visit, image.detector), 0) for image in images]


def image_table(images: Sequence[Image]) -> pa.Table:
    """Return visit and detector of some images as a pyarrow.Table."""
    return pa.table(
        {
            "visit": pa.array([image.visit for image in images], pa.int64()),
            "detector": pa.array([image.detector for image in images], pa.int32()),
        }
    )


def visit_range(images: Sequence[Image]) -> dict[str, int]:
    """The range of visits: visits come in the order of their time, so that most of a large table is left unread."""
    visits = [image.visit for image in images]
    return {"first_visit": min(visits), "last_visit": max(visits)}


def record(
    connection: duckdb.DuckDBPyConnection,
    images: Sequence[Image],
    new: Mapping[str, np.ndarray],
    *,
    run_id: int,
    started: tuple[float, float],
) -> list[Verdict]:
    """Write down which images are linked, and the verdicts on them; forget those that were taken out."""
    execute_with(connection, query("forget_images"), {"batch": image_table(images)}, visit_range(images))
    for image in images:
        if image.fingerprint is None:
            units.forget_verdict(connection, "associate", image.unit_key)
    kept = [image for image in images if image.fingerprint]
    if not kept:
        return []
    linked = pa.Table.from_pylist([_linked_row(image, new) for image in kept])
    execute_with(connection, query("remember_images"), {"linked": linked})
    wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
    spent: dict[str, Any] = {"wall_s": wall_s / len(kept), "cpu_s": cpu_s / len(kept)}
    verdicts = [
        units.Verdict("associate", image.unit_key, image.fingerprint or "", ASSOCIATE.version, run_id, "done", **spent)
        for image in kept
    ]
    units.record_verdicts(connection, verdicts)
    return verdicts


def record_failure(connection: duckdb.DuckDBPyConnection, image: Image, failure: Failure, *, run_id: int) -> Verdict:
    """Write down why an image could not be linked and return the verdict."""
    of_unit = ("associate", image.unit_key, image.fingerprint or "", ASSOCIATE.version, run_id)
    verdict = units.Verdict(*of_unit, "failed").failed(failure)
    with transaction(connection):
        units.record_verdicts(connection, [verdict])
    return verdict


def _linked_row(image: Image, new: Mapping[str, np.ndarray]) -> dict[str, Any]:
    mine = (new["visit"] == image.visit) & (new["detector"] == image.detector)
    return {
        "visit": image.visit,
        "detector": image.detector,
        "tiles": np.unique(tile_of(new["hpx29"][mine])).astype(np.int32).tolist(),
        "n_source": int(mine.sum()),
        "detect_fingerprint": image.detect_fingerprint,
    }
