"""From detections to a PSF model and fluxes: stars are chosen, the PSF fitted, neighbors subtracted, and again."""

import math
from dataclasses import dataclass

import numpy as np

from dbpipe.constants import FWHM_PER_SIGMA, robust_sigma
from dbpipe.errors import DataError
from dbpipe.imaging.mask_near import touches
from dbpipe.imaging.measure.detection import Detections
from dbpipe.imaging.measure.photometry import debias_fitted_flux, fit_psf_fluxes
from dbpipe.imaging.psf.centroids import WindowedShapes, measure_windowed
from dbpipe.imaging.psf.fit import PsfFit, StarStamps, fit_psf, spatial_degree
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.imaging.psf.stars import (
    StellarLocus,
    crowding,
    find_stellar_locus,
    is_star_like,
    select_psf_stars,
    tilt_locus,
)

N_ROUND = 3
"""PSF and neighbors improve each other; after three rounds nothing changes any more."""

N_STAR_MIN = 3
"""Fewer sources of one size are no stellar locus."""


@dataclass(frozen=True)
class StarCandidates:
    """What is known of the sources before there is a PSF; all arrays (n,)."""

    shapes: WindowedShapes
    locus: StellarLocus
    signal_to_noise: np.ndarray
    share: np.ndarray
    """Light of neighbors relative to the source's own, see `crowding`."""
    is_clean: np.ndarray
    """No unusable pixel in the core, and the core inside the image."""
    is_star: np.ndarray
    """The size of a star."""


@dataclass(frozen=True)
class Characterization:
    """The PSF of an exposure and its sources; arrays (n,)."""

    psf: PsfModel
    is_psf_star: np.ndarray
    shapes: WindowedShapes
    psf_flux: np.ndarray
    psf_flux_err: np.ndarray
    residual: np.ndarray
    """(ny, nx) float32 image with all sources subtracted [electron]."""
    stamps: np.ndarray
    """(n, size, size) float32, the PSF at each source."""


def find_star_candidates(
    image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, *, detections: Detections, noise_e: float
) -> StarCandidates:
    """Measure sizes and find the stellar locus.

    Raises
    ------
    DataError
        If there are not `N_STAR_MIN` sources of one size.
    """
    signal_to_noise = detections.flux / np.sqrt(detections.n_pix * noise_e**2 + np.maximum(detections.flux, 0.0))
    bright = signal_to_noise > min(20.0, np.quantile(signal_to_noise, 0.5)) if len(detections) else np.zeros(0, bool)
    if bright.sum() < N_STAR_MIN:
        raise DataError(
            "too few bright sources to find the stars",
            n_bright=int(bright.sum()),
            n_source=len(detections),
            n_required=N_STAR_MIN,
        )
    sigma = float(np.clip(np.median(detections.sigma_pix[bright]), 0.8, 12.0))
    for _ in range(3):
        shapes = measure_windowed(
            image, variance, unusable, x=detections.x, y=detections.y, window_sigma_pix=sigma, max_shift_pix=2.0 * sigma
        )
        clean = is_clean(unusable, detections.x, detections.y, radius_pix=FWHM_PER_SIGMA * sigma)
        alone = clean & bright & np.isfinite(shapes.x_err)
        single = alone & ~detections.is_deblended
        locus = find_stellar_locus(
            shapes.sigma, signal_to_noise, single if single.sum() >= 10 else alone, n_star_min=N_STAR_MIN
        )
        sigma = locus.sigma_pix
    locus = tilt_locus(locus, shapes.sigma, shapes.x, shapes.y, single if single.sum() >= 10 else alone)
    share = crowding(shapes.x, shapes.y, detections.flux, fwhm_pix=FWHM_PER_SIGMA * sigma)
    star = is_star_like(shapes.sigma, signal_to_noise, locus, x=shapes.x, y=shapes.y)
    return StarCandidates(shapes, locus, signal_to_noise, share, clean, star)


def characterize(
    image: np.ndarray,
    variance: np.ndarray,
    unusable: np.ndarray,
    *,
    candidates: StarCandidates,
    size: int,
    degree_max: int,
    n_star_max: int = 200,
) -> Characterization:
    """Fit the PSF and the PSF fluxes of all sources.

    Each round fits the PSF to the stars with their neighbors subtracted, fits all fluxes together with that PSF, and
    measures the positions again with the neighbors subtracted.

    Parameters
    ----------
    image, variance : (ny, nx) float32 arrays [electron, electron2]
    unusable : (ny, nx) bool array
    candidates : StarCandidates
    size : int, odd side of the PSF stamps [pix]
    degree_max : int, largest degree of the spatial polynomial
    n_star_max : int, most stars that make the PSF

    Raises
    ------
    DataError
        If too few stars look alike.
    """
    shapes, sigma = candidates.shapes, candidates.locus.sigma_pix
    star_like = candidates.is_star & candidates.is_clean & np.isfinite(shapes.x_err)
    chosen = select_psf_stars(star_like, candidates.signal_to_noise, candidates.share, n_max=n_star_max)
    index = np.flatnonzero(chosen)
    stars = _cut_stars(image, variance, unusable, shapes.x[index], shapes.y[index], size)
    moments = tuple(float(np.median(column[index])) for column in (shapes.ixx, shapes.iyy, shapes.ixy))
    level_sigma_e = 0.3 * float(np.sqrt(np.median(variance[::7, ::7])))  # before neighbors are known
    for _ in range(N_ROUND):
        degree = spatial_degree(len(index), degree_max)
        fit = fit_psf(stars, moments, shape=image.shape, degree=degree, level_sigma_e=level_sigma_e)
        stamps = fit.model.placed_at_many(shapes.x, shapes.y)
        fluxes = fit_psf_fluxes(image, variance, unusable, x=shapes.x, y=shapes.y, stamps=stamps)
        own = np.nan_to_num(fluxes.flux).astype(np.float32)[:, None, None] * stamps
        shapes = measure_windowed(
            fluxes.residual, variance, unusable, x=shapes.x, y=shapes.y, window_sigma_pix=sigma, residual_stamps=own
        )
        level_sigma_e = _level_scatter(fluxes.residual, variance, unusable, size)
        noisy = variance + _confusion_variance(fluxes.residual, variance, unusable)
        stars = _cut_stars(fluxes.residual, noisy, unusable, shapes.x[index], shapes.y[index], size, own=own[index])
    return _finish(image, variance, unusable, fit, index, shapes)


