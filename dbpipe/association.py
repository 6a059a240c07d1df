"""Linking detections to objects: reads what it has written, so it runs in the parent, in batches of images.

What a batch changes is found by sky: the detections within the linking radius of what came or went, and whatever hangs
together with them. All of it is grouped anew by the pure functions of `dbpipe.sky`, and what differs from before is
written, with the verdicts on the images, in one transaction.
"""

import json
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from dbpipe.catalog import tiles, units
from dbpipe.catalog.arrow import to_table
from dbpipe.catalog.connection import transaction
from dbpipe.catalog.queries import fetch_table, load_named
from dbpipe.errors import ConfigError
from dbpipe.offer import find_where
from dbpipe.sky.grouping import connect
from dbpipe.sky.healpix import ORDER, cell_order, with_neighbours
from dbpipe.sky.objects import NONE, find_changes, link, object_rows
from dbpipe.sky.tracklets import Moving, find_tracklets
from dbpipe.units import ARCSEC_PER_DEG

VERSION = 1
"""Bump when the same detections would give other objects."""
BATCH_SOURCES = 200_000
"""Detections that are linked in one transaction; a run that is killed loses at most that."""
_LINKED = ("dia_object_id", "tracklet_id")
_VAGUE_ARCSEC = 0.3
"""Error of a position that has none."""


@dataclass(frozen=True)
class AssociateConfig:
    """Settings of the associate stage."""

    radius_arcsec: float = 1.0
    """Detections closer than this are looked at together."""
    max_chi2: float = 25.0
    """Positions that differ by more than this (chi2, 2 degrees of freedom) are different objects."""
    position_floor_arcsec: float = 0.05
    """Error of a position in each coordinate that is not in its error bar."""
    max_rate_deg_per_day: float = 1.0
    """Fastest track that is looked for within a night."""
    max_gap_h: float = 3.0
    """Longest time between two detections that a track is started from, in hours."""
    min_tracklet_sources: int = 3
    """Fewest detections of a track; they must be detections that no other one of any time is near."""

    def __post_init__(self):
        if not 0.0 < self.radius_arcsec <= 60.0:
            raise ConfigError(f"associate.radius_arcsec = {self.radius_arcsec}: must be above 0 and at most 60")


@dataclass(frozen=True)
class _Image:
    """A detector image whose detections are to be linked, or taken out (then without fingerprint)."""

    visit: int
    detector: int
    unit_key: str
    fingerprint: str | None
    detect_fingerprint: str | None = None


def count_due(connection, config):
    """Return how many images have detections that are not linked yet."""
    return len(find_due(connection, config)[1])


def associate(connection, config, *, run_id, where=None, report):
    """Link every detection that is new or has changed and return (images done, images taken out).

    Parameters
    ----------
    connection : duckdb connection
        The only writer of the survey.
    config : AssociateConfig
    run_id : int
    where : str, optional
        SQL condition on visit, detector, band, night.
    report : dbpipe.pipeline.Report
    """
    stale, due = find_due(connection, config, where)
    report.start("associate", len(due))
    if stale:
        _link_batch(connection, config, stale, run_id)
    n_source = _count_sources(connection, due)
    batch, n = [], 0
    for image, size in zip(due, n_source, strict=True):
        if batch and n + size > BATCH_SOURCES:
            _link_and_report(connection, config, batch, run_id, report)
            batch, n = [], 0
        batch.append(image)
        n += size
    if batch:
        _link_and_report(connection, config, batch, run_id, report)
    return len(due), len(stale)


def _link_and_report(connection, config, batch, run_id, report):
    for verdict in _link_batch(connection, config, batch, run_id):
        report.unit(verdict)


def _query(name):
    return load_named("stages", "associate")[name]


def find_due(connection, config, where=None):
    """Return the images to take out and those to link, two lists."""
    settings = json.dumps([VERSION, asdict(config)], sort_keys=True)
    rows = fetch_table(connection, _query("due"), {"settings": settings})
    chosen = find_where(connection, rows, where) if where else None
    due = [
        _Image(*(row[name] for name in ("visit", "detector", "unit_key", "fingerprint", "detect_fingerprint")))
        for number, row in enumerate(rows.to_pylist())
        if chosen is None or number in chosen
    ]
    stale = fetch_table(connection, _query("stale"), {}).to_pylist() if where is None else []
    return [_Image(row["visit"], row["detector"], row["unit_key"], None) for row in stale], due


