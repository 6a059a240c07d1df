"""Peaks of a score image: one per source, of either sign."""

from dataclasses import dataclass

import numpy as np

from dbpipe.compiled import njit
from dbpipe.errors import DataError
from dbpipe.imaging.mask import NO_DATA
from dbpipe.imaging.sources.peak_height import peak_height

MAX_PEAKS = 100000
"""More are no sky."""


@dataclass(frozen=True)
class Peaks:
    """Detected peaks, the most significant first."""

    x: np.ndarray
    """(n,) int64 [pix] column of the highest pixel."""
    y: np.ndarray
    """(n,) int64 [pix] row of the highest pixel."""
    score: np.ndarray
    """(n,) float64 signed matched-filter signal to noise at the maximum, which is between the pixels."""


def score_response(psf: np.ndarray) -> np.ndarray:
    """Return what the score image shows of a point source of unit score: the PSF's autocorrelation.

    A matched filter in white noise answers a source at distance d with
    rho(d) = sum_p P(p) P(p + d) / sum_p P(p)^2 times its score (Zackay, Ofek & Gal-Yam 2016 ApJ 830 27, eq. 9).

    Parameters
    ----------
    psf : (size, size) float array, size odd

    Returns
    -------
    (size, size) float32 array, 1 at the center.
    """
    psf = np.asarray(psf, float)
    size = psf.shape[0]
    full = 2 * size
    power = np.abs(np.fft.rfft2(psf, (full, full))) ** 2
    correlation = np.fft.fftshift(np.fft.irfft2(power, (full, full)))
    half = size // 2
    cut = slice(size - half, size + half + 1)
    return (correlation[cut, cut] / correlation[size, size]).astype(np.float32)


def find_peaks(
    score: np.ndarray, mask: np.ndarray, *, response: np.ndarray, threshold: float = 4.0, model_error: float = 0.03
) -> Peaks:
    """Find the local maxima of |score|, without those that a brighter source explains.

    What counts is the height between the pixels (`peak_height`): it does not depend on where on the pixels a source
    lies. A candidate next to brighter accepted peaks b is kept if |S| - E reaches the threshold, where
    E = sum_b |S_b| (rho(d_b) + model_error): the flank, the side lobes (of either sign: a decorrelated PSF has negative
    ones) and an allowance for a PSF that is not perfect. The allowance ends where the response fades. A plateau counts
    once.

    Parameters
    ----------
    score : (ny, nx) float32 array, NaN where it is not known
    mask : (ny, nx) uint16 array; pixels without data are no peaks
    response : (size, size) float array, `score_response` of the PSF
    threshold : float
    model_error : float
        Error of the response as a fraction of the brighter source's score.

    Returns
    -------
    Peaks
        By falling |score|, ties by y and x.

    Raises
    ------
    DataError
        If there are more than `MAX_PEAKS` candidates.
    """
    response = np.asarray(response, np.float64)
    pixel_threshold = np.float32(threshold * _corner(response))
    x, y, fine = _local_maxima(score, mask, pixel_threshold, threshold, MAX_PEAKS)
    if len(x) > MAX_PEAKS:
        raise DataError("too many peaks in the score image", n_peak=len(x), limit=MAX_PEAKS, threshold=threshold)
    order = np.lexsort((x, y, -np.abs(fine[:, 2])))
    x, y, fine = x[order], y[order], fine[order]
    keep = _unexplained(x, y, *np.ascontiguousarray(fine.T), response, threshold, model_error)
    return Peaks(x[keep], y[keep], fine[keep, 2])


def _corner(response: np.ndarray) -> float:
    """Return what part of its height a source certainly shows in its highest pixel.

    Worst is a place midway between four pixels; the mean of response there is lower than the response itself by more
    than noise makes the lowest peaks steeper.
    """
    half = response.shape[0] // 2
    return max(float(response[half : half + 2, half : half + 2].mean()), 0.0)


