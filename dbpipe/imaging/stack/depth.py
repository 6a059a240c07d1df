"""How deep a difference image will be, from a few numbers per exposure.

The error of a point-source flux on a whitened difference is the integral of the signal over the noise power
(Zackay, Ofek & Gal-Yam 2016 ApJ 830 27, eq. 16 in the limit of a kernel that matches perfectly):
1 / sigma^2 = 1 / (2 pi)^2 Int 1 / (s^2 / |P_S|^2 + sum_i w_i^2 s_i^2 / |P_i|^2) d^2k, w_i the shares of the inputs.

The width of the model PSF is not in it: what homogenization does to an input, the matching kernel undoes.  It matters
where the kernel would have to sharpen, which is a matter of conditioning, not of depth.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ive

_NODE, _WEIGHT = np.polynomial.legendre.leggauss(64)
_K = 0.5 * np.pi * (_NODE + 1.0)
"""Radial angular frequencies [rad/pix], up to the Nyquist frequency."""
_DK = 0.5 * np.pi * _WEIGHT
_MAX_EXPONENT = 600.0
"""Beyond this nothing of a PSF is left, and squares still fit a float."""


def gaussian_axes(
    effective_area_pix: Sequence[float] | np.ndarray, ellipticity: Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the long and the short width [pix] of the Gaussian that a PSF is taken for.

    Parameters
    ----------
    effective_area_pix : (n,) float array, (sum P)^2 / sum P^2, which is 4 pi times the product of the widths [pix]
    ellipticity : (n,) float array, (a^2 - b^2) / (a^2 + b^2) of the widths a and b
    """
    product = np.asarray(effective_area_pix, float) / (4.0 * np.pi)
    ratio = np.sqrt((1.0 + np.asarray(ellipticity, float)) / (1.0 - np.asarray(ellipticity, float)))
    return np.sqrt(product * ratio), np.sqrt(product / ratio)


def inverse_power(long_pix: Sequence[float] | np.ndarray, short_pix: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return 1 / |P|^2 of Gaussians of these widths, averaged over direction, at each frequency: (n, n_k).

    The mean of exp(k^2 (a^2 cos^2 + b^2 sin^2)) is exp(k^2 (a^2 + b^2) / 2) I0(k^2 (a^2 - b^2) / 2).
    """
    a2, b2 = (np.square(np.asarray(width, float))[..., None] for width in (long_pix, short_pix))
    turning = 0.5 * np.square(_K) * (a2 - b2)
    return np.exp(np.minimum(np.square(_K) * a2, _MAX_EXPONENT)) * ive(0, turning)


def predict_flux_errs(
    science_noise: Sequence[float] | np.ndarray, science_inverse_power: np.ndarray, template_noise_power: np.ndarray
) -> np.ndarray:
    """Predict the errors of a point-source flux on difference images.

    Parameters
    ----------
    science_noise : (n,) float array, sky noise per pixel
    science_inverse_power : (n, n_k) float array of `inverse_power`
    template_noise_power : (n, n_k) float array, sum of w_i^2 s_i^2 / |P_i|^2, the shares w_i adding to 1

    Returns
    -------
    (n,) float array in the unit of the noise
    """
    noise = np.square(np.asarray(science_noise, float))[:, None] * science_inverse_power + template_noise_power
    return 1.0 / np.sqrt(np.sum(_DK * _K / noise, axis=1) / (2.0 * np.pi))
