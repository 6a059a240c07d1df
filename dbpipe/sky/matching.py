"""Which point belongs to which: nearest neighbors on the plane and on the sky."""

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.sky.sphere import unit_vectors


def match_points(a: np.ndarray, b: np.ndarray, *, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Pair points that are each other's nearest neighbor.

    Parameters
    ----------
    a, b : (n, k), (m, k) float arrays
        Positions on the plane or unit vectors.
    radius : float
        Largest distance of a pair, in the unit of the positions.

    Returns
    -------
    index_a, index_b : int64 arrays
        One entry per pair, index_a increasing; no point is in two pairs, one that is not finite in none.
    """
    finite_a, finite_b = (np.flatnonzero(np.isfinite(p).all(axis=1)) for p in (a, b))
    if not finite_a.size or not finite_b.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    tree_a, tree_b = KDTree(a[finite_a]), KDTree(b[finite_b])
    distance, nearest_b = tree_b.query(tree_a.data, distance_upper_bound=radius)
    near = np.flatnonzero(np.isfinite(distance))
    _, nearest_a = tree_a.query(tree_b.data[nearest_b[near]])
    mutual = near[nearest_a == near]
    return finite_a[mutual], finite_b[nearest_b[mutual]]


def match_sky(
    ra1: Sequence[float] | np.ndarray,
    dec1: Sequence[float] | np.ndarray,
    ra2: Sequence[float] | np.ndarray,
    dec2: Sequence[float] | np.ndarray,
    *,
    radius_arcsec: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Pair directions [deg] that are each other's nearest neighbor within a radius; returns (index1, index2)."""
    chord = 2.0 * np.sin(np.radians(radius_arcsec / ARCSEC_PER_DEG) / 2.0)
    return match_points(unit_vectors(ra1, dec1), unit_vectors(ra2, dec2), radius=chord)
