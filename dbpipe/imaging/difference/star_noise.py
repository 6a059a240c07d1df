"""What differs from star to star in a difference is noise: a part of the star's flux, measured ring by ring.

Errors of the PSF, of its interpolation and of the kernel leave residuals that scale with the flux of the star.  A point
source there is wrong by that part of the star's flux, and its error has to say so.  They have the shape of the PSF, so
distances from a star are counted along ellipses of the PSF there.
"""

from dataclasses import dataclass, replace

import numpy as np

from dbpipe.imaging import mask as planes
from dbpipe.imaging.difference.score_image import Score
from dbpipe.imaging.difference.subtract import Subtraction
from dbpipe.imaging.difference.wings import MIN_STARS
from dbpipe.imaging.psf.model import Psf, adaptive_moments
from dbpipe.imaging.psf.rings import Profile, Stars, ring_edges, window_radius

NOISE_EDGES_FWHM = (0.0, 0.5, 1.0, 1.5, 2.0, 2.6, 3.3, 4.2, 5.4, 7.0, 9.0)


MAX_STARS = 60
"""How many of the brightest stars tell what is common to all."""


@dataclass(frozen=True)
class ShapedStars:
    """Stars and the shape that the PSF has at each.

    Attributes
    ----------
    stars : Stars
    inverse : (n, 2, 2) float array, inverse second moments of the PSF at each star, times those of a typical star
    reach : (n,) float array, largest axis of each PSF over the radius of a typical one
    """

    stars: Stars
    inverse: np.ndarray
    reach: np.ndarray

    def take(self, index: slice) -> "ShapedStars":
        """Return some of them."""
        return ShapedStars(self.stars.take(index), self.inverse[index], self.reach[index])

    def distances(self, k: int, shape: tuple[int, int], radius_pix: float) -> tuple[tuple[slice, slice], np.ndarray]:
        """Return the window of an image around star k, and the distance of its pixels from the star.

        For a star with a round PSF of typical size the distance is that in pixels.
        """
        x, y = self.stars.x[k], self.stars.y[k]
        window, _ = window_radius(shape, x, y, radius_pix * self.reach[k])
        rows, columns = np.ogrid[window]
        (xx, xy), (_, yy) = self.inverse[k]
        return window, np.sqrt(xx * (columns - x) ** 2 + 2.0 * xy * (columns - x) * (rows - y) + yy * (rows - y) ** 2)


def shaped_stars(stars: Stars, psf: Psf) -> ShapedStars:
    """Measure the shape of a PSF model at stars."""
    moments = np.array([adaptive_moments(stamp.astype(float)) for stamp in psf.at_many(stars.x, stars.y)])
    matrix = moments.reshape(-1, 3)[:, [0, 2, 2, 1]].reshape(-1, 2, 2)
    if not len(matrix):
        return ShapedStars(stars, matrix, np.zeros(0))
    typical = np.median(np.sqrt(np.linalg.det(matrix)))
    largest = np.linalg.eigvalsh(matrix)[:, -1]
    return ShapedStars(stars, typical * np.linalg.inv(matrix), np.sqrt(largest / typical))


def measure_star_noise(score: np.ndarray, flux_err: np.ndarray, stars: ShapedStars, *, fwhm_pix: float) -> Profile:
    """Measure which part of a star's flux a point source at some distance from it is wrong by.

    The score of pure noise has a variance of 1; what it has more, around stars that did not change, is
    (part x flux / flux_err)^2.  Stars beyond three standard deviations are left out: they may have varied.

    Parameters
    ----------
    score, flux_err : (ny, nx) float arrays, 0 where there is no score
    stars : ShapedStars, brightest first
    fwhm_pix : float

    Returns
    -------
    Profile
        Of the part of the flux; zero with fewer than three stars.
    """
    edges = ring_edges(NOISE_EDGES_FWHM, fwhm_pix)
    excess, own = _excess(score, flux_err, stars.take(slice(MAX_STARS)), edges)
    value = [_common_variance(excess[:, b], own[:, b]) for b in range(len(edges) - 1)]
    return Profile(edges, np.sqrt(value))


def own_star_noise(score: np.ndarray, flux_err: np.ndarray, star: ShapedStars, common: Profile) -> Profile:
    """Return the profile of one star: what is common to all, or beyond its core what itself shows if that is more.

    A saturated star outshines those that `measure_star_noise` has seen, and need not be like them.
    """
    excess, _ = _excess(score, flux_err, star, common.edges_pix)
    own = np.sqrt(np.maximum(np.nan_to_num(excess[0]), 0.0))
    beyond = common.edges_pix[:-1] >= common.edges_pix[np.searchsorted(NOISE_EDGES_FWHM, 2.0)]
    return Profile(common.edges_pix, np.where(beyond, np.maximum(own, common.value), common.value))


