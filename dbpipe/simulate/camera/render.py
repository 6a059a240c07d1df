"""Draw sums of elliptical Gaussians: the one routine that puts light on a simulated image."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dbpipe.compiled import njit
from dbpipe.simulate.camera.psf import Psf

if TYPE_CHECKING:
    import pandas as pd

FAINTEST_E = 0.002
"""Surface brightness at which a Gaussian is cut off [electron/pix]."""


@njit(cache=True)
def add_gaussians(image, x, y, flux, xx, xy, yy, faintest):
    """Add elliptical Gaussians to an image, in place.

    Each is sampled at the pixel centers. For variances above 1 pix^2 its sum and centroid are then exact to
    exp(-2 pi^2 variance) (Poisson summation), so sub-pixel integration is not needed.

    Parameters
    ----------
    image : (ny, nx) float64 array [electron]
    x, y, flux : (n,) float64 arrays [pix, pix, electron]
    xx, xy, yy : (n,) float64 arrays
        Covariance [pix^2], the pixel's response included.
    faintest : float
        Surface brightness where the Gaussian ends [electron/pix].
    """
    ny, nx = image.shape
    for k in range(x.size):
        det = xx[k] * yy[k] - xy[k] * xy[k]
        peak = abs(flux[k]) / (2.0 * math.pi * math.sqrt(det))
        if peak <= faintest:
            continue
        limit = 2.0 * math.log(peak / faintest)  # squared radius in units of sigma
        a, b = yy[k] / det, -xy[k] / det
        half_height = math.sqrt(limit * yy[k])
        first_row = max(0, math.ceil(y[k] - half_height))
        last_row = min(ny - 1, math.floor(y[k] + half_height))
        ratio_of_ratios = math.exp(-a)
        for row in range(first_row, last_row + 1):
            dy = row - y[k]
            middle = x[k] - b * dy / a
            half_width = math.sqrt(max(0.0, (limit - dy * dy / yy[k]) / a))
            first = max(0, math.ceil(middle - half_width))
            last = min(nx - 1, math.floor(middle + half_width))
            if first > last:
                continue
            # exp of a quadratic along the row by recurrence: two multiplications a pixel
            offset = first - middle
            value = math.copysign(peak, flux[k]) * math.exp(-0.5 * (a * offset * offset + dy * dy / yy[k]))
            ratio = math.exp(-a * (offset + 0.5))
            for column in range(first, last + 1):
                image[row, column] += value
                value *= ratio
                ratio *= ratio_of_ratios


def add_sources(
    image: np.ndarray,
    x: "pd.Series | Sequence[float]",
    y: "pd.Series | Sequence[float]",
    flux_e: "pd.Series | Sequence[float]",
    psf: Psf,
    *,
    shape_weight: np.ndarray | None = None,
    shape_covariance: np.ndarray | None = None,
    faintest_e: float = FAINTEST_E,
) -> None:
    """Add sources convolved with the PSF at their places, in place.

    Parameters
    ----------
    image : (ny, nx) float64 array [electron]
    x, y, flux_e : (n,) arrays [pix, pix, electron]
    psf : Psf
    shape_weight : (n, m) array, optional
        A source is a sum of m Gaussians with these weights; a point source if left out.
    shape_covariance : (n, m, 3) array [pix^2], optional
        xx, xy, yy of these Gaussians before the PSF.
    """
    if np.size(x) == 0:
        return
    ny, nx = image.shape
    u = (2.0 * np.asarray(x) - (nx - 1)) / nx
    v = (2.0 * np.asarray(y) - (ny - 1)) / ny
    psf_weight, covariance = psf.covariances(u, v)
    weight = np.broadcast_to(psf_weight, covariance.shape[:2])
    if shape_weight is not None and shape_covariance is not None:
        weight = (weight[:, :, None] * shape_weight[:, None, :]).reshape(len(x), -1)
        covariance = (covariance[:, :, None] + shape_covariance[:, None]).reshape(len(x), -1, 3)
    n_gaussian = covariance.shape[1]
    add_gaussians(
        image,
        np.repeat(np.asarray(x, float), n_gaussian),
        np.repeat(np.asarray(y, float), n_gaussian),
        (np.asarray(flux_e, float)[:, None] * weight).ravel(),
        *(np.ascontiguousarray(part) for part in covariance.reshape(-1, 3).T),
        faintest_e,
    )
