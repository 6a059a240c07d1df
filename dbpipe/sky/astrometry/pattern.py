"""Find how a field of detected stars lies on a field of reference stars, when the header is only roughly right.

Every pair (star, reference) votes for the offset that would put one on the other: the true offset gets a vote from
every star that both lists have, chance spreads its votes evenly. The header's orientation is tried first, then a grid
of rotations and scales around it, then the same about quarter turns and mirror images. A candidate is accepted when so
many stars lie on references that chance, given how many maps were tried, cannot explain it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial import KDTree
from scipy.special import pdtrc

from dbpipe.compiled import njit
from dbpipe.errors import DataError
from dbpipe.sky.matching import match_points

MAX_TURN_DEG, MAX_STRETCH = 2.5, 0.03
N_BRIGHT = (60, 160, 400)
N_VERIFY = 4000
N_CANDIDATE = 10
FINAL_RADIUS_PIX, MIN_RADIUS_PIX = 3.0, 0.5
MAX_LOG_FALSE_ALARM = math.log(1e-6)
MIN_EXCESS = 1.5
MIN_CHANCE = 1e-3  # no field is so empty that three pairs mean nothing at all


@dataclass(frozen=True)
class Pattern:
    """The accepted map from detected to expected positions, ``expected = matrix @ source + shift``, and its pairs."""

    matrix: np.ndarray
    shift: np.ndarray
    source_index: np.ndarray
    reference_index: np.ndarray
    radius_pix: float
    expected_by_chance: float
    log_false_alarm: float
    """Natural logarithm of the chance that a search among as many maps finds as many pairs in unrelated fields."""

    @property
    def n_match(self) -> int:
        """Number of pairs."""
        return len(self.source_index)


def match_pattern(
    source: np.ndarray,
    reference: np.ndarray,
    shape: tuple[int, int],
    *,
    flux: np.ndarray,
    mag: np.ndarray,
    max_offset_pix: float,
) -> Pattern:
    """Match detected stars with reference stars through shift, rotation, scale and parity errors of a header.

    Parameters
    ----------
    source : (n, 2) float array [pix]
        Detected positions x, y.
    reference : (m, 2) float array [pix]
        Where the header puts the reference stars; those off the image by more than ``max_offset_pix`` are of no use.
    shape : (ny, nx)
    flux : (n,) float array; mag : (m,) float array
        Only their order counts: the brightest vote first. NaN counts as faintest.
    max_offset_pix : float
        Largest offset, along x and along y, of the image center.

    Returns
    -------
    Pattern

    Raises
    ------
    DataError
        If nothing is found that chance could not give.
    """
    source_order = np.argsort(-np.nan_to_num(flux, nan=-np.inf), kind="stable")[:N_VERIFY]
    reference_order = np.argsort(np.nan_to_num(mag, nan=np.inf), kind="stable")[:N_VERIFY]
    field = _Field(source[source_order], reference[reference_order], shape, max_offset_pix)
    best = _search(field)
    if best is not None and _is_significant(best):
        return _in_original_order(best, source_order, reference_order)
    raise DataError(
        "astrometric match failed: nowhere within the pointing error do the sources fit the reference stars",
        n_source=len(source),
        n_reference=len(reference),
        best_n_match=best.n_match if best else 0,
        expected_by_chance=round(best.expected_by_chance, 2) if best else 0.0,
        max_offset_pix=round(float(max_offset_pix), 1),
    )


def _search(field: Any) -> Pattern | None:
    """Try maps from the simplest on; stop at one that explains the field, else take the most significant."""
    best = None
    for matrices in _hypotheses(field.bin_pix, field.shape):
        for n_bright in N_BRIGHT:
            for matrix, shift in _vote(field, matrices, n_bright):
                found = _verify(field, matrix, shift, n_matrix=len(matrices))
                if best is None or (found.log_false_alarm, -found.n_match) < (best.log_false_alarm, -best.n_match):
                    best = found
            if best is not None and _explains(field, best):
                return best
            if n_bright >= max(len(field.source), len(field.reference)):
                break
    return best


def _is_significant(pattern: Pattern) -> bool:
    """Tell whether chance is excluded, for an even and for a clustered field."""
    return pattern.log_false_alarm < MAX_LOG_FALSE_ALARM and pattern.n_match > MIN_EXCESS * pattern.expected_by_chance


def _explains(field: Any, pattern: Pattern) -> bool:
    """Tell whether a good part of the shorter list is matched to within a scatter that was resolved."""
    enough = 0.15 * min(len(field.source), field.n_reference_inside)
    return pattern.radius_pix < FINAL_RADIUS_PIX and pattern.n_match - pattern.expected_by_chance > max(enough, 5.0)


class _Field:
    """Both lists, brightest first, and the geometry of the search."""

    def __init__(
        self, source: np.ndarray, reference: np.ndarray, shape: tuple[int, int], max_offset_pix: float
    ) -> None:
        self.source, self.reference, self.shape, self.max_offset_pix = source, reference, shape, max_offset_pix
        self.center = (np.array(shape[::-1], float) - 1.0) / 2.0
        self.bin_pix = min(max(math.hypot(*shape) / 500.0, 3.0), 12.0)
        self.n_reference_inside = np.count_nonzero(np.all(np.abs(reference - self.center) <= self.center + 0.5, axis=1))


def _hypotheses(bin_pix: float, shape: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield arrays (k, 2, 2) of rotations, scales and mirrors, the simplest first."""
    yield np.eye(2)[None]
    step = bin_pix / (math.hypot(*shape) / 2.0)
    n_turn, n_stretch = math.ceil(math.radians(MAX_TURN_DEG) / step), math.ceil(MAX_STRETCH / step)
    turn, stretch = np.meshgrid(np.arange(-n_turn, n_turn + 1) * step, np.arange(-n_stretch, n_stretch + 1) * step)
    turn, scale = turn.ravel(), 1.0 + stretch.ravel()
    cos, sin = scale * np.cos(turn), scale * np.sin(turn)
    grid = np.moveaxis(np.array([[cos, -sin], [sin, cos]]), -1, 0)
    yield grid
    quarter = np.array([[0.0, -1.0], [1.0, 0.0]])
    orientations = [np.linalg.matrix_power(quarter, k) @ np.diag([1.0, mirror]) for mirror in (1, -1) for k in range(4)]
    yield np.concatenate([grid @ orientation for orientation in orientations[1:]])