def _count_sources(connection, images):
    if not images:
        return []
    registered = {"batch": _batch_table(images)}
    counts = tiles.fetch_registered(connection, _query("count_sources"), registered, _visits(images)).to_pylist()
    known = {(row["visit"], row["detector"]): row["n_source"] for row in counts}
    return [known.get((image.visit, image.detector), 0) for image in images]


def _link_batch(connection, config, images, run_id):
    """Link the detections of some images in one transaction and return the verdicts."""
    started = time.perf_counter(), time.process_time()
    batch = _batch_table(images)
    with transaction(connection):
        removed = _columns(_of_images(connection, batch))
        new = _new_sources(connection, [image for image in images if image.fingerprint])
        members = _neighbourhood(connection, config, batch, removed, new)
        after = members | _link(config, members)
        nights = _nights_to_search(removed, members, after)
        members, after, tracklets = _track(connection, config, nights, removed, members, after)
        _write_sources(connection, removed, members, after)
        _write_objects(connection, removed, members, after)
        _write_tracklets(connection, nights, tracklets)
        _write_history(connection, removed, members, after, run_id)
        return _record(connection, images, new, run_id, started)


def link_alone(connection, config, images, run_id):
    """Link detections that are far from all that are linked, and too few in a night to make a track.

    `associate` would give the same, after looking for neighbours and tracks.
    """
    started = time.perf_counter(), time.process_time()
    nothing = _columns(_empty(connection))
    with transaction(connection):
        new = _new_sources(connection, images)
        members = new | {"is_old": np.zeros(len(new["ra"]), bool)}
        after = members | _link(config, members)
        _write_sources(connection, nothing, members, after)
        _write_objects(connection, nothing, members, after)
        _record(connection, images, new, run_id, started)


def _link(config, members):
    """Return the links of whole groups of detections, without tracks."""
    settings = {"radius_arcsec": config.radius_arcsec, "max_chi2": config.max_chi2}
    return {
        "dia_object_id": link(members, **settings, floor_arcsec=config.position_floor_arcsec),
        "tracklet_id": np.full(len(members["ra"]), NONE),
    }


def _of_images(connection, batch):
    """The linked sources of some images."""
    registered = {"batch": batch}
    found = tiles.fetch_registered(connection, _query("tiles_of_images"), registered)
    return tiles.fetch_over(connection, _query("of_images"), _tile_numbers(found), registered=registered)


def _tile_numbers(table):
    return table["tile"].to_pylist()


def _new_sources(connection, images):
    """Sources to link, as columns; none of them is old."""
    if not images:
        return _columns(_empty(connection))
    values = {"vague_deg": _VAGUE_ARCSEC / ARCSEC_PER_DEG, **_visits(images)}
    rows = tiles.fetch_registered(connection, _query("sources"), {"batch": _batch_table(images)}, values)
    nothing = pa.nulls(rows.num_rows, pa.int64())
    return _columns(rows.append_column("dia_object_id", nothing).append_column("tracklet_id", nothing))


def _empty(connection):
    return connection.sql("FROM association.source LIMIT 0").to_arrow_table()


def _columns(table):
    """Return a table of sources as numpy columns; `NONE` stands for NULL."""
    columns = {name: table[name] for name in table.column_names}
    for name in ("dia_object_id", "tracklet_id"):
        columns[name] = columns[name].fill_null(NONE)
    return {name: column.to_numpy() for name, column in columns.items()}


def _join(*sources):
    """Join columns of sources, one after the other."""
    return {name: np.concatenate([source[name] for source in sources]) for name in sources[0]}


def _concatenate(*sources):
    """Join columns of sources, in the order of time and id."""
    joined = _join(*sources)
    return _take(joined, np.lexsort((joined["dia_source_id"], joined["midpoint_mjd_tai"])))


