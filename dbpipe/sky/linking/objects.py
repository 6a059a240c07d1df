"""Objects as rows: what their detections say of them, and what became of the objects of before."""

from collections.abc import Mapping

import numpy as np

from dbpipe.ids import image_number
from dbpipe.sky.healpix import hpx29
from dbpipe.sky.linking.grouping import Detections, find_objects, mean_positions

NONE = -1
"""No object, no track."""


def detections_of(source: Mapping[str, np.ndarray]) -> Detections:
    """Return the `Detections` of columns ra, dec, ra_err, dec_err, ra_dec_cov, visit and detector."""
    covariance = np.empty((len(source["ra"]), 2, 2))
    covariance[:, 0, 0], covariance[:, 1, 1] = source["ra_err"] ** 2, source["dec_err"] ** 2
    covariance[:, 0, 1] = covariance[:, 1, 0] = source["ra_dec_cov"]
    return Detections(source["ra"], source["dec"], covariance, image_number(source["visit"], source["detector"]))


def link(source: Mapping[str, np.ndarray], *, radius_arcsec: float, max_chi2: float, floor_arcsec: float) -> np.ndarray:
    """Return the object of each detection: the id of the object's first source.

    Parameters
    ----------
    source : dict of (n,) arrays
        Columns of `association.source`, sorted by time and id; whole groups.
    """
    first = find_objects(
        detections_of(source), radius_arcsec=radius_arcsec, max_chi2=max_chi2, floor_arcsec=floor_arcsec
    )
    return source["dia_source_id"][first]


def object_rows(
    source: Mapping[str, np.ndarray], dia_object_id: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the columns of `association.object` for the objects that detections belong to.

    Parameters
    ----------
    source : dict of (n,) arrays, sorted by time and id
    dia_object_id : (n,) int64 array

    Returns
    -------
    dict of (k,) arrays, and the (k,) indices of the first source of each object
    """
    by_id = np.argsort(source["dia_source_id"], kind="stable")
    first = by_id[np.searchsorted(source["dia_source_id"], dia_object_id, sorter=by_id)]
    origin, mean = mean_positions(detections_of(source), first)
    number = np.searchsorted(origin, first)
    n = len(origin)
    nights = np.sort(number << 32 | source["night"])
    nights = nights[np.diff(nights, prepend=-1) > 0] >> 32
    last, highest, lowest = np.full(n, -np.inf), np.full(n, -np.inf), np.full(n, np.inf)
    np.maximum.at(last, number, source["midpoint_mjd_tai"])
    np.maximum.at(highest, number, source["score"])
    np.minimum.at(lowest, number, source["score"])
    rows = {
        "dia_object_id": source["dia_source_id"][origin],
        "ra": mean.ra,
        "dec": mean.dec,
        "ra_err": np.sqrt(mean.covariance[:, 0, 0]),
        "dec_err": np.sqrt(mean.covariance[:, 1, 1]),
        "ra_dec_cov": mean.covariance[:, 0, 1],
        "hpx29": hpx29(mean.ra, mean.dec),
        "position_chi2": mean.chi2,
        "n_dia_source": np.bincount(number, minlength=n).astype(np.int32),
        "n_night": np.bincount(nights, minlength=n).astype(np.int32),
        "first_mjd_tai": source["midpoint_mjd_tai"][origin],
        "last_mjd_tai": last,
        "max_score": highest,
        "min_score": lowest,
    }
    return rows, origin


def find_changes(before: np.ndarray, after: np.ndarray, living: np.ndarray) -> list[tuple[int, int | None, str]]:
    """Tell what became of objects whose sources were grouped anew.

    Parameters
    ----------
    before, after : (n,) int64 arrays
        Object of each source then and now, `NONE` for none; a source that is no more has none now.
    living : int64 array
        Objects that there are now.

    Returns
    -------
    list of (dia_object_id, successor or None, change)
        One entry per object that is no more and each of its successors, and per object that lost sources to another.
    """
    moved = (before != after) & (before != NONE)
    concerned = (before != NONE) & (np.isin(before, before[moved]) | np.isin(after, after[moved & (after != NONE)]))
    links = np.unique(np.stack([before, after])[:, concerned], axis=1).T.tolist()
    successors: dict[int, set[int]] = {}
    ancestors: dict[int, set[int]] = {}
    for old, new in links:
        successors.setdefault(old, set())
        if new != NONE:
            successors[old].add(new)
            ancestors.setdefault(new, set()).add(old)
    alive = set(living.tolist())
    return [change for old in sorted(successors) for change in _changes_of(old, successors[old], ancestors, alive)]


def _changes_of(
    old: int, successors: set[int], ancestors: Mapping[int, set[int]], living: set[int]
) -> list[tuple[int, int | None, str]]:
    others = sorted(successors - {old})
    if old in living:
        return [(old, new, "split") for new in others]
    if not others:
        return [(old, None, "withdrawn")]
    if len(others) > 1:
        return [(old, new, "split") for new in others]
    return [(old, others[0], "renamed" if ancestors[others[0]] == {old} else "merged")]