def _vote(field: Any, matrices: np.ndarray, n_bright: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the most significant candidates, as (matrix, shift about the image center), the best first."""
    source, reference = field.source[:n_bright] - field.center, field.reference[:n_bright] - field.center
    if not len(source) or not len(reference):
        return []
    votes, shift = _count_votes(source, reference, matrices, field.max_offset_pix, field.bin_pix)
    best = np.argsort(-votes, kind="stable")[:N_CANDIDATE]
    return [(matrices[k], shift[k]) for k in best]


@njit(cache=True)
def _count_votes(source, reference, matrices, max_offset, bin_size):
    """Histogram reference - matrix @ source for each matrix; return the votes in the best 2 x 2 bins and their mean."""
    n_bin = int(math.ceil(2.0 * max_offset / bin_size)) + 2
    count = np.zeros(n_bin * n_bin, np.int32)  # of the 2 x 2 bins that start at a bin
    bins = np.empty(len(source) * len(reference), np.int64)
    offsets = np.empty((len(source) * len(reference), 2))
    votes = np.zeros(len(matrices), np.int64)
    shift = np.zeros((len(matrices), 2))
    for k in range(len(matrices)):
        m, n_pair, best = matrices[k], 0, 0
        for i in range(len(source)):
            x = m[0, 0] * source[i, 0] + m[0, 1] * source[i, 1]
            y = m[1, 0] * source[i, 0] + m[1, 1] * source[i, 1]
            for j in range(len(reference)):
                dx, dy = reference[j, 0] - x, reference[j, 1] - y
                if abs(dx) <= max_offset and abs(dy) <= max_offset:
                    column, row = int((dx + max_offset) / bin_size) + 1, int((dy + max_offset) / bin_size) + 1
                    bins[n_pair] = row * n_bin + column
                    offsets[n_pair, 0], offsets[n_pair, 1] = dx, dy
                    for start in (bins[n_pair], bins[n_pair] - 1, bins[n_pair] - n_bin, bins[n_pair] - n_bin - 1):
                        count[start] += 1
                        if count[start] > votes[k]:
                            votes[k], best = count[start], start
                    n_pair += 1
        for p in range(n_pair):
            behind = bins[p] - best
            if behind == 0 or behind == 1 or behind == n_bin or behind == n_bin + 1:
                shift[k, 0] += offsets[p, 0] / votes[k]
                shift[k, 1] += offsets[p, 1] / votes[k]
            count[bins[p]] = count[bins[p] - 1] = count[bins[p] - n_bin] = count[bins[p] - n_bin - 1] = 0
    return votes, shift


def _verify(field: Any, matrix: np.ndarray, shift: np.ndarray, *, n_matrix: int) -> Pattern:
    """Refine a candidate with all stars and count the pairs, in a radius that shrinks to four times their scatter."""
    offset = shift
    source, reference = field.source - field.center, field.reference - field.center
    radius = 2.0 * field.bin_pix
    for _ in range(8):
        i, j = match_points(source @ matrix.T + shift, reference, radius=radius)
        if len(i) < 3:
            break
        matrix, shift = _fit_linear(source[i], reference[j], matrix)
        distance = np.hypot(*(source[i] @ matrix.T + shift - reference[j]).T)
        largest = max(0.7 * radius, FINAL_RADIUS_PIX)
        radius = min(max(4.0 * np.median(distance), MIN_RADIUS_PIX), largest)
    moved = source @ matrix.T + shift
    i, j = match_points(moved, reference, radius=radius)
    chance = _chance_matches(moved, reference, radius)
    # The offset was chosen among those up to its size, in steps of the radius; so was the matrix.
    log_trials = math.log(n_matrix) + 2.0 * math.log1p(math.hypot(*offset) / radius)
    with np.errstate(divide="ignore"):
        log_false_alarm = log_trials + float(np.log(pdtrc(len(i) - 1, chance))) if len(i) >= 3 else math.inf
    return Pattern(matrix, shift + field.center - matrix @ field.center, i, j, radius, chance, log_false_alarm)


def _chance_matches(moved: np.ndarray, reference: np.ndarray, radius: float) -> float:
    """Return how many sources have a reference within the radius by chance, from the density in a ring around each."""
    tree, outer = KDTree(reference), 4.0 * radius + 20.0
    n_outer, n_inner = (tree.query_ball_point(moved, r, return_length=True) for r in (outer, radius))
    expected = (n_outer - n_inner) * radius**2 / (outer**2 - radius**2)
    return float(np.sum(-np.expm1(-expected))) + MIN_CHANCE


def _fit_linear(source: np.ndarray, reference: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit reference = matrix @ source + shift: a shift below 4 pairs, a similarity below 8, else all six parameters."""
    if len(source) < 4:
        return matrix, np.mean(reference - source @ matrix.T, axis=0)
    if len(source) < 8:
        turned = source @ matrix.T
        mean = [turned.mean(axis=0), reference.mean(axis=0)]
        z, w = ((p - m) @ np.array([1.0, 1.0j]) for p, m in zip((turned, reference), mean, strict=True))
        factor = np.vdot(z, w) / np.vdot(z, z)
        matrix = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]]) @ matrix
        return matrix, mean[1] - matrix @ source.mean(axis=0)
    design = np.column_stack([source, np.ones(len(source))])
    solution, *_ = np.linalg.lstsq(design, reference, rcond=None)
    return solution[:2].T, solution[2]


def _in_original_order(pattern: Pattern, source_order: np.ndarray, reference_order: np.ndarray) -> Pattern:
    """Return the pattern with indices into the lists as they were given."""
    i, j = source_order[pattern.source_index], reference_order[pattern.reference_index]
    by_source = np.argsort(i)
    return replace(pattern, source_index=i[by_source], reference_index=j[by_source])
