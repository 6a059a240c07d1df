"""Tiles of the sky that hold about as many rows each, and the rim of other tiles around one: nested HEALPix pixels."""

from collections.abc import Sequence

import hpgeom
import numpy as np

INDEX_ORDER = 29
MIN_ORDER = 4
"""Largest tiles, 3.7 degrees wide: small enough that a night touches few of those that a survey has."""
MAX_ORDER = 10
"""Smallest tiles, 3.4 arcmin wide, however crowded the field."""
MAX_ROWS = 1_000_000
"""Rows from which on a tile is split into four; some 100 to 500 MB in memory."""
_SAFETY = 2.0
"""Width of a rim pixel over the margin that it has to hold; the narrowest pixels are 0.6 of the mean width."""


def split_sky(
    cells: np.ndarray, n_row: Sequence[int] | np.ndarray, *, max_rows: int = MAX_ROWS
) -> tuple[np.ndarray, np.ndarray]:
    """Assign every cell of order `MAX_ORDER` to the largest tile that holds at most so many rows.

    Parameters
    ----------
    cells : (n,) int array
        Pixels of order `MAX_ORDER` that have rows.
    n_row : (n,) int array
        How many.

    Returns
    -------
    (n,) int array, (n,) int array
        Order and pixel of the tile of each cell. No tile overlaps another one; where more rows come, a tile is split
        and the others stay.
    """
    cells, n_row = np.asarray(cells, np.int64), np.asarray(n_row, np.int64)
    order = np.full(len(cells), MAX_ORDER)
    for candidate in range(MAX_ORDER - 1, MIN_ORDER - 1, -1):
        tile = cells >> 2 * (MAX_ORDER - candidate)
        _, place = np.unique(tile, return_inverse=True)
        total = np.bincount(place, weights=n_row)
        order[total[place] <= max_rows] = candidate
    return order, cells >> 2 * (MAX_ORDER - order)


def rim_order(margin_arcsec: float) -> int:
    """Return the order of the pixels that make the rim: none is narrower than the margin."""
    order = MAX_ORDER
    while order < INDEX_ORDER and _width_arcsec(order + 1) >= _SAFETY * margin_arcsec:
        order += 1
    if _width_arcsec(order) < _SAFETY * margin_arcsec:
        raise ValueError(f"a margin of {margin_arcsec} arcsec is wider than half of the smallest tile")
    return order


def _width_arcsec(order: int) -> float:
    return np.degrees(np.sqrt(np.pi / 3.0)) * 3600.0 / (1 << order)


def find_rim(order: int, pixel: int, *, at_order: int) -> np.ndarray:
    """Return the pixels of a finer order that lie around a tile, each touching it at a side or a corner, sorted."""
    levels = at_order - order
    n = 1 << levels
    along = np.arange(n)
    x = np.concatenate([along, along, np.zeros(n, int), np.full(n, n - 1)])
    y = np.concatenate([np.zeros(n, int), np.full(n, n - 1), along, along])
    inside = (np.int64(pixel) << 2 * levels) + np.unique(_interleave(x, y, levels))
    around = np.unique(hpgeom.neighbors(1 << at_order, inside, nest=True))
    return around[(around >= 0) & (around >> 2 * levels != pixel)]


def _interleave(x: np.ndarray, y: np.ndarray, levels: int) -> np.ndarray:
    """Return the nested number of a pixel within its tile: the bits of x and y in turn."""
    number = np.zeros(len(x), np.int64)
    for bit in range(levels):
        number |= (x >> bit & 1) << 2 * bit | (y >> bit & 1) << 2 * bit + 1
    return number
