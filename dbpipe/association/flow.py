"""The flow: what is due goes in batches, each of them in one transaction."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np

from dbpipe.association.contract import AssociateConfig
from dbpipe.association.images import count_sources, find_due, image_table, record, record_failure
from dbpipe.association.neighborhood import fetch_new, fetch_of_images, find_neighborhood
from dbpipe.association.sources import Change, no_sources
from dbpipe.association.tracks import find_tracks, nights_to_search
from dbpipe.association.write import write_history, write_objects, write_sources, write_tracklets
from dbpipe.catalog.sky_shards import Tiles
from dbpipe.catalog.store.connection import is_disk_failure, transaction
from dbpipe.catalog.work.offer import Options
from dbpipe.catalog.work.units import Verdict
from dbpipe.failures import failure_of, stops_run
from dbpipe.ids import NONE
from dbpipe.sky.linking.objects import link

if TYPE_CHECKING:
    from dbpipe.association.images import Image

if TYPE_CHECKING:
    from dbpipe.association.images import Image

BATCH_SOURCES = 200_000
"""Detections that are linked in one transaction; a run that is killed loses at most that."""


def associate(
    connection: duckdb.DuckDBPyConnection, config: AssociateConfig, *, run_id: int, options: Options, report: Any
) -> tuple[list[Verdict], int]:
    """Link every detection that is new or has changed.

    Parameters
    ----------
    connection : duckdb connection
        The only writer of the survey.
    config : AssociateConfig
    run_id : int
    options : dbpipe.catalog.work.offer.Options
        Its condition is on visit, detector, band, night.
    report : dbpipe.runner.report.Report

    Returns
    -------
    (list of dbpipe.catalog.work.units.Verdict, int)
        The verdicts on the images, and how many images were taken out.
    """
    stale, due = find_due(connection, config, options.where, retry_failed=options.retry_failed)
    report.start("associate", len(due))
    if stale:
        _link_batch(connection, config, stale, run_id)
    verdicts = []
    for batch in _batches(due, count_sources(connection, due)):
        for verdict in _link_or_leave_out(connection, config, batch, run_id):
            verdicts.append(verdict)
            report.unit(verdict)
    return verdicts, len(stale)


def _link_or_leave_out(
    connection: duckdb.DuckDBPyConnection, config: AssociateConfig, images: "Sequence[Image]", run_id: int
) -> Iterator[Verdict]:
    """Yield the verdicts on some images; if they cannot be linked together, one by one, without those that cannot."""
    try:
        yield from _link_batch(connection, config, images, run_id)
    except Exception as error:
        if stops_run(error) or is_disk_failure(error):
            raise
        if len(images) > 1:
            for image in images:
                yield from _link_or_leave_out(connection, config, [image], run_id)
            return
        _link_batch(connection, config, [replace(images[0], fingerprint=None)], run_id)  # take out what it had
        yield record_failure(connection, images[0], failure_of(error), run_id=run_id)


def _batches(images: "Sequence[Image]", n_source: Sequence[int]) -> "Iterator[list[Image]]":
    """Yield lists of images that have at most `BATCH_SOURCES` detections together, or are one image."""
    batch: list[Image] = []
    n = 0
    for image, size in zip(images, n_source, strict=True):
        if batch and n + size > BATCH_SOURCES:
            yield batch
            batch, n = [], 0
        batch.append(image)
        n += size
    if batch:
        yield batch


def _link_batch(
    connection: duckdb.DuckDBPyConnection, config: AssociateConfig, images: "Sequence[Image]", run_id: int
) -> list[Verdict]:
    """Link the detections of some images in one transaction and return the verdicts."""
    started = time.perf_counter(), time.process_time()
    batch = image_table(images)
    with transaction(connection):
        tiles = Tiles(connection)
        removed = fetch_of_images(tiles, batch)
        new = fetch_new(connection, [image for image in images if image.fingerprint])
        members = find_neighborhood(tiles, batch, removed, new, radius_arcsec=config.radius_arcsec)
        change = Change(removed, members, members | _link(config, members))
        nights = nights_to_search(change)
        change, tracklets = find_tracks(tiles, config, nights, change)
        write_sources(tiles, change)
        write_objects(tiles, change)
        write_tracklets(connection, nights, tracklets)
        write_history(connection, change, run_id)
        return record(connection, images, new, run_id=run_id, started=started)


def link_alone(
    connection: duckdb.DuckDBPyConnection, config: AssociateConfig, images: "Sequence[Image]", run_id: int
) -> None:
    """Link detections that are far from all that are linked, and too few in a night to make a track.

    `associate` would give the same, after looking for neighbors and tracks.
    """
    started = time.perf_counter(), time.process_time()
    with transaction(connection):
        tiles = Tiles(connection)
        new = fetch_new(connection, images)
        members = new | {"is_old": np.zeros(len(new["ra"]), bool)}
        change = Change(no_sources(connection), members, members | _link(config, members))
        write_sources(tiles, change)
        write_objects(tiles, change)
        record(connection, images, new, run_id=run_id, started=started)


def _link(config: AssociateConfig, members: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the links of whole groups of detections, without tracks."""
    settings: dict[str, Any] = {"radius_arcsec": config.radius_arcsec, "max_chi2": config.max_chi2}
    return {
        "dia_object_id": link(members, **settings, floor_arcsec=config.position_floor_arcsec),
        "tracklet_id": np.full(len(members["ra"]), NONE),
    }
