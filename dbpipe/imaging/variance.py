"""The variance plane: what the noise of each pixel must be, never what the noisy pixel says."""

import numpy as np
from scipy import ndimage

_COEFFICIENTS = (-3.0 / 35.0, 12.0 / 35.0, 17.0 / 35.0, 12.0 / 35.0, -3.0 / 35.0)
"""Quadratic smoothing over five points (Savitzky & Golay 1964 Anal. Chem. 36 1627, table I): keeps peaks."""
_NOISE_FACTOR = float(np.sum(np.square(_COEFFICIENTS)))
"""Standard deviation of white noise after smoothing along both axes, over that before."""


def model_variance(image, sky_e, read_noise_e, *, significance=3.0):
    """Model the variance of a background-subtracted image in electrons.

    V = read_noise^2 + sky + source counts (Poisson, gain 1). The pixel's own value would give low noise peaks
    high weight, so the counts are a smoothed image, kept only where it is significant.

    Parameters
    ----------
    image : (ny, nx) float array [electron], background subtracted, finite
    sky_e : float or (ny, nx) array [electron], the background that was subtracted
    read_noise_e : float [electron]
    significance : float, smoothed counts below this many of their own deviations are taken as none

    Returns
    -------
    variance : (ny, nx) float32 array [electron2], everywhere >= read_noise_e^2
    """
    blank = np.maximum(np.asarray(sky_e, np.float32), np.float32(0)) + np.float32(read_noise_e**2)
    counts = np.asarray(image, np.float32)
    for axis in (0, 1):
        counts = ndimage.correlate1d(counts, _COEFFICIENTS, axis=axis, mode="nearest")
    threshold = (significance * _NOISE_FACTOR) * np.sqrt(blank)
    return blank + np.where(counts > threshold, counts, np.float32(0))
