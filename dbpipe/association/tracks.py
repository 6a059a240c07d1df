"""What moves within a night: tracks among the detections that no other one of any time is near."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.association.contract import AssociateConfig
from dbpipe.association.sources import LINKED, Change, join_in_time, no_sources, query, take, to_columns
from dbpipe.catalog.sky_shards import Tiles
from dbpipe.catalog.store.lent import fetch_with
from dbpipe.ids import NONE
from dbpipe.sky.linking.tracklets import find_tracklets


def nights_to_search(change: Change) -> np.ndarray:
    """Nights in which a source without company came, went, found or lost company: their tracks are looked for anew."""
    removed, members, after = change.removed, change.members, change.after
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


def _is_lone(dia_object_id: np.ndarray) -> np.ndarray:
    """Tell which sources are the only one of their object."""
    _, number, count = np.unique(dia_object_id, return_inverse=True, return_counts=True)
    return (count[number] == 1) & (dia_object_id != NONE)


def find_tracks(
    tiles: Tiles, config: AssociateConfig, nights: np.ndarray, change: Change
) -> tuple[Change, list[dict[str, float]]]:
    """Look for tracks among the sources without company of some nights.

    Returns
    -------
    Change
        With those other sources whose links change.
    list of dict
        The tracks, rows of the table.
    """
    others = _lone_of_nights(tiles, nights, change)
    lone = np.flatnonzero(np.isin(change.after["night"], nights) & _is_lone(change.after["dia_object_id"]))
    stationary = {"dia_object_id": others["dia_source_id"], "tracklet_id": np.full(len(others["ra"]), NONE)}
    links = join_in_time(take(change.after, lone), others | stationary)
    rows = []
    for night in nights:
        chosen = np.flatnonzero(links["night"] == night)
        rows += _tracks_of_night(take(links, chosen), chosen, links, night=int(night), config=config)
    return _with_links(change, lone, others, links), rows


def _with_links(
    change: Change, lone: np.ndarray, others: Mapping[str, np.ndarray], links: Mapping[str, np.ndarray]
) -> Change:
    """Take over the links of the sources without company, those at hand and the others if theirs have changed."""
    by_id = np.argsort(links["dia_source_id"])
    row_of_lone, row_of_other = (
        by_id[np.searchsorted(links["dia_source_id"], part["dia_source_id"], sorter=by_id)]
        for part in (take(change.after, lone), others)
    )
    after = change.after | {name: change.after[name].copy() for name in LINKED}
    for name in LINKED:
        after[name][lone] = links[name][row_of_lone]
    now = take(links, row_of_other)
    changed = np.any([others[name] != now[name] for name in LINKED], axis=0)
    if not changed.any():
        return Change(change.removed, change.members, after)
    members = join_in_time(change.members, take(others, changed))
    return Change(change.removed, members, join_in_time(after, take(now, changed)))


def _lone_of_nights(tiles: Any, nights: np.ndarray, change: Change) -> dict[str, np.ndarray]:
    """Linked sources of some nights that have no company, without those at hand."""
    nothing = no_sources(tiles.connection) | {"is_old": np.zeros(0, bool)}
    if not len(nights):
        return nothing
    registered = {"affected": pa.table({"night": nights})}
    numbers = fetch_with(tiles.connection, query("tiles_of_nights"), registered)["tile"].to_pylist()
    found = to_columns(tiles.fetch(query("in_nights"), numbers, registered=registered))
    at_hand = np.concatenate([change.removed["dia_source_id"], change.members["dia_source_id"]])
    found = take(found, ~np.isin(found["dia_source_id"], at_hand))
    first = found["dia_source_id"][found["dia_source_id"] == found["dia_object_id"]]
    asked = {"asked": pa.table({"dia_object_id": first})}
    lone = tiles.fetch(query("lone"), numbers, kind="object", registered=asked)
    is_lone = np.isin(found["dia_object_id"], lone["dia_object_id"].to_numpy()) | (found["tracklet_id"] != NONE)
    found = take(found, is_lone)
    return join_in_time(nothing, found | {"is_old": np.ones(len(found["ra"]), bool)})


def _tracks_of_night(
    source: Mapping[str, np.ndarray],
    chosen: np.ndarray,
    links: Mapping[str, np.ndarray],
    *,
    night: int,
    config: AssociateConfig,
) -> list[dict[str, float]]:
    """Find the tracks of a night, note them in ``links``, and return them as rows."""
    time_d, position_err = source["midpoint_mjd_tai"], np.sqrt(0.5 * (source["ra_err"] ** 2 + source["dec_err"] ** 2))
    found = find_tracklets(
        time_d, source["ra"], source["dec"], position_err,
        floor_arcsec=config.position_floor_arcsec, moving=config.moving,
    )  # fmt: skip
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
