"""The variance plane: what the noise of each pixel must be, never what the noisy pixel says."""

import numpy as np
from scipy import ndimage

from dbpipe.constants import robust_sigma

SIGNIFICANCE = 3.0
"""Smoothed counts below so many of their own deviations are taken as none."""

_COEFFICIENTS = (-3.0 / 35.0, 12.0 / 35.0, 17.0 / 35.0, 12.0 / 35.0, -3.0 / 35.0)
"""Quadratic smoothing over five points (Savitzky & Golay 1964 Anal. Chem. 36 1627, table I): keeps peaks."""
_NOISE_FACTOR = float(np.sum(np.square(_COEFFICIENTS)))
"""Standard deviation of white noise after smoothing along both axes, over that before."""


def measure_white_noise(image: np.ndarray, unusable: np.ndarray) -> float:
    """Measure the noise of single pixels, blind to anything smooth: sources too faint to be seen, sky, fringes.

    The second difference along both axes (Immerkaer 1996 CVIU 64 300), in the darker half of the image: the mean of
    the 3 x 3 pixels, which decides, is independent of it.  Every fourth row is looked at.

    Parameters
    ----------
    image : (ny, nx) float array
    unusable : (ny, nx) bool array

    Returns
    -------
    float, standard deviation [unit of the image], 0 if there is nothing to see
    """
    n_strip = max((image.shape[0] - 3) // 4 + 1, 0)
    above, middle, below = (image[k::4][:n_strip] for k in range(3))
    seen = ~(unusable[0::4][:n_strip] | unusable[1::4][:n_strip] | unusable[2::4][:n_strip])
    seen = seen[:, :-2] & seen[:, 1:-1] & seen[:, 2:]
    if not seen.any():
        return 0.0
    bend, total = above - 2 * middle + below, above + middle + below
    bend = (bend[:, :-2] - 2 * bend[:, 1:-1] + bend[:, 2:])[seen]
    total = (total[:, :-2] + total[:, 1:-1] + total[:, 2:])[seen]
    return robust_sigma(bend[total <= np.median(total)], 0.0) / 6.0


def model_variance(image: np.ndarray, sky_e: float | np.ndarray, read_noise_e: float) -> np.ndarray:
    """Model the variance of a background-subtracted image in electrons.

    V = read_noise^2 + sky + source counts (Poisson, gain 1). The pixel's own value would give low noise peaks
    high weight, so the counts are a smoothed image, kept only where it is significant.

    Parameters
    ----------
    image : (ny, nx) float array [electron], background subtracted, finite
    sky_e : float or (ny, nx) array [electron], the background that was subtracted
    read_noise_e : float [electron]

    Returns
    -------
    variance : (ny, nx) float32 array [electron2], everywhere >= read_noise_e^2
    """
    blank = np.maximum(np.asarray(sky_e, np.float32), np.float32(0)) + np.float32(read_noise_e**2)
    return blank + _significant(_smooth_counts(image), blank, SIGNIFICANCE)


def model_variance_of_copy(variance: np.ndarray, image: np.ndarray, copy: np.ndarray) -> np.ndarray:
    """Model the variance of a copy of an image to which light was added, from the variance of the image.

    Without sky and read noise at hand, what `model_variance` gave the image tells what it would give the copy: exactly,
    but for counts so close to the threshold that the variance does not tell whether it has them.

    Parameters
    ----------
    variance : (ny, nx) float32 array [electron2], `model_variance` of the image
    image, copy : (ny, nx) float arrays [electron]

    Returns
    -------
    (ny, nx) float32 array [electron2], that of the image where the copy is the same
    """
    before, after = _smooth_counts(image), _smooth_counts(copy)
    without = variance - before
    threshold = (SIGNIFICANCE * _NOISE_FACTOR) * np.sqrt(np.maximum(without, np.float32(0)))
    counted = np.where((before > threshold) & (without > 0), before, np.float32(0))
    return variance + (_significant(after, variance - counted, SIGNIFICANCE) - counted)


def _smooth_counts(image: np.ndarray) -> np.ndarray:
    counts = np.asarray(image, np.float32)
    for axis in (0, 1):
        counts = ndimage.correlate1d(counts, _COEFFICIENTS, axis=axis, mode="nearest")
    return counts


def _significant(counts: np.ndarray, blank: float | np.ndarray, significance: float) -> np.ndarray:
    return np.where(counts > (significance * _NOISE_FACTOR) * np.sqrt(blank), counts, np.float32(0))