@njit(cache=True)
def _local_maxima(score, mask, pixel_threshold, threshold, max_peaks):
    """Return x, y of pixels that no neighbor of the same sign beats, and (x, y, value) of the maxima beside them.

    Both the pixel and the maximum are above their threshold; the search stops after max_peaks + 1.
    """
    ny, nx = score.shape
    xs = np.empty(max_peaks + 1, np.int64)
    ys = np.empty(max_peaks + 1, np.int64)
    fine = np.empty((max_peaks + 1, 3))
    n = 0
    for y in range(ny):
        for x in range(nx):
            value = score[y, x]
            if abs(value) >= pixel_threshold and not mask[y, x] & NO_DATA and _is_maximum(score, y, x):
                x_fine, y_fine, height = peak_height(score, x, y)
                if abs(height) >= threshold:
                    if n > max_peaks:
                        return xs, ys, fine
                    xs[n], ys[n] = x, y
                    fine[n, 0], fine[n, 1], fine[n, 2] = x_fine, y_fine, height
                    n += 1
    return xs[:n], ys[:n], fine[:n]


@njit(cache=True)
def _is_maximum(score, y, x):
    ny, nx = score.shape
    value = abs(score[y, x])
    sign = 1.0 if score[y, x] > 0 else -1.0
    for v in range(max(y - 1, 0), min(y + 2, ny)):
        for u in range(max(x - 1, 0), min(x + 2, nx)):
            other = sign * score[v, u]
            # Of equal neighbors the first in reading order wins; a bent plateau's second winner is explained later.
            if other > value or (other == value and (v < y or (v == y and u < x))):
                return False
    return True


@njit(cache=True)
def _unexplained(x, y, x_fine, y_fine, value, response, threshold, model_error):
    """Keep the peaks that stand out of the brighter ones' response; peaks come by falling |value|."""
    n = len(x)
    half = response.shape[0] // 2
    keep = np.zeros(n, np.bool_)
    cell_start, cell_next, cell_of, n_cell_x = _cells(x, y, half + 1)
    n_cell = len(cell_start)
    for i in range(n):
        explained = 0.0
        for row in range(-1, 2):
            for column in range(-1, 2):
                cell = cell_of[i] + row * n_cell_x + column
                j = cell_start[cell] if 0 <= cell < n_cell else -1
                while j >= 0:
                    if j < i and keep[j]:
                        dx, dy = x_fine[i] - x_fine[j], y_fine[i] - y_fine[j]
                        if abs(dx) < half and abs(dy) < half:
                            rho = _bilinear(response, dx + half, dy + half)
                            same = rho if value[i] * value[j] > 0 else -rho
                            allowance = model_error if abs(rho) > 0.01 else 0.0
                            explained += abs(value[j]) * (max(same, 0.0) + allowance)
                    j = cell_next[j]
        keep[i] = abs(value[i]) - explained >= threshold or explained == 0.0
    return keep


@njit(cache=True)
def _cells(x, y, side):
    """Linked lists of the peaks in square cells, with a border of empty ones."""
    n_cell_x = (x.max() if len(x) else 0) // side + 3
    n_cell_y = (y.max() if len(y) else 0) // side + 3
    start = np.full(n_cell_x * n_cell_y, -1, np.int64)
    following = np.full(len(x), -1, np.int64)
    cell_of = np.empty(len(x), np.int64)
    for i in range(len(x)):
        cell_of[i] = (y[i] // side + 1) * n_cell_x + x[i] // side + 1
        following[i] = start[cell_of[i]]
        start[cell_of[i]] = i
    return start, following, cell_of, n_cell_x


@njit(cache=True)
def _bilinear(image, x, y):
    x0, y0 = int(x), int(y)
    u, v = x - x0, y - y0
    return (1 - v) * ((1 - u) * image[y0, x0] + u * image[y0, x0 + 1]) + v * (
        (1 - u) * image[y0 + 1, x0] + u * image[y0 + 1, x0 + 1]
    )
