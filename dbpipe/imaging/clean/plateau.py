"""The level at which the stars of an image are cut off, found in the image itself.

The level that the description of an instrument gives does not hold for frames that were sky-subtracted, scaled to
counts per second or stacked, and it may be wrong. Stars that were cut off give it away: their tops are flat over
several pixels, end in steep edges, and all have one level above which there is next to nothing. A PSF is never like
that: where it has fallen by 2 % it is still a parabola, so that two pixels further out it has fallen by less than 18 %.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

FLAT = 0.02
"""Part of its height within which a top is flat; tops of a stack of frames with different skies slope by 1 %."""
EDGE_DROP = 11.0 * FLAT
"""A flat top ends with at least this drop, as a part of its height, within two pixels; a parabola whose five highest
pixels are flat falls by 9 `FLAT` there at most."""
SPREAD = 0.06
"""Part by which the heights of tops of one level may differ: a flat field was divided out, or two amplifiers differ."""
MIN_SKY_SIGMA = 30.0
"""Lower than this above the sky the noise flattens some tops."""
MIN_TOPS = 3
"""Flat tops of one level that make a plateau; fewer do if their pixels are equal."""
MIN_EQUAL = 5
EQUAL = 0.001
"""So many pixels of a top that are equal to this part are no coincidence: the light of a star is noisier."""
MAX_TOPS = 5000
"""The brightest flat tops are enough, however crowded the field."""
_CROSS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass(frozen=True)
class Plateau:
    """Flat tops of stars at one level."""

    level_e: float
    """Median value of their pixels, in the image's own values, sky included [electron]."""
    lowest_e: float
    """Pixels from here on are cut off [electron]."""
    n_top: int
    """Flat tops that show it."""
    n_pix: int
    """Pixels at the level or above."""


@dataclass(frozen=True)
class _Tops:
    """Flat tops of an image; arrays (n,), the highest first."""

    height: np.ndarray
    """Median above the sky."""
    is_equal: np.ndarray
    """Most of its pixels are equal."""


def find_plateau(image: np.ndarray, unusable: np.ndarray, *, sky_e: float, noise_e: float) -> Plateau | None:
    """Find the level at which stars are cut off.

    Parameters
    ----------
    image : (ny, nx) float array [electron], sky included
    unusable : (ny, nx) bool array, pixels whose value means nothing, known saturated ones among them
    sky_e, noise_e : float, level of the sky and its standard deviation [electron]

    Returns
    -------
    Plateau or None
        The lowest one, should parts of the detector have different levels.
    """
    height = np.where(unusable, np.float32(0), image - np.float32(sky_e))
    tops = _find_tops(height, unusable, MIN_SKY_SIGMA * noise_e)
    found, ceiling = None, np.inf
    while (same := _highest_level(height, tops, ceiling)) is not None:
        found, ceiling = same, (1.0 - FLAT) * tops.height[same].min()
    if found is None:
        return None
    n_pix = int(np.count_nonzero(height >= ceiling))
    return Plateau(float(np.median(tops.height[found]) + sky_e), float(ceiling + sky_e), len(found), n_pix)


def _find_tops(height: np.ndarray, unusable: np.ndarray, least: float) -> _Tops:
    """Return the flat tops with steep edges, the highest first."""
    flat = _flat_cores(height, unusable, least)
    labels, n = ndimage.label(flat, structure=np.ones((3, 3)))
    if n == 0:
        return _Tops(np.zeros(0), np.zeros(0, bool))
    rows, columns = np.nonzero(flat)
    label = labels[rows, columns]
    order = np.argsort(label, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
    groups.sort(key=lambda group: -height[rows[group[0]], columns[group[0]]])
    heights, equal = [], []
    for group in groups[:MAX_TOPS]:
        top = _judge_top(height, unusable, rows[group], columns[group])
        if top is not None:
            heights.append(top[0])
            equal.append(top[1])
    return _Tops(np.array(heights), np.array(equal, bool))


def _flat_cores(height: np.ndarray, unusable: np.ndarray, least: float) -> np.ndarray:
    """Mark bright pixels that are as high as those on their four sides, to `FLAT`, all of them usable."""
    ny, nx = height.shape
    rows, columns = np.nonzero(height >= least)
    inside = (rows >= 3) & (rows < ny - 3) & (columns >= 3) & (columns < nx - 3)
    rows, columns = rows[inside], columns[inside]
    cross = np.stack([height[rows + dy, columns + dx] for dy, dx in _CROSS])
    good = ~np.any([unusable[rows + dy, columns + dx] for dy, dx in _CROSS], axis=0)
    good &= cross.min(axis=0) >= (1.0 - FLAT) * cross.max(axis=0)
    flat = np.zeros(height.shape, bool)
    flat[rows[good], columns[good]] = True
    return flat


def _judge_top(
    height: np.ndarray, unusable: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[float, bool] | None:
    """Return (height, whether its pixels are equal) of a group of flat pixels, or None if it has no steep edges."""
    y0, x0 = max(rows.min() - 4, 0), max(columns.min() - 4, 0)
    window = slice(y0, rows.max() + 5), slice(x0, columns.max() + 5)
    values, bad = height[window], unusable[window]
    core = np.zeros(values.shape, bool)
    for dy, dx in _CROSS:
        core[rows - y0 + dy, columns - x0 + dx] = True
    level = float(np.median(values[core]))
    # the edge of the top itself belongs to it as far as it is as high
    top = ndimage.binary_propagation(core, np.ones((3, 3)), mask=core | (values >= (1.0 - FLAT) * level))
    near = ndimage.binary_dilation(top, np.ones((3, 3)))
    ring = ndimage.binary_dilation(near, np.ones((3, 3))) & ~near & ~bad
    if ring.sum() < 8 or values[near].max() > (1.0 + 2.0 * FLAT) * level:
        return None
    if np.median(values[ring]) > (1.0 - EDGE_DROP) * level or values[ring].max() > (1.0 - FLAT) * level:
        return None
    n_equal = np.count_nonzero(np.abs(values[top] / level - 1.0) < EQUAL)
    return level, bool(n_equal >= max(MIN_EQUAL, 0.5 * top.sum()))


def _highest_level(height: np.ndarray, tops: _Tops, ceiling: float) -> np.ndarray | None:
    """Return the indices of the tops that make the highest plateau beneath a ceiling, or None."""
    left = np.flatnonzero(tops.height < ceiling)
    for k in left[np.argsort(-tops.height[left], kind="stable")]:
        same = left[np.abs(tops.height[left] / tops.height[k] - 1.0) < SPREAD]
        if not tops.is_equal[same].any():
            # where stars of every brightness have flat tops, out of focus, say, it is no plateau
            n_lower = int(np.count_nonzero(tops.height[left] < tops.height[same].min()))
            if len(same) < max(MIN_TOPS, n_lower):
                continue
        low, high = tops.height[same].min(), tops.height[same].max()
        at = (height >= (1.0 - FLAT) * low) & (height <= (1.0 + FLAT) * high)
        above = (height > (1.0 + FLAT) * high) & (height < ceiling)
        if np.count_nonzero(at) > np.count_nonzero(above):
            return same
    return None
