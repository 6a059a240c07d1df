"""Sums along all straight lines of an image: the fast discrete Radon transform.

Goetz & Druckmueller 1996 Pattern Recognition 29 711; Nir, Zackay & Ofek 2018 AJ 156 229, sect. 3: the sums over strips
of 2, 4, 8 ... rows on the way to the whole image are those of shorter lines.
"""

import math
from dataclasses import dataclass

import numpy as np

from dbpipe.compiled import njit


@dataclass(frozen=True)
class Line:
    """A line through the bins, with the S/N of their sum."""

    x0: float
    y0: float
    x1: float
    y1: float
    snr: float


def strongest_line(bins: np.ndarray, min_bins: int) -> Line | None:
    """Return the line of the largest sum over the root of its number of bins, or None if the image is too small."""
    best = None
    for transposed in (False, True):
        for flipped in (False, True):
            view = bins.T if transposed else bins
            view = view[:, ::-1] if flipped else view
            snr, x0, y0, x1, y1 = _search(np.ascontiguousarray(view), min_bins)
            if flipped:
                x0, x1 = view.shape[1] - 1 - x0, view.shape[1] - 1 - x1
            if transposed:
                x0, y0, x1, y1 = y0, x0, y1, x1
            if snr > 0 and (best is None or snr > best.snr):
                best = Line(x0, y0, x1, y1, snr)
    return best


def _search(bins: np.ndarray, min_bins: int) -> tuple[float, float, float, float, float]:
    """Search the lines that lean right by at most 45 degrees."""
    ny, nx = bins.shape
    n = 1 << (ny - 1).bit_length()
    strips = np.zeros((n, 1, n + nx), np.float32)  # lines may come in from the left
    strips[:ny, 0, n:] = bins
    best = (0.0, 0.0, 0.0, 0.0, 0.0)
    height = 1
    while height < n:
        strips = _fold(strips)
        height *= 2
        if height >= min_bins:
            strip, shift, x, value = _largest(strips)
            snr = value / math.sqrt(min(height, ny))
            if snr > best[0]:
                bottom = strip * height
                best = (snr, float(x - n), float(bottom), float(x - n + shift), float(bottom + height - 1))
    return best


@njit(cache=True)
def _fold(strips):
    """Join neighboring strips: sums along lines that shift by s over twice the height, s = 0 .. 2 height - 1."""
    n, height, width = strips.shape
    joined = np.zeros((n // 2, 2 * height, width), np.float32)
    for k in range(n // 2):
        for shift in range(2 * height):
            low, step = shift // 2, (shift + 1) // 2
            first, second, out = strips[2 * k, low], strips[2 * k + 1, low], joined[k, shift]
            for x in range(width - step):
                out[x] = first[x] + second[x + step]
            for x in range(width - step, width):
                out[x] = first[x]
    return joined


@njit(cache=True)
def _largest(strips):
    n, height, width = strips.shape
    best, where_k, where_s, where_x = np.float32(-1e30), 0, 0, 0
    for k in range(n):
        for s in range(height):
            for x in range(width):
                if strips[k, s, x] > best:
                    best, where_k, where_s, where_x = strips[k, s, x], k, s, x
    return where_k, where_s, where_x, best
