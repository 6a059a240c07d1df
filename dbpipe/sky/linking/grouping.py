"""Which detections are one object: a pure function of each connected group of them.

Detections within a radius of each other, of all bands and all time, are connected. The members of a connected group
alone decide its objects, so the order of their arrival cannot matter, and a new detection changes no group but those
that it joins.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.compiled import njit
from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.sky.sphere import directions, local_axes, unit_vectors

MAX_GROUP = 3000
"""Members of a group that are compared pair by pair; a larger one is first split by a smaller radius."""
_CUBES = 1 << 21
"""Cubes along an axis through the celestial sphere."""


@dataclass(frozen=True)
class Detections:
    """What grouping needs to know of detections, one entry each, sorted by time and id."""

    ra: np.ndarray
    """(n,) float [deg]."""
    dec: np.ndarray
    """(n,) float [deg]."""
    covariance: np.ndarray
    """(n, 2, 2) float [deg2] of ra cos(dec) and dec."""
    image: np.ndarray
    """(n,) int64, equal for detections on one image: those are never one object."""


@dataclass(frozen=True)
class Positions:
    """Weighted mean positions of objects."""

    ra: np.ndarray
    """(n,) float [deg]."""
    dec: np.ndarray
    """(n,) float [deg]."""
    covariance: np.ndarray
    """(n, 2, 2) float [deg2] of the mean, from the errors of its detections."""
    chi2: np.ndarray
    """(n,) float, of the detections about the mean; 2 (m - 1) degrees of freedom."""


def connect(ra: np.ndarray, dec: np.ndarray, *, radius_arcsec: float) -> np.ndarray:
    """Return the number of the connected group that each position belongs to, (n,) int64.

    Two positions are connected if they are within the radius, or if a chain of such pairs joins them. It holds across
    RA 0/360 and at the poles: distances are chords between unit vectors.
    """
    if len(ra) == 0:
        return np.zeros(0, np.int64)
    chord = 2.0 * np.sin(np.radians(radius_arcsec / ARCSEC_PER_DEG) / 2.0)
    vectors = unit_vectors(ra, dec)
    # cubes in which neighbors are looked for; three of these numbers fit into 63 bits
    place = np.floor((vectors + 1.0) / max(chord, 2.0**-19)).astype(np.int64)
    cube = (place[:, 0] * _CUBES + place[:, 1]) * _CUBES + place[:, 2]
    order = np.argsort(cube, kind="stable")
    bounds = np.flatnonzero(np.diff(cube[order], prepend=-1, append=-1))
    return _connect_cubes(vectors, order, bounds, cube[order[bounds[:-1]]], chord**2)


@njit(cache=True)
def _connect_cubes(vectors, order, bounds, cubes, max_distance2):
    """Join what is near in the same cube and in the 13 adjacent ones that come later.

    What is joined already is not measured, which is nearly all: a star that stays has as many pairs as the square of
    its detections.
    """
    parent = np.arange(len(vectors))
    for c in range(len(cubes)):
        _join_near(vectors, order, bounds, c, c, parent, max_distance2)
        for step in range(14, 27):  # 13 is the cube itself
            offset = ((step // 9 - 1) * _CUBES + step // 3 % 3 - 1) * _CUBES + step % 3 - 1
            other = np.searchsorted(cubes, cubes[c] + offset)
            if other < len(cubes) and cubes[other] == cubes[c] + offset:
                _join_near(vectors, order, bounds, c, other, parent, max_distance2)
    return _number_roots(parent)


@njit(cache=True)
def _join_near(vectors, order, bounds, first, second, parent, max_distance2):
    for a in range(bounds[first], bounds[first + 1]):
        i = order[a]
        for b in range(a + 1 if first == second else bounds[second], bounds[second + 1]):
            j = order[b]
            root_i, root_j = _root(parent, i), _root(parent, j)
            if root_i == root_j:
                continue
            distance2 = 0.0
            for axis in range(3):
                distance2 += (vectors[i, axis] - vectors[j, axis]) ** 2
            if distance2 <= max_distance2:
                parent[max(root_i, root_j)] = min(root_i, root_j)


@njit(cache=True)
def _root(parent, i):
    """The first member that something is joined with, halving the path to it."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True)
