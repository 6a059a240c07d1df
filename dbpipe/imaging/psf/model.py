"""The point spread function: a spatially varying image on native pixels, and how it is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from dbpipe.compiled import njit
from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.imaging.polynomial import terms

N_ANGLE = 64
"""Directions in which the half maximum is looked for."""


class Psf(Protocol):
    """A PSF that can be asked for anywhere."""

    def at_many(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the PSF image at each position, (n, size, size)."""


@dataclass(frozen=True)
class UniformPsf:
    """A PSF that is the same everywhere.

    Attributes
    ----------
    stamp : (size, size) float array of unit sum
    """

    stamp: np.ndarray

    def at_many(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return it once for every position, (n, size, size)."""
        return np.broadcast_to(self.stamp, (len(x), *self.stamp.shape))


@dataclass(frozen=True)
class PsfModel:
    """Effective PSF (optics, air and pixel) as a polynomial of images.

    P(x, y) = sum_j terms(x, y)_j basis_j, then brought to unit sum.

    Attributes
    ----------
    basis : (n_terms, size, size) float array, size odd; the center is the central pixel
    shape : (ny, nx) of the image that the polynomial spans
    degree : int, total degree of the polynomial
    """

    basis: np.ndarray
    shape: tuple[int, ...]
    degree: int

    @property
    def size(self) -> int:
        """Side of the stamps [pix]."""
        return self.basis.shape[-1]

    def at(self, x: float, y: float) -> np.ndarray:
        """Return the unit-sum PSF image (size, size) at one image position, centered on the central pixel."""
        return self.at_many(np.array([x], float), np.array([y], float))[0]

    def at_many(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the unit-sum PSF images (n, size, size) at n image positions."""
        return _blend(self.basis, self.weights(x, y))

    def weights(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Return the (n, n_terms) factors of the basis images that give unit-sum PSFs at n positions."""
        polynomial = terms(x, y, self.shape, self.degree)
        return polynomial / (polynomial @ self.basis.sum(axis=(1, 2)))[:, None]

    def placed_at_many(self, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray) -> np.ndarray:
        """Return PSF images as the pixels around each position would see them, sub-pixel offset included.

        The central pixel of stamp k is pixel (round(x_k), round(y_k)). The shift is a quintic B-spline
        (Thevenaz, Blu & Unser 2000 IEEE Trans. Med. Imaging 19 739): 1e-3 of the peak off for FWHM 3 pix, 3e-4 for 4.

        Returns
        -------
        stamps : (n, size, size) float32 array
        """
        x, y = np.asarray(x, float), np.asarray(y, float)
        coefficients = np.stack([ndimage.spline_filter(image, order=5) for image in self.basis])
        flat = coefficients.reshape(len(coefficients), -1)
        dx, dy = x - np.floor(x + 0.5), y - np.floor(y + 0.5)
        return _place(flat, self.weights(x, y), np.stack([dx, dy], axis=1), self.size)


@dataclass(frozen=True)
class PsfShape:
    """Numbers that describe one PSF image."""

    fwhm_pix: float
    """Diameter at half maximum of the azimuthally averaged profile, along ellipses of the PSF's own shape."""
    fwhm_det_pix: float
    """2.355 x determinant radius of the adaptively weighted second moments."""
    e1: float
    """(Ixx - Iyy) / (Ixx + Iyy)."""
    e2: float
    """2 Ixy / (Ixx + Iyy)."""
    effective_area_pix: float
    """(sum P)^2 / sum P^2."""


def measure_psf(stamp: np.ndarray) -> PsfShape:
    """Measure width and shape of a PSF image (size, size) whose center is the central pixel."""
    stamp = np.asarray(stamp, float)
    ixx, iyy, ixy = adaptive_moments(stamp)
    trace = ixx + iyy
    return PsfShape(
        fwhm_pix=_half_maximum_diameter(stamp, ixx, iyy, ixy),
        fwhm_det_pix=float(FWHM_PER_SIGMA * (ixx * iyy - ixy**2) ** 0.25),
        e1=float((ixx - iyy) / trace),
        e2=float(2.0 * ixy / trace),
        effective_area_pix=float(stamp.sum() ** 2 / (stamp**2).sum()),
    )


def adaptive_moments(
    stamp: np.ndarray, *, n_iteration: int = 100, tolerance: float = 1e-8
) -> tuple[float, float, float]:
    """Measure second moments with the matched elliptical Gaussian as weight.

    Bernstein & Jarvis 2002 AJ 123 583, section 3; Hirata & Seljak 2003 MNRAS 343 459, eq. 5.

    Returns
    -------
    ixx, iyy, ixy : float [pix2] about the weighted centroid
    """
    powers, light = _powers(stamp.shape[0]), stamp.ravel()
    x, y, ixx, iyy, ixy = 0.0, 0.0, 4.0, 4.0, 0.0
    for _ in range(n_iteration):
        determinant = ixx * iyy - ixy * ixy
        a, b, c = iyy / determinant, -ixy / determinant, ixx / determinant
        # the exponent -(a (u - x)^2 + 2 b (u - x) (v - y) + c (v - y)^2) / 2 as a polynomial of u and v
        exponent = np.array(
            [-0.5 * (a * x * x + 2.0 * b * x * y + c * y * y), a * x + b * y, b * x + c * y, -0.5 * a, -b, -0.5 * c]
        )
        total, u, v, uu, uv, vv = (powers @ (light * np.exp(exponent @ powers))).tolist()
        u, v = u / total - x, v / total - y
        measured = (
            2.0 * (uu / total - x * (x + 2.0 * u)),
            2.0 * (vv / total - y * (y + 2.0 * v)),
            2.0 * (uv / total - x * y - x * v - y * u),
        )
        change = max(abs(measured[0] - ixx), abs(measured[1] - iyy), abs(measured[2] - ixy))
        x, y, (ixx, iyy, ixy) = x + 2.0 * u, y + 2.0 * v, measured
        if change < tolerance:
            break
    return ixx, iyy, ixy


@cache
def _powers(size: int) -> np.ndarray:
    """Return 1, u, v, u^2, u v and v^2 of the pixels of a stamp, (6, size^2), from its central pixel."""
    v, u = (grid.ravel() for grid in np.mgrid[:size, :size] - float(size // 2))
    return np.stack([np.ones(size * size), u, v, u * u, u * v, v * v])


def _half_maximum_diameter(stamp: np.ndarray, ixx: float, iyy: float, ixy: float) -> float:
    """Find where the profile along similar ellipses falls to half the peak [pix]."""
    half = stamp.shape[0] // 2
    coefficients = ndimage.spline_filter(stamp, order=5)
    eigenvalue, axes = np.linalg.eigh(np.array([[ixx, ixy], [ixy, iyy]]))
    stretch = np.sqrt(eigenvalue / np.sqrt(eigenvalue.prod()))
    angle = 2.0 * np.pi * (np.arange(N_ANGLE) + 0.5) / N_ANGLE
    unit = axes @ (stretch[:, None] * np.array([np.cos(angle), np.sin(angle)]))
    radius = np.arange(0.0, half, 0.05)
    position = half + radius[:, None, None] * unit.T
    profile = ndimage.map_coordinates(coefficients, position.T[::-1], order=5, prefilter=False).mean(axis=0)
    below = int(np.argmax(profile < 0.5 * profile[0]))
    fraction = (profile[below - 1] - 0.5 * profile[0]) / (profile[below - 1] - profile[below])
    return float(2.0 * (radius[below - 1] + fraction * 0.05))


def _blend(basis: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return (weights @ basis.reshape(len(basis), -1)).reshape(len(weights), *basis.shape[1:])


@njit(cache=True, fastmath=True)
def _quintic(u):
    """Quintic B-spline, support |u| < 3 (Unser 1999 IEEE Signal Process. Mag. 16 22)."""
    u = abs(u)
    if u >= 3.0:
        return 0.0
    value = (3.0 - u) ** 5
    if u < 2.0:
        value -= 6.0 * (2.0 - u) ** 5
    if u < 1.0:
        value += 15.0 * (1.0 - u) ** 5
    return value / 120.0


@njit(cache=True, fastmath=True)
def _place(flat, weights, offset, size):
    """Blend spline coefficients for each source and evaluate them at its sub-pixel offset (dx, dy)."""
    n = len(weights)
    stamps = np.empty((n, size, size), np.float32)
    padded = np.zeros((size + 6, size + 6))
    rows = np.zeros((size + 6, size))
    taps_x, taps_y = np.empty(7), np.empty(7)
    for source in range(n):
        for k in range(7):
            taps_x[k] = _quintic(k - 3 + offset[source, 0])
            taps_y[k] = _quintic(k - 3 + offset[source, 1])
        padded[3 : size + 3, 3 : size + 3] = 0.0
        for term in range(len(flat)):
            factor = weights[source, term]
            for i in range(size):
                for j in range(size):
                    padded[i + 3, j + 3] += factor * flat[term, i * size + j]
        for i in range(size + 6):
            for j in range(size):
                total = 0.0
                for k in range(7):
                    total += taps_x[k] * padded[i, j + k]
                rows[i, j] = total
        for i in range(size):
            for j in range(size):
                total = 0.0
                for k in range(7):
                    total += taps_y[k] * rows[i + k, j]
                stamps[source, i, j] = total
    return stamps
