"""Constants with their sources, and what is one line with them."""

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

AB_ZERO_POINT_NJY_MAG = 31.4
"""Magnitude of 1 nJy in the AB system (Oke & Gunn 1983 ApJ 266 713: 3631 Jy at 0; 31.4 by LSST convention)."""
FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""FWHM of a Gaussian of unit standard deviation."""
ARCSEC_PER_DEG = 3600.0
JULIAN_YEAR_DAY = 365.25
MAD_TO_SIGMA = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation."""


def robust_sigma(values: np.ndarray, center: float | None = None, *, dtype: type = float) -> float:
    """Return the standard deviation of a Gaussian that has the median absolute deviation of some values.

    Parameters
    ----------
    values : (n,) float array, n at least 1, without NaN
    center : float, from where deviations count; their median if None
    dtype : type of the result; the median is brought to it, then multiplied
    """
    center = np.median(values) if center is None else center
    return MAD_TO_SIGMA * dtype(np.median(np.abs(values - center)))


def ab_magnitude(flux_njy: float) -> float:
    """Turn a flux [nJy] into an AB magnitude."""
    return AB_ZERO_POINT_NJY_MAG - 2.5 * math.log10(flux_njy)


def flux_njy(ab_mag: "pd.Series | float | np.ndarray") -> "pd.Series | float | np.ndarray":
    """Turn an AB magnitude (or array) into a flux [nJy]."""
    return 10.0 ** (0.4 * (AB_ZERO_POINT_NJY_MAG - ab_mag))
