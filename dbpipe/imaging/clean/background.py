"""The smooth sky under the sources."""

from dataclasses import dataclass

import numpy as np
import sep
from scipy import ndimage

from dbpipe.compiled import njit
from dbpipe.constants import robust_sigma
from dbpipe.errors import DataError

GROW_PIX = 6
"""Sources are grown by so much, because their wings would lift the level."""
SOURCE_SIGMA = 3.0
"""A pixel of the smoothed image above so many sky deviations belongs to a source."""

_CLIP_SIGMA = 4.0
"""Pixels further than this from the median of blank sky are left out of the mean; symmetric and wide, so that the
Poisson skewness of the sky moves the mean by less than 0.05 e (median and mode are off by 1/6 and 0.4 e)."""


@dataclass(frozen=True)
class Background:
    """Sky level of an image."""

    level: np.ndarray
    """(ny, nx) float32 image [electron]."""
    median_e: float
    """Median level [electron]."""
    noise_e: float
    """Robust standard deviation of blank pixels about the level [electron]."""


def fit_background(image: np.ndarray, unusable: np.ndarray, *, bin_pix: int = 128) -> Background:
    """Fit the sky level in bins, with the sources found in a first pass left out of the second.

    Parameters
    ----------
    image : (ny, nx) float32 array [electron]
    unusable : (ny, nx) bool array, pixels whose value means nothing
    bin_pix : int, side of the bins; larger than the stars, smaller than the sky's own structure

    Raises
    ------
    DataError
        If fewer than a hundredth of the pixels are sky.
    """
    ny, nx = image.shape
    image = np.ascontiguousarray(image, np.float32)
    first = sep.Background(image, mask=unusable, bw=min(bin_pix, nx), bh=min(bin_pix, ny)).back(dtype=np.float32)
    residual = image - first
    blank = ~(_find_sources(residual, unusable, SOURCE_SIGMA, GROW_PIX) | unusable)
    if blank.mean() < 0.01:
        raise DataError("no blank sky", fraction_blank=float(blank.mean()), fraction_required=0.01)
    correction = smooth_level(residual, blank, bin_pix)
    level = first + correction
    noise = _sigma_of_many((residual - correction)[blank])
    return Background(level, float(np.median(level[::3, ::3])), noise)


def _find_sources(residual: np.ndarray, unusable: np.ndarray, source_sigma: float, grow_pix: int) -> np.ndarray:
    """Mark pixels of the 3x3-smoothed image that stand out of the sky, and what surrounds them."""
    smooth = _box_mean(np.where(unusable, np.float32(0), residual), 1)
    sample = smooth[::3, ::3][~unusable[::3, ::3]]
    if len(sample) == 0:
        return np.zeros(residual.shape, bool)
    threshold = np.median(sample) + source_sigma * _sigma_of_many(sample)
    # an odd noise peak grown to a disk would remove bright sky only, so demand company in a 5 x 5 box
    company = _box_mean(smooth > threshold, 2) * 25.0
    return _box_mean(company > 4.5, grow_pix) > 0.5 / (2 * grow_pix + 1) ** 2


@njit(cache=True)
def _box_mean(image, half):
    """Average an image over boxes of side 2 half + 1 by running sums; beyond the image its edge goes on.

    Returns
    -------
    (ny, nx) float32 array
    """
    ny, nx = image.shape
    n_pix = (2 * half + 1) ** 2
    out = np.empty((ny, nx), np.float32)
    column = np.zeros(nx)
    for j in range(-half - 1, half):
        for x in range(nx):
            column[x] += image[min(max(j, 0), ny - 1), x]
    for y in range(ny):
        enters, leaves = min(y + half, ny - 1), max(y - half - 1, 0)
        for x in range(nx):
            column[x] += np.float64(image[enters, x]) - np.float64(image[leaves, x])
        total = 0.0
        for i in range(-half - 1, half):
            total += column[min(max(i, 0), nx - 1)]
        for x in range(nx):
            total += column[min(x + half, nx - 1)] - column[max(x - half - 1, 0)]
            out[y, x] = total / n_pix
    return out