def _finish(
    image: np.ndarray,
    variance: np.ndarray,
    unusable: np.ndarray,
    fit: PsfFit,
    index: np.ndarray,
    shapes: WindowedShapes,
) -> Characterization:
    """Measure fluxes at the final positions."""
    stamps = fit.model.placed_at_many(shapes.x, shapes.y)
    fluxes = fit_psf_fluxes(image, variance, unusable, x=shapes.x, y=shapes.y, stamps=stamps)
    is_psf_star = np.zeros(len(shapes.x), bool)
    is_psf_star[index[fit.is_used]] = True
    flux = debias_fitted_flux(fluxes.flux, fluxes.flux_err)
    return Characterization(fit.model, is_psf_star, shapes, flux, fluxes.flux_err, fluxes.residual, stamps)


def _level_scatter(residual: np.ndarray, variance: np.ndarray, unusable: np.ndarray, size: int) -> float:
    """Return the robust scatter of the sky in boxes of a stamp's size beyond photon noise [electron]."""
    ny, nx = (max(n // size, 1) for n in residual.shape)
    box = np.minimum(size, residual.shape)
    boxes = residual[: ny * box[0], : nx * box[1]].reshape(ny, box[0], nx, box[1])
    seen = ~unusable[: ny * box[0], : nx * box[1]].reshape(boxes.shape)
    count = seen.sum(axis=(1, 3))
    mean = (boxes * seen).sum(axis=(1, 3))[count > 0] / count[count > 0]
    scatter = robust_sigma(mean, 0.0)
    variance_e2 = float(np.median(variance[::7, ::7]))
    # less than 3% of the sky noise is not worth the freedom: it would eat the far wing of the PSF
    return math.sqrt(max(scatter**2 - variance_e2 * (1.0 / (box[0] * box[1]) + 0.03**2), 0.0))


def _confusion_variance(residual: np.ndarray, variance: np.ndarray, unusable: np.ndarray) -> float:
    """Return what unresolved sources add to the variance of a pixel where all sources are subtracted [electron2].

    In a crowded field they outweigh the photon noise, and a PSF fitted without them would take them for its wings.
    """
    seen = residual[~unusable][::7]
    spread = robust_sigma(seen)
    return max(spread**2 - float(np.median(variance[~unusable][::7])), 0.0)


def is_clean(unusable: np.ndarray, x: np.ndarray, y: np.ndarray, *, radius_pix: float) -> np.ndarray:
    """Return which positions have no unusable pixel within a radius and the whole circle inside the image."""
    inside = is_inside(unusable.shape, x, y, margin_pix=math.ceil(radius_pix))
    return inside & ~touches(unusable, x, y, radius_pix=radius_pix)


def is_inside(shape: tuple[int, int], x: np.ndarray, y: np.ndarray, *, margin_pix: int) -> np.ndarray:
    """Return which positions are at least ``margin_pix`` whole pixels from every edge of an image (ny, nx)."""
    ny, nx = shape
    column, row = np.floor(x + 0.5), np.floor(y + 0.5)
    return (column >= margin_pix) & (column < nx - margin_pix) & (row >= margin_pix) & (row < ny - margin_pix)


def _cut_stars(
    image: np.ndarray,
    variance: np.ndarray,
    unusable: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    size: int,
    *,
    own: np.ndarray | None = None,
) -> StarStamps:
    """Cut stamps around stars; ``own`` is added back where the image had the stars subtracted."""
    ny, nx = image.shape
    half = size // 2
    rows = np.floor(y + 0.5).astype(int)[:, None, None] + np.arange(-half, half + 1)[:, None]
    columns = np.floor(x + 0.5).astype(int)[:, None, None] + np.arange(-half, half + 1)
    inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
    where = np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)
    seen = inside & ~unusable[where]
    flux = np.where(seen, image[where] + (0.0 if own is None else own), 0.0)
    return StarStamps(flux, np.where(seen, 1.0 / variance[where], 0.0), x, y)
