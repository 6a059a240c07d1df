"""How much light of a star its PSF stamp does not hold: the curve of growth beyond it.

A PSF image is brought to unit sum over a stamp of some FWHM. Seeing has wings that go on: per unit of flux the same
for every star, so the brightest ones of the image show them, saturated ones with the flux that the catalog gives.
"""

import math
from dataclasses import dataclass

import numpy as np

from dbpipe.constants import robust_sigma
from dbpipe.imaging.psf.rings import MEDIAN_LOSS, MIN_PIXELS, ONE_STAR_LIMIT, Stars, window_radius

WING_POWER = 11.0 / 3.0
"""Surface brightness falls as r^(-11/3) far out in Kolmogorov turbulence (Roddier 1981, Prog. Opt. 19, 281)."""
INNER_FWHM = 1.5
"""The light within is what the PSF model was fitted to."""
LEVEL_FWHM = 7.0
"""The sky around a star is taken from here to `OUTER_FWHM`."""
OUTER_FWHM = 12.0
N_INNER, N_OUTER = 5, 8
MIN_STARS = 5
MAX_STARS = 60
CLIP_SIGMA = 4.0
MAX_ERROR = 0.004
"""With a larger standard error nothing is known: crowded fields, too few bright stars."""


@dataclass(frozen=True)
class Growth:
    """Total light of a star over the light that its PSF stamp is normalized to."""

    ratio: float
    ratio_err: float
    n_star: int


def measure_growth(
    residual: np.ndarray,
    variance: np.ndarray,
    unusable: np.ndarray,
    stars: Stars,
    *,
    is_saturated: np.ndarray,
    fwhm_pix: float,
    half_pix: float,
) -> Growth | None:
    """Measure the light of stars that their PSFs do not hold.

    Each star is looked at in rings of the image with all sources subtracted. Those beyond the stamp tell a level of
    the sky of its own and the height of the wing, A (r / R)^(-11/3); those within, of unsaturated stars, what the PSF
    model lacks there. Beyond the last ring the wing goes on. Faint neighbors that were not found disturb every star
    by the same number of electrons, which the scatter of the stars tells, so that the bright ones weigh most.

    Parameters
    ----------
    residual, variance : (ny, nx) float arrays [electron, electron2]
    unusable : (ny, nx) bool
    stars : Stars, the brightest first
    is_saturated : (n,) bool
    fwhm_pix : float
    half_pix : float
        Radius R at which the stamps end.

    Returns
    -------
    Growth or None
        None where the stars do not tell it to `MAX_ERROR`.
    """
    edges, n_inner = _edges(fwhm_pix, half_pix)
    if len(edges) - 1 <= n_inner or len(stars.x) < MIN_STARS:
        return None
    light, error = _ring_levels(residual, variance, unusable, stars, edges)
    middle = np.sqrt(edges[1:] * edges[:-1])
    wing = (middle / half_pix) ** -WING_POWER
    area = math.pi * np.diff(edges**2)
    weight = np.where(np.isfinite(light), 1.0 / np.square(error), 0.0)
    weight[:, :n_inner] = 0.0
    far = weight * (middle > LEVEL_FWHM * fwhm_pix)
    near = weight * (middle <= LEVEL_FWHM * fwhm_pix)
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.nansum(far * light, axis=1) / far.sum(axis=1)
        wing_there = far @ wing / far.sum(axis=1)
        shape = wing - wing_there[:, None]
        height = np.nansum(near * shape * (light - level[:, None]), axis=1) / np.sum(near * shape**2, axis=1)
    mean, mean_err, n_star = _mean_per_flux(height, stars.flux)
    if n_star < MIN_STARS:
        return None
    inside = ((light - level[:, None])[:, :n_inner] * area[:n_inner]).sum(axis=1)
    inside += mean * stars.flux * wing_there * area[:n_inner].sum()
    lack, lack_err, n_inside = _mean_per_flux(np.where(is_saturated, np.nan, inside), stars.flux)
    beyond = 2.0 * math.pi * half_pix**2 / (WING_POWER - 2.0)
    ratio_err = math.hypot(beyond * mean_err, lack_err)
    if n_inside < MIN_STARS or ratio_err > MAX_ERROR:
        return None
    return Growth(1.0 + beyond * mean + lack, ratio_err, n_star)