def _take(source, rows):
    return {name: values[rows] for name, values in source.items()}


def _neighbourhood(connection, config, batch, removed, new):
    """Return all sources of the groups that something joins or leaves; ``is_old`` says which were linked before."""
    order = cell_order(config.radius_arcsec)
    shift = 2 * (ORDER - order)
    old = _columns(_empty(connection))
    changed = np.concatenate([removed["hpx29"], new["hpx29"]]) >> shift
    loaded, wanted = np.zeros(0, np.int64), with_neighbours(changed, order)
    while True:
        old = _join(old, _in_cells(connection, batch, np.setdiff1d(wanted, loaded), shift))
        loaded = np.union1d(loaded, wanted)
        touched = _touched(config.radius_arcsec, removed, new, old)
        wanted = with_neighbours(old["hpx29"][touched] >> shift, order)
        if np.isin(wanted, loaded).all():
            break
    old = _take(old, touched)
    is_old = {"is_old": np.ones(len(old["ra"]), bool)}
    return _concatenate(old | is_old, new | {"is_old": np.zeros(len(new["ra"]), bool)})


def _touched(radius_arcsec, removed, new, old):
    """Tell which old sources are connected with one that comes or goes."""
    parts = (removed, new, old)
    ra, dec = (np.concatenate([part[name] for part in parts]) for name in ("ra", "dec"))
    group = connect(ra, dec, radius_arcsec=radius_arcsec)
    n_changed = len(removed["ra"]) + len(new["ra"])
    is_touched = np.zeros(len(group), bool)
    is_touched[group[:n_changed]] = True
    return is_touched[group[n_changed:]]


def _in_cells(connection, batch, cells, shift):
    """The linked sources in some cells, without those of the images of the batch."""
    numbers = np.unique(cells >> (tiles.TILE_SHIFT - shift)).tolist()
    registered = {"near": pa.table({"cell": cells}), "batch": batch}
    return _columns(
        tiles.fetch_over(connection, _query("in_cells"), numbers, registered=registered, parameters={"shift": shift})
    )


def _nights_to_search(removed, members, after):
    """Nights in which a source without company came, went, found or lost company: their tracks are looked for anew."""
    is_old = members["is_old"]
    had = np.concatenate([members["dia_object_id"][is_old], removed["dia_object_id"]])
    was_lone = _is_lone(had)[: is_old.sum()] | (members["tracklet_id"][is_old] != NONE)
    is_lone = _is_lone(after["dia_object_id"])
    changed = ~is_old
    changed[is_old] = was_lone != is_lone[is_old]
    # a track is not hindered by what has company: only its members count that have found some
    changed &= is_lone | (members["tracklet_id"] != NONE)
    was_track = removed["night"][removed["tracklet_id"] != NONE]
    return np.unique(np.concatenate([members["night"][changed], was_track]))


def _is_lone(dia_object_id):
    """Tell which sources are the only one of their object."""
    _, number, count = np.unique(dia_object_id, return_inverse=True, return_counts=True)
    return (count[number] == 1) & (dia_object_id != NONE)


def _track(connection, config, nights, removed, members, after):
    """Look for tracks among the sources without company of some nights.

    Returns
    -------
    members, after, tracklets
        The first two with those other sources whose links change; the tracks as columns of the table.
    """
    others = _lone_of_nights(connection, nights, removed, members)
    lone = np.flatnonzero(np.isin(after["night"], nights) & _is_lone(after["dia_object_id"]))
    stationary = {"dia_object_id": others["dia_source_id"], "tracklet_id": np.full(len(others["ra"]), NONE)}
    links = _concatenate(_take(after, lone), others | stationary)
    moving = Moving(
        max_rate_deg_per_day=config.max_rate_deg_per_day,
        max_gap_h=config.max_gap_h,
        min_detections=config.min_tracklet_sources,
        floor_arcsec=config.position_floor_arcsec,
    )
    rows = []
    for night in nights:
        chosen = np.flatnonzero(links["night"] == night)
        rows += _find_tracks(_take(links, chosen), chosen, links, int(night), moving)
    by_id = np.argsort(links["dia_source_id"])
    row_of_lone, row_of_other = (
        by_id[np.searchsorted(links["dia_source_id"], part["dia_source_id"], sorter=by_id)]
        for part in (_take(after, lone), others)
    )
    after = after | {name: after[name].copy() for name in _LINKED}
    for name in _LINKED:
        after[name][lone] = links[name][row_of_lone]
    now = _take(links, row_of_other)
    changed = np.any([others[name] != now[name] for name in _LINKED], axis=0)
    if changed.any():
        members = _concatenate(members, _take(others, changed))
        after = _concatenate(after, _take(now, changed))
    return members, after, rows