def smooth_level(residual: np.ndarray, blank: np.ndarray, bin_pix: int) -> np.ndarray:
    """Average blank pixels in bins and draw a smooth surface through the bins.

    Parameters
    ----------
    residual : (ny, nx) float32 array
    blank : (ny, nx) bool array, pixels of sky; one at least
    bin_pix : int

    Returns
    -------
    (ny, nx) float32 array
    """
    ny, nx = residual.shape
    values = residual[blank]
    middle = np.median(values[:: max(1, len(values) // 1_000_000)])
    edges_y, edges_x = (np.linspace(0, n, max(1, round(n / bin_pix)) + 1).astype(int) for n in (ny, nx))
    reach = np.float32(_CLIP_SIGMA * _sigma_of_many(values))
    count, total = _bin_sums(residual, blank, middle, reach, edges_y, edges_x)
    full = count > 0.05 * bin_pix**2
    if not full.any():
        full = count > 0
    mean = _fill_empty(np.divide(total, count, where=full, out=np.zeros(count.shape)), full)
    mean = ndimage.median_filter(mean, 3, mode="nearest")
    return draw_surface(mean, 0.5 * (edges_y[1:] + edges_y[:-1] - 1), 0.5 * (edges_x[1:] + edges_x[:-1] - 1), (ny, nx))


def block_medians(image: np.ndarray, excluded: np.ndarray, block_pix: int, *, wanted: np.ndarray) -> np.ndarray:
    """Return medians in blocks, drawn out smoothly between their middles; 0 for blocks with fewer than a quarter seen.

    Parameters
    ----------
    image : (ny, nx) float array
    excluded : (ny, nx) bool array
    block_pix : int
    wanted : (ny, nx) bool array
        Where they will be used: blocks beyond the next ones are not looked at.

    Returns
    -------
    (ny, nx) float32 array
    """
    counts = [max(1, round(n / block_pix)) for n in image.shape]
    edges_y, edges_x = (np.linspace(0, n, k + 1).astype(int) for n, k in zip(image.shape, counts, strict=True))
    touched = np.logical_or.reduceat(np.logical_or.reduceat(wanted, edges_y[:-1], axis=0), edges_x[:-1], axis=1)
    level = np.zeros(counts, np.float32)
    for j, i in np.argwhere(ndimage.maximum_filter(touched, 3)):
        window = np.s_[edges_y[j] : edges_y[j + 1], edges_x[i] : edges_x[i + 1]]
        seen = image[window][~excluded[window]]
        if seen.size > 0.25 * excluded[window].size:
            level[j, i] = np.median(seen)
    for n in image.shape:
        level = _drawn_out(level, n).T  # the rows first, then, turned, the columns
    return level


def _drawn_out(values: np.ndarray, n: int) -> np.ndarray:
    """Draw rows, middles of equal parts, out to ``n`` rows, linearly between the middles and level beyond."""
    place = np.clip((np.arange(n) + 0.5) * len(values) / n - 0.5, 0.0, len(values) - 1.0)
    low = place.astype(int)
    part = (place - low)[:, None].astype(np.float32)
    return values[low] * (np.float32(1) - part) + values[np.minimum(low + 1, len(values) - 1)] * part


@njit(cache=True)
def _bin_sums(residual, blank, middle, reach, edges_y, edges_x):
    """Return number and sum of the blank pixels within ``reach`` of ``middle`` in each bin."""
    count, total = np.zeros((2, len(edges_y) - 1, len(edges_x) - 1))
    for j in range(len(edges_y) - 1):
        for y in range(edges_y[j], edges_y[j + 1]):
            for i in range(len(edges_x) - 1):
                n, light = 0, 0.0
                for x in range(edges_x[i], edges_x[i + 1]):
                    if blank[y, x] and abs(residual[y, x] - middle) < reach:
                        n += 1
                        light += residual[y, x]
                count[j, i] += n
                total[j, i] += light
    return count, total


def _fill_empty(mean: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Give bins without sky the value of the nearest bin that has some."""
    nearest = ndimage.distance_transform_edt(~full, return_distances=False, return_indices=True)
    return mean[tuple(nearest)]


def draw_surface(mean: np.ndarray, y: np.ndarray, x: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Interpolate bin values, one more bin extrapolated linearly on each side, to all pixels.

    Parameters
    ----------
    mean : (n_y, n_x) float array
    y, x : (n_y,), (n_x,) evenly spaced middles of the bins [pix]
    shape : (ny, nx)

    Returns
    -------
    (ny, nx) float32 array
    """
    for axis in (0, 1):
        if mean.shape[axis] == 1:
            mean = np.repeat(mean, 4, axis=axis)
            continue
        first, second = mean.take([0], axis), mean.take([1], axis)
        last, before = mean.take([-1], axis), mean.take([-2], axis)
        mean = np.concatenate([2 * first - second, mean, 2 * last - before], axis=axis)
    # a spline is linear in its values: one small matrix for each axis
    weight_y, weight_x = (_spline_weights(_nodes(middle, n), n) for middle, n in ((y, shape[0]), (x, shape[1])))
    return weight_y @ mean.astype(np.float32) @ weight_x.T


def _spline_weights(nodes: np.ndarray, n: int) -> np.ndarray:
    """Return the weights (n, n_node) float32 of the values at the nodes in a cubic spline at pixels 0 to n - 1."""
    from scipy.interpolate import make_interp_spline  # loads for a fifth of a second

    return make_interp_spline(nodes, np.eye(len(nodes)), k=3)(np.arange(n)).astype(np.float32)


def _nodes(middle: np.ndarray, n: int) -> np.ndarray:
    if len(middle) == 1:
        return np.linspace(0.0, n - 1.0, 4)
    step = middle[1] - middle[0]
    return np.concatenate([[middle[0] - step], middle, [middle[-1] + step]])


def _sigma_of_many(values: np.ndarray) -> float:
    return robust_sigma(values[:: max(1, len(values) // 200_000)])
