"""What two backgrounds took differently of one sky.

A nebula goes into the sky level of every exposure, but never twice the same: the bins lie elsewhere, and what of it is
called a source depends on seeing and depth.  Two images of it then differ by a smooth surface.  It is followed here
where it is significant, and beside, so that images of a plain sky stay as they are.
"""

import numpy as np
from scipy import ndimage

from dbpipe.constants import MAD_TO_SIGMA
from dbpipe.imaging.clean.background import draw_surface

BIN_PIX = 32
CELL_PIX = 8
"""Side of the cells whose means tell a bin's level and its error, correlated noise and residuals of stars included."""
SIGNIFICANCE = 5.0
REACH_BINS = 2
MIN_BINS = 12
"""Fewest bins, side by side, of a structure: what is smaller may be the glow of a star, or a mover."""
MEDIAN_LOSS = np.sqrt(0.5 * np.pi)
MIN_CELLS = 5
N_PASS = 4
"""The mean over a bin misses a tenth of what changes within four bins; each pass finds that of what is left."""


def follow_structure(difference: np.ndarray, usable: np.ndarray, halo: np.ndarray | None = None) -> np.ndarray:
    """Follow the difference of two images of one sky where it is not flat.

    Parameters
    ----------
    difference : (ny, nx) float array
    usable : (ny, nx) bool array
    halo : (ny, nx) bool array, optional
        Where a saturated star shines, if its wings are still in the difference. They are the business of others: no
        structure begins there.

    Returns
    -------
    (n_y, n_x) float32 array, nodes for `structure_image`; all zero where there is no significant structure
    """
    ny, nx = difference.shape
    nodes = np.zeros((-(-ny // BIN_PIX), -(-nx // BIN_PIX)), np.float32)
    count = _cells(usable.astype(np.float64))
    full = count > 0.5 * CELL_PIX**2
    region = (
        np.ones(full.shape[:-1], bool)
        if halo is None
        else ~_near(np.asarray(_cells(halo.astype(np.float64)).any(axis=-1)))
    )
    for number in range(N_PASS):
        left = difference - structure_image(nodes, difference.shape) if nodes.any() else difference
        total = _cells(np.where(usable, left, 0.0))
        level, error = _levels(np.where(full, total / np.maximum(count, 1.0), np.nan))
        significant = region & (np.abs(level) > SIGNIFICANCE * error)
        if number == 0:
            significant = _large(significant)
            region = _near(significant)
        if not significant.any():
            break
        # the threshold decides where to look, not what is left; what is not seen continues what is
        seen = np.isfinite(error)
        nodes += _continued(np.where(_near(significant), level, 0.0), seen).astype(np.float32)
    return nodes


def _near(bins: np.ndarray) -> np.ndarray:
    """Mark bins and what is within reach of them."""
    return ndimage.binary_dilation(bins, iterations=REACH_BINS)


def _large(bins: np.ndarray) -> np.ndarray:
    """Keep the bins that hang together in groups large enough."""
    group, _ = ndimage.label(bins, np.ones((3, 3)))
    return bins & (np.bincount(group.ravel())[group] >= MIN_BINS)


def structure_image(nodes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Draw the surface through nodes of `follow_structure`, (ny, nx) float32."""
    y, x = ((np.arange(n) + 0.5) * BIN_PIX - 0.5 for n in nodes.shape)
    return draw_surface(nodes, y, x, shape)


def _cells(image: np.ndarray) -> np.ndarray:
    """Sum over cells, arranged by bins: (n_y, n_x, cells of a bin)."""
    n_y, n_x = (-(-n // BIN_PIX) for n in image.shape)
    padded = np.zeros((n_y * BIN_PIX, n_x * BIN_PIX))
    padded[: image.shape[0], : image.shape[1]] = image
    side = BIN_PIX // CELL_PIX
    cells = padded.reshape(n_y, side, CELL_PIX, n_x, side, CELL_PIX).sum(axis=(2, 5))
    return cells.transpose(0, 2, 1, 3).reshape(n_y, n_x, side * side)


def _levels(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of the cells of each bin and its error; infinite error where too few are seen."""
    seen = np.isfinite(cells)
    n_seen = seen.sum(axis=-1)
    enough = n_seen >= MIN_CELLS
    known = np.where(enough[..., None], cells, 0.0)
    level = np.nanmedian(known, axis=-1)
    spread = MAD_TO_SIGMA * np.nanmedian(np.abs(known - level[..., None]), axis=-1)
    # a few cells can agree by chance: none is better than half of the bins
    spread = np.maximum(spread, np.median(spread[enough]) if enough.any() else 0.0)
    return level, np.where(enough, MEDIAN_LOSS * spread / np.sqrt(np.maximum(n_seen, 1)), np.inf)


def _continued(level: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Extrapolate linearly from the bins that are seen to those beside them; further out the value stays."""
    if seen.all() or not seen.any():
        return level
    place = ndimage.distance_transform_edt(~seen, return_distances=False, return_indices=True)
    inner = tuple(
        np.clip(near + np.sign(near - own), 0, n - 1)
        for near, own, n in zip(place, np.indices(seen.shape), seen.shape, strict=True)
    )
    near = level[tuple(place)]
    return np.where(seen, level, near + np.where(seen[inner], near - level[inner], 0.0))
