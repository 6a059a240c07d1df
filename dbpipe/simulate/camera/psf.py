"""The simulated point spread function: an elliptical Moffat profile as a sum of Gaussians.

A Moffat profile is a scale mixture of Gaussians,

    (1 + r^2/a^2)^-b = 1/Gamma(b) Integral t^(b-1) exp(-t) exp(-t r^2/a^2) dt,

and the trapezoidal rule in ln t converges exponentially. So stars, galaxies and trails are all drawn by one
routine, sums of Gaussians, and the widths have closed forms.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from dbpipe.constants import FWHM_PER_SIGMA

N_COMPONENT = 10
LN_T_RANGE = (-3.6, 2.9)
PIXEL_VARIANCE_PIX2 = 1.0 / 12.0
"""Variance of the pixel's response. The square pixel is replaced by a Gaussian of this variance: flux and centroid
stay exact; the fourth cumulant left out, 1/120 pix^4, changes a 0.65" profile by 2e-3 of its peak at most."""


@cache
def moffat_components(beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights (summing to 1) and variances [alpha^2] of the Gaussians of a round Moffat profile.

    Parameters
    ----------
    beta : float
        Exponent; alpha is the radius where 1 + r^2/alpha^2 = 2.
    """
    ln_t = np.linspace(*LN_T_RANGE, N_COMPONENT)
    t = np.exp(ln_t)
    weight = t ** (beta - 1.0) * np.exp(-t)
    return weight / weight.sum(), 0.5 / t


@dataclass(frozen=True)
class Psf:
    """A Moffat profile whose width and ellipticity change linearly over the image.

    Positions (u, v) run from -1 to 1 across the image. Ellipticity is reduced shear, (1 - q) / (1 + q).
    """

    fwhm_pix: float
    """FWHM of the Moffat profile at the center, before the pixel's response [pix]."""
    beta: float
    g1: tuple[float, float, float]
    """Shear along x: value at the center and its slopes in u and v."""
    g2: tuple[float, float, float]
    fwhm_slope: tuple[float, float]
    """Relative change of the FWHM from the center to u = 1 and v = 1."""
    trail_pix: float = 0.0
    """Standard deviation along x of the smear of a badly guided exposure [pix]."""

    def covariances(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights (k,) and covariances (n, k, 3) [pix^2] of the Gaussians at n positions.

        The three numbers are xx, xy, yy; the pixel's response is included.
        """
        u, v = np.asarray(u, float), np.asarray(v, float)
        weight, variance = moffat_components(self.beta)
        fwhm = self.fwhm_pix * (1.0 + self.fwhm_slope[0] * u + self.fwhm_slope[1] * v)
        alpha = fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / self.beta) - 1.0))
        g1 = self.g1[0] + self.g1[1] * u + self.g1[2] * v
        g2 = self.g2[0] + self.g2[1] * u + self.g2[2] * v
        shape = np.stack(shear_covariance(g1, g2), axis=-1)
        covariance = (alpha**2)[:, None, None] * variance[:, None] * shape[:, None, :]
        return weight, covariance + np.array([self.trail_pix**2 + PIXEL_VARIANCE_PIX2, 0.0, PIXEL_VARIANCE_PIX2])

    def central_widths(self) -> "Widths":
        """Return the `Widths` of the PSF at the center, the pixel's response included, ellipticity taken out."""
        weight, covariance = self.covariances(np.zeros(1), np.zeros(1))
        xx, xy, yy = covariance[0].T
        return round_widths(weight, np.sqrt(xx * yy - xy**2))


@dataclass(frozen=True)
class Widths:
    """How wide a PSF is, by three definitions."""

    fwhm_pix: float
    """Half-maximum diameter."""
    fwhm_det_pix: float
    """2.355 x determinant radius of the adaptive moments (Hirata & Seljak 2003 MNRAS 343 459, eq. 5)."""
    effective_area_pix: float
    """(sum P)^2 / sum P^2."""


def shear_covariance(
    g1: float | np.ndarray, g2: float | np.ndarray
) -> tuple[float | np.ndarray, float | np.ndarray, float | np.ndarray]:
    """Return xx, xy, yy of the unit-determinant covariance of reduced shear (g1, g2)."""
    norm = 1.0 - g1**2 - g2**2
    square = g1**2 + g2**2
    return (1.0 + square + 2.0 * g1) / norm, 2.0 * g2 / norm, (1.0 + square - 2.0 * g1) / norm


def round_widths(weight: np.ndarray, variance: np.ndarray) -> Widths:
    """Measure the sum of round Gaussians with these weights and variances (k,) [pix^2]."""
    amplitude = weight / variance

    def profile(r: float) -> float:
        return np.sum(amplitude * np.exp(-0.5 * r**2 / variance))

    low, high = 0.0, 10.0 * math.sqrt(variance.max())
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if profile(middle) > 0.5 * amplitude.sum() else (low, middle)
    adaptive = float(np.sum(weight * variance))
    for _ in range(200):  # a Gaussian weight whose variance equals twice the weighted variance
        overlap = weight / (variance + adaptive)
        adaptive = 2.0 * float(np.sum(overlap * variance * adaptive / (variance + adaptive)) / overlap.sum())
    square = np.sum(weight[:, None] * weight / (2.0 * math.pi * (variance[:, None] + variance)))
    return Widths(2.0 * low, FWHM_PER_SIGMA * math.sqrt(adaptive), float(1.0 / square))