def _lone_of_nights(connection, nights, removed, members):
    """Linked sources of some nights that have no company, without those at hand."""
    nothing = _columns(_empty(connection)) | {"is_old": np.zeros(0, bool)}
    if not len(nights):
        return nothing
    registered = {"affected": pa.table({"night": nights})}
    numbers = _tile_numbers(tiles.fetch_registered(connection, _query("tiles_of_nights"), registered))
    found = _columns(tiles.fetch_over(connection, _query("in_nights"), numbers, registered=registered))
    at_hand = np.concatenate([removed["dia_source_id"], members["dia_source_id"]])
    found = _take(found, ~np.isin(found["dia_source_id"], at_hand))
    first = found["dia_source_id"][found["dia_source_id"] == found["dia_object_id"]]
    asked = {"asked": pa.table({"dia_object_id": first})}
    lone = tiles.fetch_over(connection, _query("lone"), numbers, kind="object", registered=asked)
    is_lone = np.isin(found["dia_object_id"], lone["dia_object_id"].to_numpy()) | (found["tracklet_id"] != NONE)
    found = _take(found, is_lone)
    return _concatenate(nothing, found | {"is_old": np.ones(len(found["ra"]), bool)})


def _find_tracks(source, chosen, links, night, moving):
    """Find the tracks of a night, note them in ``links``, and return them as rows."""
    time_d, position_err = source["midpoint_mjd_tai"], np.sqrt(0.5 * (source["ra_err"] ** 2 + source["dec_err"] ** 2))
    found = find_tracklets(time_d, source["ra"], source["dec"], position_err, moving=moving)
    rows = []
    for k, line in enumerate(found.members):
        tracklet_id = int(source["dia_source_id"][line[0]])
        links["tracklet_id"][chosen[line]] = tracklet_id
        links["dia_object_id"][chosen[line]] = NONE
        ra_rate, dec_rate = found.rate[k]
        rows.append(
            {
                "tracklet_id": tracklet_id,
                "night": night,
                "n_dia_source": len(line),
                "reference_mjd_tai": found.time[k],
                "ra": found.ra[k],
                "dec": found.dec[k],
                "ra_rate_deg_per_day": ra_rate,
                "dec_rate_deg_per_day": dec_rate,
                "rate_deg_per_day": float(np.hypot(ra_rate, dec_rate)),
                "angle_deg": float(np.degrees(np.arctan2(ra_rate, dec_rate)) % 360.0),
                "arc_h": 24.0 * float(time_d[line[-1]] - time_d[line[0]]),
                "chi2": found.chi2[k],
            }
        )
    return rows


def _tile_of(hpx29):
    return hpx29 >> tiles.TILE_SHIFT


def _to_rows(source, rows):
    """Return some rows of columns as a pyarrow.Table in which `NONE` is NULL."""
    table = {name: pa.array(values[rows]) for name, values in source.items() if name not in ("is_old", *_LINKED)}
    for name in _LINKED:
        values = source[name][rows]
        table[name] = pa.array(values, pa.int64(), mask=values == NONE)
    return pa.table(table)


def _each_tile(connection, query_name, table, tile, *, kind):
    """Run a statement on the table of every tile that some rows are in."""
    for number, rows in tiles.split_by_tile(table, tile).items():
        tiles.execute_on(connection, _query(query_name), rows, kind=kind, tile=number)