def _number_roots(parent):
    """Number the groups in the order of their first members, which are their roots."""
    number, n_group = np.empty(len(parent), np.int64), 0
    for i in range(len(parent)):
        if parent[i] == i:
            number[i] = n_group
            n_group += 1
        else:
            number[i] = number[parent[i]]
    return number


def find_objects(detections: Detections, *, radius_arcsec: float, max_chi2: float, floor_arcsec: float) -> np.ndarray:
    """Return for each detection the index of the first detection of its object, (n,) int64.

    In each connected group the two clusters that are most probably one object are joined, again and again, as long as
    their mean positions agree: chi2 of the difference, 2 degrees of freedom, at most ``max_chi2``. Which pair is most
    probable says the Bayes factor of one object against two, exp(-chi2 / 2) / sqrt(det V) but for constants, with V the
    covariance of the difference (Budavari & Szalay 2008 ApJ 679 301, eq. 13 and 16). Precise positions thus find each
    other before vague ones decide. Clusters that have detections on one image are different objects.

    Parameters
    ----------
    detections : Detections
        Sorted by time and id: where two choices are equal, the earlier one is taken.
    radius_arcsec : float
    max_chi2 : float
    floor_arcsec : float
        Error of a position in each coordinate that does not become smaller by averaging.
    """
    return _find(
        detections, np.arange(len(detections.ra)), radius_arcsec, max_chi2, (floor_arcsec / ARCSEC_PER_DEG) ** 2
    )


def _find(
    detections: Detections, member: np.ndarray, radius_arcsec: float, max_chi2: float, floor: float
) -> np.ndarray:
    """Find the objects among some of the detections; a group too large is taken apart first."""
    first = member.copy()
    group = connect(detections.ra[member], detections.dec[member], radius_arcsec=radius_arcsec)
    order = np.argsort(group, kind="stable")
    bounds = np.flatnonzero(np.diff(group[order], prepend=-1, append=-1))
    several = np.flatnonzero(np.diff(bounds) > 1)
    x, y = _offsets(detections, member[order], member[order[np.repeat(bounds[:-1], np.diff(bounds))]])
    for begin, end in zip(bounds[several], bounds[several + 1], strict=True):
        rows = order[begin:end]
        if len(rows) > MAX_GROUP and radius_arcsec > 1e-3:
            first[rows] = _find(detections, member[rows], radius_arcsec / 2.0, max_chi2, floor)
            continue
        chosen, here = member[rows], slice(begin, end)
        first[rows] = chosen[
            _agglomerate(x[here], y[here], detections.covariance[chosen], detections.image[chosen], max_chi2, floor)
        ]
    return first


