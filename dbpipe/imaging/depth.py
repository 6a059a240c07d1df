"""How deep a difference image will be, from a few numbers per exposure.

The error of a point-source flux on a whitened difference is the integral of the signal over the noise power
(Zackay, Ofek & Gal-Yam 2016 ApJ 830 27, eq. 16 in the limit of a kernel that matches perfectly):
1 / sigma^2 = 1 / (2 pi)^2 Int |P_S|^2 / (s^2 + |P_S|^2 sum_i w_i^2 s_i^2 / |P_i|^2) d^2k, all PSFs taken as Gaussian.
"""

import numpy as np

_K = np.linspace(0.0, np.pi, 257)[1:]
"""Radial angular frequencies [rad/pix]."""


def predict_flux_err(science_sigma_pix, science_noise, *, input_sigma_pix, input_noise, weight):
    """Predict the error of a point-source flux on a difference image.

    Parameters
    ----------
    science_sigma_pix : float, Gaussian width of the science PSF [pix]
    science_noise : float, sky noise per pixel
    input_sigma_pix, input_noise : (n,) float arrays, the same of the template's inputs, noise in the same flux unit
    weight : (n,) float array, weights of the inputs, any scale

    Returns
    -------
    float, in the unit of the noise; infinite without inputs
    """
    if len(input_sigma_pix) == 0:
        return np.inf
    share = np.asarray(weight, float) / np.sum(weight)
    science = np.exp(-((_K * science_sigma_pix) ** 2))
    # |P_S|^2 / |P_i|^2 in one exponent: each alone underflows for wide PSFs
    sharper = np.square(np.asarray(input_sigma_pix))[None, :] - science_sigma_pix**2
    matched = np.exp(np.minimum(np.square(_K)[:, None] * sharper, 700.0))
    noise = science_noise**2 + np.sum(np.square(share * np.asarray(input_noise)) * matched, axis=1)
    integrand = _K * science / noise
    return float(1.0 / np.sqrt(np.trapezoid(integrand, _K) / (2.0 * np.pi)))
