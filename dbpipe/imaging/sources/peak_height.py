"""How high a peak of a sampled image is between the pixels.

The score of a source is the maximum of the matched filter over all positions; the highest pixel misses several per cent
of it where the source lies between pixels, and one false peak in eight with them.  The PSF bounds the frequencies of a
score image, so its samples say what is between them: here by the interpolating quintic B-spline (Unser 1999 IEEE Signal
Process. Mag. 16(6) 22), climbed by Newton's method.
"""

import numpy as np
from scipy.ndimage import spline_filter1d

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import spline_weights

_HALF = 6
"""Half side of the box that is interpolated [pix]: what is outside counts less than 1%."""
_PREFILTER = spline_filter1d(np.eye(2 * _HALF + 1), order=5, axis=0)
_CLEAR_PIX = 2
"""A peak nearer to a pixel without score keeps its pixel's value: the interpolation would ring."""
_MAX_SHIFT_PIX = 1.0
_STEPS = 8
_CAUTION = 1.3
"""Differences over a whole pixel find a narrow peak less curved than it is: steps are this much shorter."""


@njit(cache=True)
def peak_height(image, x, y):
    """Return where the maximum of |image| near a pixel is, and the image's value there.

    Parameters
    ----------
    image : (ny, nx) float array, 0 or NaN where it is not known
    x, y : int, a pixel that none of its neighbors of the same sign beats

    Returns
    -------
    x, y : float [pix]
    value : float, not nearer to 0 than the pixel's
    """
    pixel = np.float64(image[y, x])
    sign = 1.0 if pixel > 0.0 else -1.0
    box, clear = _cut(image, x, y, sign)
    if not clear:
        return np.float64(x), np.float64(y), pixel
    c = _HALF
    xx = box[c, c - 1] - 2.0 * box[c, c] + box[c, c + 1]
    yy = box[c - 1, c] - 2.0 * box[c, c] + box[c + 1, c]
    xy = 0.25 * (box[c + 1, c + 1] - box[c + 1, c - 1] - box[c - 1, c + 1] + box[c - 1, c - 1])
    xx, yy, xy = _CAUTION * xx, _CAUTION * yy, _CAUTION * xy
    determinant = xx * yy - xy * xy
    if not (determinant > 0.0 and xx < 0.0):
        return np.float64(x), np.float64(y), pixel
    dx, dy = 0.0, 0.0
    for _ in range(_STEPS):
        _, slope_x, slope_y = _interpolate(box, dx, dy)
        dx -= (yy * slope_x - xy * slope_y) / determinant
        dy -= (xx * slope_y - xy * slope_x) / determinant
        dx = min(max(dx, -_MAX_SHIFT_PIX), _MAX_SHIFT_PIX)
        dy = min(max(dy, -_MAX_SHIFT_PIX), _MAX_SHIFT_PIX)
    height, _, _ = _interpolate(box, dx, dy)
    if not height > box[c, c]:
        return np.float64(x), np.float64(y), pixel
    return x + dx, y + dy, sign * height


@njit(cache=True)
def _cut(image, x, y, sign):
    """Return the box around a pixel, 0 where nothing is known, and whether all is known close to the middle."""
    ny, nx = image.shape
    box = np.zeros((2 * _HALF + 1, 2 * _HALF + 1))
    clear = True
    for v in range(-_HALF, _HALF + 1):
        for u in range(-_HALF, _HALF + 1):
            inside = 0 <= y + v < ny and 0 <= x + u < nx
            value = np.float64(image[y + v, x + u]) if inside else 0.0
            if np.isfinite(value) and value != 0.0:
                box[v + _HALF, u + _HALF] = sign * value
            elif abs(u) <= _CLEAR_PIX and abs(v) <= _CLEAR_PIX:
                clear = False
    return box, clear


@njit(cache=True)
def _interpolate(box, dx, dy):
    """Return value and slopes by x and y at a distance from the middle of the box."""
    value_x, slope_x = _taps(dx)
    value_y, slope_y = _taps(dy)
    along = box @ value_x
    return value_y @ along, value_y @ (box @ slope_x), slope_y @ along


@njit(cache=True)
def _taps(d):
    """Return what each pixel along an axis counts in the value at d from the middle, and in its slope."""
    first = int(np.floor(d))
    value, slope = spline_weights(d - first)
    start = _HALF + first - 2
    end = start + len(value)
    return value @ _PREFILTER[start:end], slope @ _PREFILTER[start:end]