def _offsets(detections: Detections, rows: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of rows toward east and north of others [deg], on the planes that touch the sky there."""
    vectors = unit_vectors(detections.ra[rows], detections.dec[rows])
    east, north = local_axes(detections.ra[origin], detections.dec[origin])
    return np.degrees(np.sum(vectors * east, -1)), np.degrees(np.sum(vectors * north, -1))


@njit(cache=True)
def _agglomerate(x, y, covariance, image, max_chi2, floor):
    """Return for each member the index of the first member of its cluster."""
    n = len(x)
    cluster = np.arange(n)
    alive = np.ones(n, np.bool_)
    apart = np.empty((n, n), np.bool_)
    mean = np.stack((x, y), axis=-1)
    variance = np.empty((n, 3))
    for i in range(n):
        variance[i] = covariance[i, 0, 0], covariance[i, 0, 1], covariance[i, 1, 1]
        for j in range(n):
            apart[i, j] = image[i] == image[j]
    partner, cost = np.full(n, -1), np.full(n, np.inf)
    for i in range(n):
        partner[i], cost[i] = _best_partner(i, alive, apart, mean, variance, max_chi2, floor)
    while True:
        i = int(np.argmin(cost))
        if not np.isfinite(cost[i]):
            return cluster
        j = partner[i]  # partners are later ones, so the cluster keeps its first member
        _join(i, j, mean, variance)
        alive[j] = False
        cost[j] = np.inf
        for k in range(n):
            if cluster[k] == j:
                cluster[k] = i
            apart[i, k] = apart[i, k] or apart[j, k]
            apart[k, i] = apart[i, k]
        for k in range(n):
            if alive[k] and (k == i or partner[k] == i or partner[k] == j):
                partner[k], cost[k] = _best_partner(k, alive, apart, mean, variance, max_chi2, floor)
            elif alive[k] and k < i:
                value = _cost(k, i, apart, mean, variance, max_chi2, floor)
                if value < cost[k]:
                    partner[k], cost[k] = i, value


@njit(cache=True)
def _best_partner(i, alive, apart, mean, variance, max_chi2, floor):
    """Return the later cluster with the largest Bayes factor, and minus twice its logarithm; infinity without one."""
    best, lowest = -1, np.inf
    for j in range(i + 1, len(mean)):
        if alive[j]:
            value = _cost(i, j, apart, mean, variance, max_chi2, floor)
            if value < lowest:
                best, lowest = j, value
    return best, lowest


@njit(cache=True)
def _cost(i, j, apart, mean, variance, max_chi2, floor):
    if apart[i, j]:
        return np.inf
    xx = variance[i, 0] + variance[j, 0] + 2.0 * floor
    xy = variance[i, 1] + variance[j, 1]
    yy = variance[i, 2] + variance[j, 2] + 2.0 * floor
    dx, dy = mean[i, 0] - mean[j, 0], mean[i, 1] - mean[j, 1]
    det = xx * yy - xy * xy
    chi2 = (yy * dx * dx - 2.0 * xy * dx * dy + xx * dy * dy) / det
    return chi2 + np.log(det) if chi2 <= max_chi2 else np.inf


@njit(cache=True)
def _join(i, j, mean, variance):
    """Give cluster i the mean position of both, weighted with inverse covariances, and its covariance."""
    weight = np.zeros(3)
    sums = np.zeros(2)
    for k in (i, j):
        xx, xy, yy = variance[k]
        det = xx * yy - xy * xy
        wxx, wxy, wyy = yy / det, -xy / det, xx / det
        weight += np.array([wxx, wxy, wyy])
        sums += np.array([wxx * mean[k, 0] + wxy * mean[k, 1], wxy * mean[k, 0] + wyy * mean[k, 1]])
    det = weight[0] * weight[2] - weight[1] * weight[1]
    variance[i] = weight[2] / det, -weight[1] / det, weight[0] / det
    mean[i, 0] = variance[i, 0] * sums[0] + variance[i, 1] * sums[1]
    mean[i, 1] = variance[i, 1] * sums[0] + variance[i, 2] * sums[1]


def mean_positions(detections: Detections, first: np.ndarray) -> tuple[np.ndarray, Positions]:
    """Return the positions of the objects that `find_objects` found, in the order of their first detections.

    Everything is done element by element, so that the same members give the same bits in whatever company.

    Returns
    -------
    (k,) int64 array, Positions
        Index of the first detection of each object, and its weighted mean position.
    """
    origin, number = np.unique(first, return_inverse=True)
    n = len(origin)
    x, y = _offsets(detections, np.arange(len(first)), first)
    covariance = detections.covariance
    wxx, wxy, wyy = _inverse_of(covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1])
    xx, xy, yy = _inverse_of(*(_sum_over(number, w, n) for w in (wxx, wxy, wyy)))
    u, v = _sum_over(number, wxx * x + wxy * y, n), _sum_over(number, wxy * x + wyy * y, n)
    mean_x, mean_y = xx * u + xy * v, xy * u + yy * v
    dx, dy = x - mean_x[number], y - mean_y[number]
    chi2 = _sum_over(number, wxx * dx * dx + 2.0 * wxy * dx * dy + wyy * dy * dy, n)
    ra, dec = _displace(detections.ra[origin], detections.dec[origin], mean_x, mean_y)
    return origin, Positions(ra, dec, np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2), chi2)


def _inverse_of(xx: np.ndarray, xy: np.ndarray, yy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Elements of the inverses of symmetric 2 x 2 matrices."""
    det = xx * yy - xy * xy
    return yy / det, -xy / det, xx / det


def _sum_over(number: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sum the values of equal number, in their order."""
    total = np.zeros(n)
    np.add.at(total, number, values)
    return total


def _displace(ra: np.ndarray, dec: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the directions at orthographic offsets [deg] east and north of others."""
    east, north = local_axes(ra, dec)
    x, y = np.radians(x), np.radians(y)
    depth = np.sqrt(np.maximum(1.0 - x * x - y * y, 0.0))
    return directions(depth[:, None] * unit_vectors(ra, dec) + x[:, None] * east + y[:, None] * north)
