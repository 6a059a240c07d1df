"""Move a sampled PSF by a fraction of a pixel: interpolating quintic B-splines, compiled.

A B-spline sums to one over any shifted grid, so the shift keeps the flux exactly, and its derivatives are exact ones
of the model that is fitted (Unser 1999 IEEE Signal Process. Mag. 16(6) 22, sects. 2 and 3).
"""

import numpy as np
from scipy.ndimage import spline_filter1d

from dbpipe.compiled import njit
from dbpipe.imaging.mask import UNUSABLE

_UNUSABLE = np.uint16(UNUSABLE)
_TAPS = 6


def spline_coefficients(psf: np.ndarray) -> np.ndarray:
    """Return the B-spline coefficients of PSF stamps.

    Parameters
    ----------
    psf : (n, size, size) float array, size odd, centered on the central pixel

    Returns
    -------
    (n, size, size) float32 array.
    """
    along_y = spline_filter1d(np.asarray(psf, np.float32), order=5, axis=1, output=np.float32)
    return spline_filter1d(along_y, order=5, axis=2, output=np.float32)


@njit(cache=True)
def spline_weights(t):
    """Quintic B-spline weights of the taps -2 to 3 around a point t in [0, 1) after tap 0, and their derivatives."""
    value = np.empty(_TAPS)
    slope = np.empty(_TAPS)
    for tap in range(_TAPS):
        d = t - (tap - 2)
        a = abs(d)
        if a < 1.0:
            value[tap] = (66.0 - a**2 * (60.0 - a**2 * (30.0 - 10.0 * a))) / 120.0
            slope[tap] = -a * (120.0 - a**2 * (120.0 - 50.0 * a)) / 120.0
        elif a < 2.0:
            value[tap] = (51.0 + a * (75.0 + a * (-210.0 + a * (150.0 + a * (-45.0 + 5.0 * a))))) / 120.0
            slope[tap] = (75.0 + a * (-420.0 + a * (450.0 + a * (-180.0 + 25.0 * a)))) / 120.0
        else:
            value[tap] = (3.0 - a) ** 5 / 120.0
            slope[tap] = -((3.0 - a) ** 4) / 24.0
        if d < 0.0:
            slope[tap] = -slope[tap]
    return value, slope


@njit(cache=True)
def render(coefficients, x, y, left, bottom, side):
    """Evaluate a PSF of unit flux at (x, y) on a box of pixels.

    Parameters
    ----------
    coefficients : (size, size) float32 array of `spline_coefficients`
    x, y : float [pix] position of the source
    left, bottom : int [pix] first column and row of the box
    side : int [pix]

    Returns
    -------
    three (side, side) float64 arrays: the PSF, and its derivatives by x and by y.
    """
    size = coefficients.shape[0]
    half = size // 2
    x_tap, y_tap = left + half - x, bottom + half - y
    first_x, first_y = int(np.floor(x_tap)), int(np.floor(y_tap))
    value_x, slope_x = spline_weights(x_tap - first_x)
    value_y, slope_y = spline_weights(y_tap - first_y)
    wide = side + _TAPS - 1
    along, slope, padded = np.zeros((wide, side)), np.zeros((wide, side)), np.zeros(wide)
    # spelled out: loops over six taps would be slower than what is in them
    a, b, c, d, e, f = value_x[0], value_x[1], value_x[2], value_x[3], value_x[4], value_x[5]
    p, q, r, s, t, w = slope_x[0], slope_x[1], slope_x[2], slope_x[3], slope_x[4], slope_x[5]
    for k in range(max(2 - first_y, 0), min(wide, size + 2 - first_y)):
        for u in range(max(2 - first_x, 0), min(wide, size + 2 - first_x)):
            padded[u] = coefficients[first_y + k - 2, first_x + u - 2]
        for u in range(side):
            g, h, i, j, m, n = padded[u], padded[u + 1], padded[u + 2], padded[u + 3], padded[u + 4], padded[u + 5]
            along[k, u] = a * g + b * h + c * i + d * j + e * m + f * n
            slope[k, u] = p * g + q * h + r * i + s * j + t * m + w * n
    psf, psf_x, psf_y = np.empty((side, side)), np.empty((side, side)), np.empty((side, side))
    a, b, c, d, e, f = value_y[0], value_y[1], value_y[2], value_y[3], value_y[4], value_y[5]
    p, q, r, s, t, w = slope_y[0], slope_y[1], slope_y[2], slope_y[3], slope_y[4], slope_y[5]
    for v in range(side):
        for u in range(side):
            g, h, i = along[v, u], along[v + 1, u], along[v + 2, u]
            j, m, n = along[v + 3, u], along[v + 4, u], along[v + 5, u]
            psf[v, u] = a * g + b * h + c * i + d * j + e * m + f * n
            psf_y[v, u] = -(p * g + q * h + r * i + s * j + t * m + w * n)
            g, h, i = slope[v, u], slope[v + 1, u], slope[v + 2, u]
            j, m, n = slope[v + 3, u], slope[v + 4, u], slope[v + 5, u]
            psf_x[v, u] = -(a * g + b * h + c * i + d * j + e * m + f * n)
    return psf, psf_x, psf_y


@njit(cache=True)
def cut_stamp(image, variance, mask, left, bottom, radius):
    """Copy a box of pixels and their weights: 1 / variance, 0 outside the circle, on bad pixels and off the image.

    The box has ``2 int(radius) + 1`` pixels a side and the circle sits on its central pixel.
    """
    ny, nx = image.shape
    reach = int(radius)
    side = 2 * reach + 1
    data, weight = np.zeros((side, side)), np.zeros((side, side))
    for v in range(max(0, -bottom), min(side, ny - bottom)):
        for u in range(max(0, -left), min(side, nx - left)):
            if (u - reach) ** 2 + (v - reach) ** 2 > radius * radius:
                continue
            y, x = bottom + v, left + u
            value, noise = image[y, x], variance[y, x]
            if not mask[y, x] & _UNUSABLE and np.isfinite(value) and noise > 0.0 and np.isfinite(noise):
                data[v, u] = value
                weight[v, u] = 1.0 / noise
    return data, weight


@njit(cache=True)
def cholesky_invert(matrix):
    """Invert a small symmetric matrix; second value False (and zeros) if it is not positive definite."""
    n = matrix.shape[0]
    lower = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            total = matrix[i, j]
            for k in range(j):
                total -= lower[i, k] * lower[j, k]
            if i == j:
                if not total > 1e-12 * abs(matrix[i, i]):
                    return np.zeros((n, n)), False
                lower[i, i] = np.sqrt(total)
            else:
                lower[i, j] = total / lower[j, j]
    half_inverse = np.zeros((n, n))
    for column in range(n):
        for i in range(column, n):
            total = 1.0 if i == column else 0.0
            for k in range(column, i):
                total -= lower[i, k] * half_inverse[k, column]
            half_inverse[i, column] = total / lower[i, i]
    return half_inverse.T @ half_inverse, True