def _write_sources(connection, removed, members, after):
    is_old = members["is_old"]
    changed = is_old & np.any([members[name] != after[name] for name in _LINKED], axis=0)
    tiles.add_tiles(connection, np.unique(_tile_of(after["hpx29"])).tolist())
    _each_tile(connection, "delete_sources", _to_rows(removed, slice(None)), _tile_of(removed["hpx29"]), kind="source")
    for query_name, rows in (("relink", changed), ("insert_sources", ~is_old)):
        _each_tile(connection, query_name, _to_rows(after, rows), _tile_of(after["hpx29"][rows]), kind="source")


def _write_objects(connection, removed, members, after):
    """Replace the objects of before by those of now."""
    was = [{name: part[name] for name in removed} for part in (_take(members, members["is_old"]), removed)]
    before = _concatenate(*was)
    # the first source of an object is among its sources, and says in which tile the object is kept
    gone = np.flatnonzero(before["dia_source_id"] == before["dia_object_id"])
    table = pa.table({"dia_object_id": before["dia_object_id"][gone]})
    _each_tile(connection, "delete_objects", table, _tile_of(before["hpx29"][gone]), kind="object")
    linked = _take(after, after["dia_object_id"] != NONE)
    rows, origin = object_rows(linked, linked["dia_object_id"])
    _each_tile(connection, "insert_objects", to_table(rows), _tile_of(linked["hpx29"][origin]), kind="object")


def _write_tracklets(connection, nights, rows):
    if not len(nights):
        return
    tiles.execute_registered(connection, _query("delete_tracklets"), {"affected": pa.table({"night": nights})})
    if rows:
        tiles.execute_registered(connection, _query("insert_tracklets"), {"found": to_table(rows)})


def _write_history(connection, removed, members, after, run_id):
    is_old = members["is_old"]
    before = np.concatenate([members["dia_object_id"][is_old], removed["dia_object_id"]])
    now = np.concatenate([after["dia_object_id"][is_old], np.full(len(removed["ra"]), NONE)])
    living = after["dia_object_id"][after["dia_object_id"] != NONE]
    changes = find_changes(before, now, living)
    if changes:
        names = ("dia_object_id", "successor_id", "change")
        rows = [dict(zip(names, change, strict=True)) | {"run_id": run_id, "changed_at": _now()} for change in changes]
        tiles.execute_registered(connection, _query("insert_history"), {"changes": pa.Table.from_pylist(rows)})


def _record(connection, images, new, run_id, started):
    """Write down which images are linked, and the verdicts on them; forget those that were taken out."""
    batch = {"batch": _batch_table(images)}
    tiles.execute_registered(connection, _query("forget_images"), batch, _visits(images))
    kept = [image for image in images if image.fingerprint]
    for image in images:
        if image.fingerprint is None:
            units.forget_verdict(connection, "associate", image.unit_key)
    if not kept:
        return []
    rows = []
    for image in kept:
        mine = (new["visit"] == image.visit) & (new["detector"] == image.detector)
        found = np.unique(_tile_of(new["hpx29"][mine])).astype(np.int32).tolist()
        rows.append(
            {
                "visit": image.visit,
                "detector": image.detector,
                "tiles": found,
                "n_source": int(mine.sum()),
                "detect_fingerprint": image.detect_fingerprint,
            }
        )
    tiles.execute_registered(connection, _query("remember_images"), {"linked": pa.Table.from_pylist(rows)})
    wall_s, cpu_s = time.perf_counter() - started[0], time.process_time() - started[1]
    verdicts = [
        units.Verdict(
            "associate",
            image.unit_key,
            image.fingerprint,
            VERSION,
            run_id,
            "done",
            wall_s=wall_s / len(kept),
            cpu_s=cpu_s / len(kept),
        )
        for image in kept
    ]
    units.record_verdicts(connection, verdicts)
    return verdicts


def _batch_table(images):
    return pa.table(
        {
            "visit": pa.array([image.visit for image in images], pa.int64()),
            "detector": pa.array([image.detector for image in images], pa.int32()),
        }
    )


def _visits(images):
    """The range of visits: visits come in the order of their time, so that most of a large table is left unread."""
    visits = [image.visit for image in images]
    return {"first_visit": min(visits), "last_visit": max(visits)}


def _now():
    return datetime.now(UTC).replace(tzinfo=None)
