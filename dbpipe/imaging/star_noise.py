"""What differs from star to star in a difference is noise: a part of the star's flux, measured ring by ring.

Errors of the PSF, of its interpolation and of the kernel leave residuals that scale with the flux of the star.  A point
source there is wrong by that part of the star's flux, and its error has to say so.
"""

import numpy as np

from dbpipe.imaging.wings import MIN_STARS, Profile, ring_edges, window_radius

NOISE_EDGES_FWHM = (0.0, 0.5, 1.0, 1.5, 2.0, 2.6, 3.3, 4.2, 5.4, 7.0, 9.0)


def measure_star_noise(score, flux_err, stars, *, fwhm_pix):
    """Measure which part of a star's flux a point source at some distance from it is wrong by.

    The score of pure noise has a variance of 1; what it has more, around stars that did not change, is
    (part x flux / flux_err)^2.  Stars beyond three standard deviations are left out: they may have varied.

    Parameters
    ----------
    score, flux_err : (ny, nx) float arrays, 0 where there is no score
    stars : Stars
    fwhm_pix : float

    Returns
    -------
    Profile
        Of the part of the flux; zero with fewer than three stars.
    """
    edges = ring_edges(NOISE_EDGES_FWHM, fwhm_pix)
    excess, own = _excess(score, flux_err, stars, edges)
    value = [_common_variance(excess[:, b], own[:, b]) for b in range(len(edges) - 1)]
    return Profile(edges, np.sqrt(value))


def own_star_noise(score, flux_err, star, common):
    """Return the profile of one star: what is common to all, or beyond its core what itself shows if that is more.

    A saturated star outshines those that `measure_star_noise` has seen, and need not be like them.
    """
    excess, _ = _excess(score, flux_err, star, common.edges_pix)
    own = np.sqrt(np.maximum(np.nan_to_num(excess[0]), 0.0))
    beyond = common.edges_pix[:-1] >= common.edges_pix[np.searchsorted(NOISE_EDGES_FWHM, 2.0)]
    return Profile(common.edges_pix, np.where(beyond, np.maximum(own, common.value), common.value))


def _excess(score, flux_err, stars, edges):
    """Return the square of the part of the flux that each star shows, and that of its noise, (n_star, n_ring)."""
    excess, own = np.full((2, len(stars.x), len(edges) - 1), np.nan)
    for k, (x, y, flux) in enumerate(zip(stars.x, stars.y, stars.flux, strict=True)):
        window, radius = window_radius(score.shape, x, y, edges[-1])
        for b in range(len(edges) - 1):
            ring = (radius >= edges[b]) & (radius < edges[b + 1]) & (flux_err[window] > 0)
            if ring.any():
                level = np.square(flux_err[window][ring] / flux)
                power = np.square(score[window][ring])
                # a transient or a neighbour in the ring counts little; 25 medians of chi2 are 3.4 sigma
                variance = np.mean(np.minimum(power, 25.0 * np.median(power)))
                own[k, b] = np.median(level)
                excess[k, b] = (variance - 1.0) * own[k, b]
    return excess, own


def star_noise(shape, profile, stars, *, faintest):
    """Return the error of the flux of a point source that stars add, (ny, nx) float32: the largest of any star.

    Parameters
    ----------
    shape : (ny, nx)
    profile : Profile of `measure_star_noise`
    stars : Stars
    faintest : float, errors below are left out [image unit]
    """
    noise = np.zeros(shape, np.float32)
    for x, y, flux in zip(stars.x, stars.y, stars.flux, strict=True):
        if flux * profile.value.max(initial=0.0) > faintest:
            window, radius = window_radius(shape, x, y, profile.edges_pix[-1])
            noise[window] = np.maximum(noise[window], flux * profile.at(radius))
    return noise


def _common_variance(excess, own):
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
