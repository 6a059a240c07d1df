"""What bright stars leave in a difference beyond the reach of the matching kernel: the wings of their PSFs.

The kernel is fitted to stamps of two FWHM and has no larger reach; beyond it the wings of exposure and template differ
by what their PSFs differ.  Per unit of flux this is the same for every star of the image, so it is measured on all of
them in rings and taken out.
"""

import numpy as np

from dbpipe.imaging.psf.model import Psf
from dbpipe.imaging.psf.rings import (
    MEDIAN_LOSS,
    MIN_PIXELS,
    ONE_STAR_LIMIT,
    Profile,
    Stars,
    overlap,
    ring_edges,
    window_radius,
)

RING_EDGES_FWHM = (1.0, 1.3, 1.6, 2.0, 2.4, 2.8, 3.3, 3.9, 4.6, 5.4, 6.4, 7.6, 9.0, 11.0, 13.5, 17.0, 21.0)
MAX_STARS = 60
MIN_STARS = 3
NEGLIGIBLE_SIGMA = 0.01
"""Surface brightness, in the noise of a pixel, that is not worth subtracting."""


def flux_from_wings(
    image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, psf: Psf, *, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Fit the flux of saturated stars to the pixels of the PSF stamp that are left.

    Parameters
    ----------
    image, variance : (ny, nx) float arrays
    unusable : (ny, nx) bool
    psf : object with ``at_many(x, y) -> (n, size, size)``
    x, y : (n,) float arrays [pix]

    Returns
    -------
    (n,) float array, NaN where fewer than 1 in 20 pixels of the stamp are left
    """
    flux = np.full(len(x), np.nan)
    for k, stamp in enumerate(psf.at_many(x, y) if len(x) else ()):
        half = stamp.shape[0] // 2
        window, part = overlap(image.shape, x[k], y[k], half)
        usable = ~unusable[window] & (stamp[part] > 0)
        if usable.mean() > 0.05:
            weight = stamp[part] * usable / variance[window]
            flux[k] = np.sum(weight * image[window]) / np.sum(weight * stamp[part])
    return flux


def measure_wings(
    residual: np.ndarray, variance: np.ndarray, unusable: np.ndarray, stars: Stars, *, fwhm_pix: float
) -> Profile:
    """Measure what stars leave in rings, per unit of flux.

    Parameters
    ----------
    residual, variance : (ny, nx) float arrays
    unusable : (ny, nx) bool
    stars : Stars, brightest first
    fwhm_pix : float

    Returns
    -------
    Profile
        Of surface brightness per flux [1 / pix2]; zero where it is not significant.
    """
    edges = ring_edges(RING_EDGES_FWHM, fwhm_pix)
    light, error = _ring_medians(residual, variance, unusable, stars, edges)
    flux = stars.flux[:, None]
    error = np.sqrt(error**2 + np.square(ONE_STAR_LIMIT * light))
    value, value_err = _clipped_mean(light / flux, error / flux)
    return Profile(edges, np.where(np.abs(value) > 2.0 * value_err, value, 0.0))


def subtract_wings(image: np.ndarray, profile: Profile, stars: Stars, *, noise: float, inner_pix: float) -> np.ndarray:
    """Return what to subtract, (ny, nx) float32: the profile times the flux of each star, from ``inner_pix`` outwards.

    Parameters
    ----------
    image : (ny, nx) array, for its shape
    profile : Profile
    stars : Stars
    noise : float, of a pixel; what is far below is left out
    inner_pix : float
    """
    light = np.zeros(image.shape, np.float32)
    for x, y, flux in zip(stars.x, stars.y, stars.flux, strict=True):
        seen = np.flatnonzero(np.abs(profile.value) * flux > NEGLIGIBLE_SIGMA * noise)
        if not seen.size:
            continue
        reach = profile.edges_pix[min(seen[-1] + 2, len(profile.edges_pix) - 1)]
        window, radius = window_radius(image.shape, x, y, reach)
        light[window] += np.where((radius >= inner_pix) & (radius < reach), flux * profile.at(radius), 0.0)
    return light


def _ring_medians(
    residual: np.ndarray, variance: np.ndarray, unusable: np.ndarray, stars: Stars, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the median surface brightness in rings around stars and its error, (n_star, n_ring); NaN where unseen."""
    light, error = np.full((2, len(stars.x), len(edges) - 1), np.nan)
    for k, (x, y) in enumerate(zip(stars.x, stars.y, strict=True)):
        window, radius = window_radius(residual.shape, x, y, edges[-1])
        usable = ~unusable[window] & (radius >= edges[0]) & (radius < edges[-1])
        ring = np.searchsorted(edges, radius[usable], side="right") - 1
        order = np.argsort(ring, kind="stable")
        counts = np.bincount(ring, minlength=len(edges) - 1)
        splits = np.cumsum(counts)[:-1]
        values = np.split(residual[window][usable][order], splits)
        noises = np.split(variance[window][usable][order], splits)
        for b in np.flatnonzero(counts >= MIN_PIXELS):
            light[k, b] = np.median(values[b])
            error[k, b] = MEDIAN_LOSS * np.sqrt(np.median(noises[b]) / counts[b])
    return light, error


def _clipped_mean(value: np.ndarray, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean over the stars of each ring, without those 4 sigma off, and its error; zero with too few stars."""
    weight = np.where(np.isfinite(value) & (error > 0), 1.0 / np.square(error), 0.0)
    value = np.nan_to_num(value)
    for _ in range(4):
        total = np.maximum(weight.sum(axis=0), 1e-300)
        mean = (weight * value).sum(axis=0) / total
        weight = np.where(np.abs(value - mean) < 4.0 * np.maximum(error, 1e-300), weight, 0.0)
    enough = (weight > 0).sum(axis=0) >= MIN_STARS
    total = np.maximum(weight.sum(axis=0), 1e-300)
    return np.where(enough, (weight * value).sum(axis=0) / total, 0.0), 1.0 / np.sqrt(total)
