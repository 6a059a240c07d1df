"""The smooth sky under the sources."""

from dataclasses import dataclass

import numpy as np
import sep
from scipy import ndimage
from scipy.interpolate import RectBivariateSpline

from dbpipe.errors import DataError
from dbpipe.units import MAD_TO_SIGMA

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


def fit_background(image, unusable, *, bin_pix=128, source_sigma=3.0, grow_pix=6):
    """Fit the sky level in bins, with the sources found in a first pass left out of the second.

    Parameters
    ----------
    image : (ny, nx) float32 array [electron]
    unusable : (ny, nx) bool array, pixels whose value means nothing
    bin_pix : int, side of the bins; larger than the stars, smaller than the sky's own structure
    source_sigma : float, a pixel of the smoothed image above this many sky deviations belongs to a source
    grow_pix : int, sources are grown by this, because their wings would lift the level

    Raises
    ------
    DataError
        If fewer than a hundredth of the pixels are sky.
    """
    ny, nx = image.shape
    image = np.ascontiguousarray(image, np.float32)
    first = sep.Background(image, mask=unusable, bw=min(bin_pix, nx), bh=min(bin_pix, ny)).back(dtype=np.float32)
    residual = image - first
    blank = ~(_find_sources(residual, unusable, source_sigma, grow_pix) | unusable)
    if blank.mean() < 0.01:
        raise DataError("no blank sky", fraction_blank=float(blank.mean()), fraction_required=0.01)
    correction = _smooth_level(residual, blank, bin_pix)
    level = first + correction
    return Background(level, float(np.median(level)), _robust_sigma((residual - correction)[blank]))


def _find_sources(residual, unusable, source_sigma, grow_pix):
    """Mark pixels of the 3x3-smoothed image that stand out of the sky, and what surrounds them."""
    smooth = ndimage.uniform_filter(np.where(unusable, np.float32(0), residual), 3)
    sample = smooth[::3, ::3][~unusable[::3, ::3]]
    if len(sample) == 0:
        return np.zeros(residual.shape, bool)
    threshold = np.median(sample) + source_sigma * _robust_sigma(sample)
    # an odd noise peak grown to a disc would remove bright sky only, so demand company in a 5 x 5 box
    company = ndimage.uniform_filter((smooth > threshold).astype(np.float32), 5) * 25.0
    return ndimage.uniform_filter((company > 4.5).astype(np.float32), 2 * grow_pix + 1) > 0.5 / (2 * grow_pix + 1) ** 2


def _smooth_level(residual, blank, bin_pix):
    """Average blank pixels in bins and draw a smooth surface through the bins."""
    ny, nx = residual.shape
    middle = np.median(residual[blank][:: max(1, int(blank.sum()) // 1_000_000)])
    used = blank & (np.abs(residual - middle) < _CLIP_SIGMA * _robust_sigma(residual[blank]))
    edges_y, edges_x = (np.linspace(0, n, max(1, round(n / bin_pix)) + 1).astype(int) for n in (ny, nx))
    count = _bin_sum(used.astype(np.float32), edges_y, edges_x)
    total = _bin_sum(np.where(used, residual, np.float32(0)), edges_y, edges_x)
    full = count > 0.05 * bin_pix**2
    if not full.any():
        full = count > 0
    mean = _fill_empty(np.divide(total, count, where=full, out=np.zeros(count.shape)), full)
    mean = ndimage.median_filter(mean, 3, mode="nearest")
    return _surface(mean, 0.5 * (edges_y[1:] + edges_y[:-1] - 1), 0.5 * (edges_x[1:] + edges_x[:-1] - 1), (ny, nx))


def _bin_sum(image, edges_y, edges_x):
    rows = np.add.reduceat(image, edges_y[:-1], axis=0, dtype=np.float64)
    return np.add.reduceat(rows, edges_x[:-1], axis=1)


def _fill_empty(mean, full):
    """Give bins without sky the value of the nearest bin that has some."""
    nearest = ndimage.distance_transform_edt(~full, return_distances=False, return_indices=True)
    return mean[tuple(nearest)]


def _surface(mean, y, x, shape):
    """Interpolate bin values, one more bin extrapolated linearly on each side, to all pixels."""
    for axis in (0, 1):
        if mean.shape[axis] == 1:
            mean = np.repeat(mean, 4, axis=axis)
            continue
        first, second = mean.take([0], axis), mean.take([1], axis)
        last, before = mean.take([-1], axis), mean.take([-2], axis)
        mean = np.concatenate([2 * first - second, mean, 2 * last - before], axis=axis)
    y, x = (_nodes(middle, n) for middle, n in ((y, shape[0]), (x, shape[1])))
    spline = RectBivariateSpline(y, x, mean, kx=min(3, len(y) - 1), ky=min(3, len(x) - 1))
    return spline(np.arange(shape[0]), np.arange(shape[1])).astype(np.float32)


def _nodes(middle, n):
    if len(middle) == 1:
        return np.linspace(0.0, n - 1.0, 4)
    step = middle[1] - middle[0]
    return np.concatenate([[middle[0] - step], middle, [middle[-1] + step]])


def _robust_sigma(values):
    sample = values[:: max(1, len(values) // 200_000)]
    return MAD_TO_SIGMA * float(np.median(np.abs(sample - np.median(sample))))
