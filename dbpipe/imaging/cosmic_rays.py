"""Cosmic rays by Laplacian edge detection, evaluated only where the Laplacian stands out.

van Dokkum 2001 PASP 113 1420: a hit is sharper than the sky allows (S' > sigma: Laplacian over noise, without what is
large) and than a star can be (S' over the fine structure F > contrast). The medians behind noise, S' and F are what
costs, and one pixel in a thousand needs them. They are separable, as in astroscrappy, which is the judge in the test.
"""

import numpy as np
from numba import njit
from scipy import ndimage

_NEIGHBOUR_FRACTION = 0.3
"""A pixel beside a hit needs this part of the threshold."""
_LOWEST_SKY = 0.5
"""No neighbourhood is darker than this part of the sky, so a pixel below its threshold needs no local noise."""
_NOISE_HALF, _FINE_HALF, _LARGE_HALF = 3, 2, 4
"""Half sides of the boxes whose medians give noise and S' (7 pix), and the fine structure (5 pix less 9 pix)."""
_MIN_FINE_SIGMA = 0.01
"""Least fine structure [sigma]; a hit on blank sky has none."""


def find_cosmic_rays(image, unusable, *, sky_e, read_noise_e, sigma=5.0, object_contrast=5.0):
    """Find cosmic rays.

    The noise model is the median-filtered image: a variance plane would hold the cosmic rays' own counts. Tried with
    FWHM 2.6 pix and wider: no star up to 3e5 electrons loses a pixel.

    Parameters
    ----------
    image : (ny, nx) float array [electron], background subtracted
    unusable : (ny, nx) bool array, left out of the search together with what touches it: beside a hole all is sharp
    sky_e : float or (ny, nx) array [electron], the background that was subtracted
    read_noise_e : float [electron]
    sigma : float, threshold in standard deviations
    object_contrast : float, smallest contrast between the Laplacian and the fine structure of stars

    Returns
    -------
    hit : (ny, nx) bool array
    """
    level = (image + sky_e).astype(np.float32)
    darkest = np.float32(_LOWEST_SKY * max(float(np.min(sky_e)), 0.0))
    unusable = ndimage.maximum_filter(unusable, 3)
    rows, columns = _sharp_pixels(level, unusable, darkest, read_noise_e**2, sigma)
    seeds = _unlike_stars(level, rows, columns, read_noise_e**2, sigma, object_contrast)
    hit = np.zeros(level.shape, bool)
    hit[rows[seeds], columns[seeds]] = True
    # twice: what is sharp enough but failed the contrast beside a hit, then their fainter fringe
    for threshold in (sigma, _NEIGHBOUR_FRACTION * sigma):
        rows, columns = _neighbours(hit, unusable)
        sharp = _sharpness_at(level, rows, columns, read_noise_e**2) > threshold
        hit[rows[sharp], columns[sharp]] = True
    return hit


def _neighbours(hit, unusable):
    """Return rows and columns of the usable pixels that touch a hit and are none."""
    ny, nx = hit.shape
    y, x = (
        (at[:, None] + step.ravel()).ravel() for at, step in zip(np.nonzero(hit), np.mgrid[-1:2, -1:2], strict=True)
    )
    inside = (y >= 0) & (y < ny) & (x >= 0) & (x < nx)
    pixel = np.unique(y[inside] * nx + x[inside])
    pixel = pixel[~(hit | unusable).ravel()[pixel]]
    return np.divmod(pixel, nx)


@njit(cache=True)
def _sharp_pixels(level, unusable, darkest, read_variance, sigma):
    """Return rows and columns of the pixels whose Laplacian is above the threshold for the lowest possible noise."""
    ny, nx = level.shape
    rows, columns = [], []
    limit = 2.0 * sigma * np.sqrt(darkest + read_variance)
    for y in range(ny):
        for x in range(nx):
            if not unusable[y, x] and _laplacian(level, y, x) > limit:
                rows.append(y)
                columns.append(x)
    return np.array(rows, np.int64), np.array(columns, np.int64)