def _excess(
    score: np.ndarray, flux_err: np.ndarray, stars: ShapedStars, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the square of the part of the flux that each star shows, and that of its noise, (n_star, n_ring)."""
    excess, own = np.full((2, len(stars.reach), len(edges) - 1), np.nan)
    for k, flux in enumerate(stars.stars.flux):
        window, radius = stars.distances(k, score.shape, edges[-1])
        for b in range(len(edges) - 1):
            ring = (radius >= edges[b]) & (radius < edges[b + 1]) & (flux_err[window] > 0)
            if ring.any():
                level = np.square(flux_err[window][ring] / flux)
                power = np.square(score[window][ring])
                # a transient or a neighbor in the ring counts little; 25 medians of chi2 are 3.4 sigma
                variance = np.mean(np.minimum(power, 25.0 * np.median(power)))
                own[k, b] = np.median(level)
                excess[k, b] = (variance - 1.0) * own[k, b]
    return excess, own


def star_noise(shape: tuple[int, int], profile: Profile, stars: ShapedStars, *, faintest: float) -> np.ndarray:
    """Return the error of the flux of a point source that stars add, (ny, nx) float32: the largest of any star.

    Parameters
    ----------
    shape : (ny, nx)
    profile : Profile of `measure_star_noise`
    stars : ShapedStars
    faintest : float, errors below are left out [image unit]
    """
    noise = np.zeros(shape, np.float32)
    for k, flux in enumerate(stars.stars.flux):
        if flux * profile.value.max(initial=0.0) > faintest:
            window, radius = stars.distances(k, shape, profile.edges_pix[-1])
            noise[window] = np.maximum(noise[window], flux * profile.at(radius))
    return noise


def with_star_noise(
    result: Subtraction, score: Score, psf: Psf, *, fwhm_pix: float, halo_noise: float
) -> tuple[Subtraction, Score, Profile]:
    """Add what stars leave to the noise, and mark as halo where that of a saturated star outweighs the rest.

    Parameters
    ----------
    result : Subtraction
    score : Score
    psf : object with ``at_many(x, y) -> (n, size, size)``, of the science image
    fwhm_pix : float
    halo_noise : float, what a saturated star adds beyond this many sigma of all other noise is its halo

    Returns
    -------
    Subtraction and Score with the noise in variance and flux_err, and the common Profile
    """
    stars = shaped_stars(result.bright, psf)
    part = measure_star_noise(score.score, score.flux_err, stars, fwhm_pix=fwhm_pix)
    shape = score.score.shape
    sky_err = float(np.median(score.flux_err[::7, ::7]))
    added = star_noise(shape, part, stars, faintest=0.05 * sky_err)
    from_saturated = _saturated_star_noise(result.mask, score, stars, part)
    added = np.maximum(added, from_saturated)
    ratio = np.divide(added, score.flux_err, out=np.zeros(shape, np.float32), where=score.flux_err > 0)
    factor = np.sqrt(1.0 + np.square(ratio))
    mask = result.mask.copy()
    if part.value.any():
        # measured, and therefore better than the disk that calibration drew by the saturated area
        mask &= ~np.uint16(planes.NEAR_SATURATED)
        mask[from_saturated > halo_noise * np.maximum(score.flux_err, sky_err)] |= planes.NEAR_SATURATED
    changed = replace(result, variance=result.variance * np.square(factor), mask=mask)
    return changed, Score(score.score / factor, score.flux_err * factor), part


def _saturated_star_noise(mask: np.ndarray, score: Score, stars: ShapedStars, part: Profile) -> np.ndarray:
    """Return the error that saturated stars add to fluxes, (ny, nx) float32."""
    ny, nx = mask.shape
    y, x = (np.floor(v + 0.5).astype(int) for v in (stars.stars.y, stars.stars.x))
    saturated = ((mask & planes.SATURATED) != 0)[y.clip(0, ny - 1), x.clip(0, nx - 1)]
    noise = np.zeros(mask.shape, np.float32)
    for k in np.flatnonzero(saturated):
        star = stars.take(slice(k, k + 1))
        own = own_star_noise(score.score, score.flux_err, star, part)
        noise = np.maximum(noise, star_noise(mask.shape, own, star, faintest=0.0))
    return noise


def _common_variance(excess: np.ndarray, own: np.ndarray) -> float:
    """Return the variance that all stars share beyond their own noise; 0 with too few stars.

    Each star is one draw: its weight follows from what is expected of it, never from what it shows.

    Parameters
    ----------
    excess : (n,) square of what the star shows less its own noise, NaN where unseen
    own : (n,) variance of its own noise
    """
    seen = np.isfinite(excess)
    if seen.sum() < MIN_STARS:
        return 0.0
    excess, own = excess[seen], own[seen]
    common = max(float(np.median(excess)), 0.0)
    for _ in range(10):
        expected = own + common
        kept = excess <= 9.0 * expected
        common = max(float(np.average(excess[kept], weights=1.0 / np.square(expected[kept]))), 0.0)
    return common
