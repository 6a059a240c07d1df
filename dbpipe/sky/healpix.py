"""HEALPix index of the catalog: nested, order 29, the finest that fits into 64 bits (0.4 mas)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import hpgeom
import numpy as np
from numpy.typing import ArrayLike

from dbpipe.constants import ARCSEC_PER_DEG

if TYPE_CHECKING:
    import pandas as pd

ORDER = 29
PLACE_ORDER = 23
"""Pixels of 0.025 arcsec, to whose centers the places of forced photometry are rounded."""


def hpx29(ra: "pd.Series | float | np.ndarray", dec: "pd.Series | float | np.ndarray") -> np.ndarray:
    """Return the nested HEALPix index of order 29 of directions.

    Parameters
    ----------
    ra, dec : float arrays [deg]
        ICRS. Any right ascension is taken modulo 360.

    Returns
    -------
    int64 array of the same shape

    Raises
    ------
    ValueError
        If a coordinate is not finite, or a declination beyond a pole.
    """
    ra, dec = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
    if not np.all(np.isfinite(ra) & (np.abs(dec) <= 90.0)):
        raise ValueError("hpx29 needs finite ra and dec from -90 to 90")
    pixel = hpgeom.angle_to_pixel(1 << ORDER, (ra % 360.0).ravel(), dec.ravel(), nest=True, lonlat=True, degrees=True)
    return np.asarray(pixel, np.int64).reshape(ra.shape)


def cell_order(radius_arcsec: float) -> int:
    """Return the finest order at which a cell and those around it hold all within a radius of any of its points."""
    side_arcsec = np.degrees(np.sqrt(np.pi / 3.0)) * ARCSEC_PER_DEG  # of a cell of order 0
    # cells are rhombi: the narrowest are 0.6 of that across
    return int(min(ORDER, np.floor(np.log2(0.55 * side_arcsec / radius_arcsec))))


def with_neighbors(cells: ArrayLike, order: int) -> np.ndarray:
    """Return the nested cells of an order and all that touch them, sorted, each once."""
    own = np.unique(np.asarray(cells, np.int64))
    around = np.asarray(hpgeom.neighbors(1 << order, own, nest=True), np.int64).ravel()
    return np.union1d(own, around[around >= 0])


def place_pixels(hpx29: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Return the pixels of order 23 that hold pixels of order 29, int64 array."""
    return np.asarray(hpx29, np.int64) >> 2 * (ORDER - PLACE_ORDER)


def place_centers(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ra, dec [deg] of the centers of pixels of order 23, ra from 0 up to 360."""
    ra, dec = hpgeom.pixel_to_angle(
        1 << PLACE_ORDER, np.asarray(pixels, np.int64), nest=True, lonlat=True, degrees=True
    )
    return np.atleast_1d(ra) % 360.0, np.atleast_1d(dec)