@njit(cache=True)
def _unlike_stars(level, rows, columns, read_variance, sigma, object_contrast):
    """Return which pixels are sharper than noise and than a star."""
    seed = np.zeros(len(rows), np.bool_)
    for k in range(len(rows)):
        y, x = rows[k], columns[k]
        noise = _noise(level, y, x, 0, read_variance)[0, 0]
        upper = _laplacian(level, y, x) / (2.0 * noise)
        if upper <= sigma:
            continue
        fine = _box_medians(level, y, x, _FINE_HALF, _LARGE_HALF)
        large = _box_medians(fine, _LARGE_HALF, _LARGE_HALF, _LARGE_HALF, 0)[0, 0]
        limit = max(sigma, object_contrast * max((fine[_LARGE_HALF, _LARGE_HALF] - large) / noise, _MIN_FINE_SIGMA))
        seed[k] = upper > limit and _sharpness(level, y, x, read_variance) > limit
    return seed


@njit(cache=True)
def _sharpness_at(level, rows, columns, read_variance):
    sharpness = np.empty(len(rows), np.float32)
    for k in range(len(rows)):
        sharpness[k] = _sharpness(level, rows[k], columns[k], read_variance)
    return sharpness


@njit(cache=True)
def _sharpness(level, y, x, read_variance):
    """Return S': the Laplacian over twice the noise, less its median around."""
    around = 0.5 / _noise(level, y, x, _NOISE_HALF, read_variance)
    for i in range(around.shape[0]):
        for j in range(around.shape[1]):
            v = min(max(y + i - _NOISE_HALF, 0), level.shape[0] - 1)
            u = min(max(x + j - _NOISE_HALF, 0), level.shape[1] - 1)
            around[i, j] *= _laplacian(level, v, u)
    return around[_NOISE_HALF, _NOISE_HALF] - _box_medians(around, _NOISE_HALF, _NOISE_HALF, _NOISE_HALF, 0)[0, 0]


@njit(cache=True)
def _noise(level, y, x, reach, read_variance):
    """Return the noise of the pixels within ``reach`` of (y, x), from the median-filtered image."""
    counts = _box_medians(level, y, x, _NOISE_HALF, reach)
    return np.sqrt(np.maximum(counts + np.float32(read_variance), np.float32(1e-5)))


@njit(cache=True)
def _laplacian(level, y, x):
    """Return L+: the positive part of the Laplacian of the pixel cut in four, averaged (eqs. 5 to 7 of the paper)."""
    ny, nx = level.shape
    twice = 2.0 * level[y, x]
    left, right = level[y, max(x - 1, 0)], level[y, min(x + 1, nx - 1)]
    down, up = level[max(y - 1, 0), x], level[min(y + 1, ny - 1), x]
    total = max(twice - left - down, 0.0) + max(twice - right - down, 0.0)
    return 0.25 * (total + max(twice - left - up, 0.0) + max(twice - right - up, 0.0))


@njit(cache=True)
def _box_medians(image, y, x, half, reach):
    """Return the median of the medians of the rows of the boxes around all pixels within ``reach`` of (y, x).

    Beyond the image its edge goes on.
    """
    ny, nx = image.shape
    n, side = 2 * reach + 1, 2 * half + 1
    line = np.empty(side, np.float32)
    rows = np.empty((n + 2 * half, n), np.float32)
    for i in range(n + 2 * half):
        v = min(max(y + i - reach - half, 0), ny - 1)
        for j in range(n):
            for k in range(side):
                line[k] = image[v, min(max(x + j + k - reach - half, 0), nx - 1)]
            rows[i, j] = _middle(line)
    medians = np.empty((n, n), np.float32)
    for i in range(n):
        for j in range(n):
            for k in range(side):
                line[k] = rows[i + k, j]
            medians[i, j] = _middle(line)
    return medians


@njit(cache=True)
def _middle(values):
    """Sort a short array of odd length in place and return its median."""
    for i in range(1, len(values)):
        value = values[i]
        j = i
        while j > 0 and values[j - 1] > value:
            values[j] = values[j - 1]
            j -= 1
        values[j] = value
    return values[len(values) // 2]