def _edges(fwhm_pix: float, half_pix: float) -> tuple[np.ndarray, int]:
    """Return the edges of the rings [pix], and how many of the rings are within the stamp."""
    inner, outer = INNER_FWHM * fwhm_pix, OUTER_FWHM * fwhm_pix
    within = np.linspace(min(inner, half_pix), half_pix, N_INNER + 1)
    return np.append(within, np.geomspace(half_pix, max(outer, half_pix), N_OUTER + 1)[1:]), N_INNER


def _ring_levels(
    residual: np.ndarray, variance: np.ndarray, unusable: np.ndarray, stars: Stars, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of each ring around each star and its error, (n_star, n_ring); NaN where it is not seen."""
    light, error = np.full((2, len(stars.x), len(edges) - 1), np.nan)
    for k, (x, y) in enumerate(zip(stars.x, stars.y, strict=True)):
        window, radius = window_radius(residual.shape, x, y, edges[-1])
        within = (radius >= edges[0]) & (radius < edges[-1])
        usable = within & ~unusable[window]
        ring = np.searchsorted(edges, radius[usable], side="right") - 1
        counts = np.bincount(ring, minlength=len(edges) - 1)
        order = np.argsort(ring, kind="stable")
        values = np.split(residual[window][usable][order], np.cumsum(counts)[:-1])
        noise = math.sqrt(np.median(variance[window][usable])) if usable.any() else np.nan
        # less than half a ring may be all bleed or edge
        whole = math.pi * np.diff(edges**2)
        for b in np.flatnonzero((counts >= MIN_PIXELS) & (counts > 0.5 * whole)):
            light[k, b] = np.median(values[b])
            error[k, b] = MEDIAN_LOSS * noise / math.sqrt(counts[b])
    return light, error


def _mean_per_flux(light: np.ndarray, flux: np.ndarray) -> tuple[float, float, int]:
    """Return the mean of light per flux, its error and how many stars made it.

    The error of the light is the same for all stars, so the mean is that of least squares on light = a flux.
    """
    seen = np.isfinite(light) & (flux > 0)
    if np.count_nonzero(seen) < MIN_STARS:
        return 0.0, math.inf, 0
    light, flux = light[seen], flux[seen]
    kept = np.ones(len(flux), bool)
    for _ in range(6):
        mean = float((light * flux)[kept].sum() / (flux**2)[kept].sum())
        off = light - mean * flux
        sigma = robust_sigma(off, 0.0)
        limit = CLIP_SIGMA * np.hypot(sigma, ONE_STAR_LIMIT * mean * flux)
        still = np.abs(off) <= limit
        if np.array_equal(still, kept) or np.count_nonzero(still) < MIN_STARS:
            break
        kept = still
    error = sigma / math.sqrt((flux**2)[kept].sum())
    return mean, math.hypot(error, ONE_STAR_LIMIT * mean), int(np.count_nonzero(kept))


def bright_stars(
    x: np.ndarray, y: np.ndarray, flux: np.ndarray, *, shape: tuple[int, int], flux_min: float, margin_pix: float
) -> tuple[Stars, np.ndarray]:
    """Choose stars that the curve of growth is measured on: the brightest well inside the image, brightest first.

    Returns
    -------
    Stars, and the indices of them
    """
    ny, nx = shape
    inside = (x > margin_pix) & (x < nx - 1 - margin_pix) & (y > margin_pix) & (y < ny - 1 - margin_pix)
    chosen = np.flatnonzero(inside & np.isfinite(flux) & (flux > flux_min))
    chosen = chosen[np.argsort(-flux[chosen], kind="stable")][:MAX_STARS]
    return Stars(x[chosen], y[chosen], flux[chosen]), chosen
