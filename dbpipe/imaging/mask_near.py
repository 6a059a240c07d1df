"""What a mask says around a place."""

from collections.abc import Sequence

import numpy as np

from dbpipe.compiled import njit


@njit(cache=True)
def _or_bits(mask, x, y, radius):
    ny, nx = mask.shape
    bits = np.zeros(len(x), np.uint16)
    reach = int(np.ceil(radius))
    for i in range(len(x)):
        cx, cy = int(np.floor(x[i] + 0.5)), int(np.floor(y[i] + 0.5))
        for v in range(max(cy - reach, 0), min(cy + reach + 1, ny)):
            for u in range(max(cx - reach, 0), min(cx + reach + 1, nx)):
                if (u - x[i]) ** 2 + (v - y[i]) ** 2 <= radius * radius:
                    bits[i] |= mask[v, u]
    return bits


def mask_bits(
    mask: np.ndarray, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, *, radius_pix: float
) -> np.ndarray:
    """Return the mask bits set anywhere within ``radius_pix`` of each position, (n,) uint16."""
    return _or_bits(mask, np.asarray(x, np.float64), np.asarray(y, np.float64), float(radius_pix))


def touches(flag: np.ndarray, x: np.ndarray, y: np.ndarray, *, radius_pix: float) -> np.ndarray:
    """Return which positions have a True pixel of ``flag`` (ny, nx) within a radius of the pixel that they are on."""
    return mask_bits(flag.astype(np.uint16), np.floor(x + 0.5), np.floor(y + 0.5), radius_pix=radius_pix) != 0
