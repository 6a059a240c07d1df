"""Detections of one night that move along a line at constant speed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from dbpipe.compiled import njit
from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.sky.settings import Moving
from dbpipe.sky.sphere import directions, local_axes, unit_vectors

_MAX_CHI2 = 16.0
"""Largest chi2 of one detection about the line, 2 degrees of freedom: by chance one in 3000 is further off."""


@dataclass(frozen=True)
class Tracklets:
    """Tracks found, one entry each."""

    members: Sequence[np.ndarray]
    """Of int64 arrays: indices of the detections of a track, in time order."""
    time: np.ndarray
    """(k,) float [d], mean of its detections."""
    ra: np.ndarray
    """(k,) float [deg] at that time."""
    dec: np.ndarray
    """(k,) float [deg] at that time."""
    rate: np.ndarray
    """(k, 2) float [deg/d] of ra cos(dec) and dec."""
    chi2: np.ndarray
    """(k,) float, 2 m - 4 degrees of freedom."""


def find_tracklets(
    time: np.ndarray, ra: np.ndarray, dec: np.ndarray, position_err: np.ndarray, *, floor_arcsec: float, moving: Moving
) -> Tracklets:
    """Find tracks among the detections of a night that have stayed nowhere.

    Every pair of detections of different times that a body of at most ``max_rate`` could have made, and that has moved
    by more than its errors, draws a line; at each other time the detection nearest to it, within the errors, joins.
    The line with most detections, then with the smallest chi2, is taken first, and its detections are used up.
    Detections in no track do not influence the ones that are.

    Parameters
    ----------
    time : (n,) float array [d]
    ra, dec : (n,) float arrays [deg]
    position_err : (n,) float array [deg]
        Error of one coordinate.
    floor_arcsec : float
        Error of one coordinate that is not in its error bar.
    moving : Moving

    The detections are sorted by time and id.
    """
    if len(time) == 0:
        return _gather([], time, ra, dec, position_err)
    vectors = unit_vectors(ra, dec)
    error = np.hypot(position_err, floor_arcsec / ARCSEC_PER_DEG)
    reach = np.radians(moving.max_rate_deg_per_day * moving.max_gap_h / 24.0)
    pairs = KDTree(vectors).query_pairs(reach, output_type="ndarray")
    pairs = np.sort(pairs, axis=1)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    possible = pairs[_possible(pairs, vectors, time, error, moving)]
    start, near = _neighbors(pairs, len(time))
    n_on_line = _count_on_lines(possible, start, near, vectors, time, error, _MAX_CHI2)
    lines = _Lines(vectors, time, error, moving)
    found = [line for i, j in possible[n_on_line >= moving.min_detections] for line in lines.draw(i, j)]
    found.sort(key=lambda line: (-len(line[1]), line[0], line[1]))
    used: set[int] = set()
    members = []
    for _, line in found:
        if used.isdisjoint(line):
            used.update(line)
            members.append(np.array(line, np.int64))
    members.sort(key=lambda line: line[0])
    return _gather(members, time, ra, dec, error)


def _possible(
    pairs: np.ndarray, vectors: np.ndarray, time: np.ndarray, error: np.ndarray, moving: Moving
) -> np.ndarray:
    """Tell which pairs have moved, no faster than allowed."""
    i, j = pairs.T
    distance = np.degrees(2.0 * np.arcsin(0.5 * np.linalg.norm(vectors[i] - vectors[j], axis=-1)))
    dt = time[j] - time[i]
    moved = distance > 5.0 * np.hypot(error[i], error[j])
    return moved & (dt > 0) & (dt <= moving.max_gap_h / 24.0) & (distance <= moving.max_rate_deg_per_day * dt)


def _neighbors(pairs: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the neighbors of each detection as (start, near): those of i are near[start[i]:start[i + 1]], sorted."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[np.lexsort((both[:, 1], both[:, 0]))]
    return np.searchsorted(both[:, 0], np.arange(n + 1)), both[:, 1].copy()


@njit(cache=True)
def _count_on_lines(pairs, start, near, vectors, time, error, max_chi2):
    """Count the times at which a neighbor of a pair's first detection is on its line, the pair's own two included."""
    count = np.full(len(pairs), 2)
    for p in range(len(pairs)):
        i, j = pairs[p]
        last = np.nan
        for k in near[start[i] : start[i + 1]]:
            if time[k] == last or time[k] == time[i] or time[k] == time[j]:
                continue
            f = (time[k] - time[i]) / (time[j] - time[i])
            distance2 = 0.0
            for axis in range(3):
                distance2 += (vectors[k, axis] - (1.0 - f) * vectors[i, axis] - f * vectors[j, axis]) ** 2
            variance = ((1.0 - f) * error[i]) ** 2 + (f * error[j]) ** 2 + error[k] ** 2
            if distance2 < max_chi2 * variance * (np.pi / 180.0) ** 2:
                count[p] += 1
                last = time[k]
    return count


class _Lines:
    """Draws lines through pairs and collects what lies on them."""

    def __init__(self, vectors: np.ndarray, time: np.ndarray, error: np.ndarray, moving: Moving) -> None:
        self.vectors, self.time, self.error, self.moving = vectors, time, error, moving
        self.tree = KDTree(vectors)
        self.times = np.unique(time)

    def draw(self, i: int, j: int) -> list[tuple[float, tuple[int, ...]]]:
        """Return (chi2, members) of the line through two detections, a list of one, or of none if too few lie on it."""
        rate = (self.vectors[j] - self.vectors[i]) / (self.time[j] - self.time[i])
        members = [int(k) for t in self.times for k in self._at(t, i, j, rate)]
        if len(members) < self.moving.min_detections:
            return []
        chi2 = _fit(self.vectors[members], self.time[members], self.error[members])[2]
        # the smaller half of the pairs of a long track have vague lines: only those that hold together count
        if chi2 > _MAX_CHI2 * (len(members) - 2):
            return []
        return [(chi2, tuple(members))]

    def _at(self, t: float, i: int, j: int, rate: np.ndarray) -> list[int]:
        """Return the detection at a time that is nearest to the line within the errors, as a list of at most one."""
        if t == self.time[i] or t == self.time[j]:
            return [i if t == self.time[i] else j]
        f = (t - self.time[i]) / (self.time[j] - self.time[i])
        line_err = np.hypot((1.0 - f) * self.error[i], f * self.error[j])
        place = self.vectors[i] + rate * (t - self.time[i])
        near = self.tree.query_ball_point(place, np.radians(np.sqrt(_MAX_CHI2) * (line_err + self.error.max())))
        best, lowest = [], _MAX_CHI2
        for k in sorted(near):
            if self.time[k] == t:
                distance = np.degrees(np.linalg.norm(self.vectors[k] - place))
                chi2 = distance**2 / (line_err**2 + self.error[k] ** 2)
                if chi2 < lowest:
                    best, lowest = [k], chi2
        return best


def _fit(vectors: np.ndarray, time: np.ndarray, error: np.ndarray) -> tuple[float, np.ndarray, float, np.ndarray]:
    """Fit a straight motion: mean time, offset and rate in the plane at the first detection, chi2, the plane's axes."""
    axes = np.stack(local_axes(*directions(vectors[0])), -1)
    offset = np.degrees(vectors @ axes)
    weight = 1.0 / error**2
    middle = np.mean(time)
    design = np.stack([np.ones_like(time), time - middle], -1)
    normal = design.T @ (weight[:, None] * design)
    solution = np.linalg.solve(normal, design.T @ (weight[:, None] * offset))
    residual = offset - design @ solution
    return middle, solution, float(np.sum(weight[:, None] * residual**2)), axes


def _gather(
    members: Sequence[np.ndarray], time: np.ndarray, ra: np.ndarray, dec: np.ndarray, error: np.ndarray
) -> Tracklets:
    vectors = unit_vectors(ra, dec)
    rows = []
    for line in members:
        epoch, solution, sum_of_squares, axes = _fit(vectors[line], time[line], error[line])
        center = vectors[line[0]] + axes @ np.radians(solution[0])
        rows.append((epoch, *directions(center), *solution[1], sum_of_squares))
    middle, ra0, dec0, ra_rate, dec_rate, chi2 = np.array(rows, float).reshape(-1, 6).T
    return Tracklets(members, middle, ra0, dec0, np.stack([ra_rate, dec_rate], -1), chi2)
