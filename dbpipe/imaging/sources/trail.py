"""Trails among the sources of a difference image: which were points that moved during the exposure?

A short trail is one elongated source; a long one is a chain of point sources to whoever knows no trails.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.imaging.psf.shapes import adaptive_moments
from dbpipe.imaging.settings import Trailing
from dbpipe.imaging.sources.point_fit import PointSourceFit, fit_point_sources
from dbpipe.imaging.sources.trail_fit import fit_trail

_LINK_FWHM = 1.75
"""Point sources fitted along a trail are closer to the next than this."""
_MODEL_ERROR = 0.05
"""Error of the PSF, a fraction of its power, that must not look like a trail."""
_FIT_ERROR = 0.2
"""The same, for what may be left after the fit of a trail."""
_MAX_LENGTH_FWHM = 12.0
"""A longer one leaves the stamp of the fit: satellites, which calibration flags."""


@dataclass(frozen=True)
class TrailFit:
    """Arrays of length n, one element per trail that was tried; NaN where the fit failed."""

    source: np.ndarray
    """int64, the brightest source on it"""
    flux: np.ndarray
    """[image unit]"""
    flux_err: np.ndarray
    x: np.ndarray
    """[pix] midpoint"""
    y: np.ndarray
    x_err: np.ndarray
    y_err: np.ndarray
    xy_cov: np.ndarray
    length_pix: np.ndarray
    length_err_pix: np.ndarray
    angle_deg: np.ndarray
    """from x toward y, -90 to 90"""
    chi2: np.ndarray
    chi2_points: np.ndarray
    """chi2 of the point sources on it, on the same pixels"""
    n_pix: np.ndarray
    is_trail: np.ndarray
    """bool"""

    def take(self, index: np.ndarray) -> "TrailFit":
        """Return these trails, in this order."""
        return TrailFit(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def find_trails(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf_spline: np.ndarray,
    fit: PointSourceFit,
    moments: np.ndarray,
    psf_moments: np.ndarray,
    radius_pix: float,
    fwhm_pix: float,
    trailing: Trailing,
) -> tuple[TrailFit, np.ndarray]:
    """Fit a trail to each chain of sources of one sign, and to each elongated single one.

    A trail must fit well, and better than the point sources on it: than one or two by the threshold, since a close pair
    often looks like a trail, than three and more, which have nine parameters, by any difference of chi2.

    Parameters
    ----------
    image, variance, mask : (ny, nx) arrays
    psf_spline : (n, size, size) float32 array
    fit : PointSourceFit of n sources, the most significant first
    moments : (n, 3) ixx, iyy, ixy of the sources [pix2], NaN where unmeasured
    psf_moments : (3,) the same of the PSF
    radius_pix, fwhm_pix : float
    trailing : Trailing

    Returns
    -------
    TrailFit
    group : (n,) int64 array, chains of sources; those of a trail are its pieces
    """
    group = _chains(fit, _LINK_FWHM * fwhm_pix)
    snr = np.nan_to_num(np.abs(fit.flux) / fit.flux_err)
    state = np.nan_to_num(np.column_stack([fit.flux, fit.x, fit.y]))
    power = np.bincount(group, snr**2, minlength=len(snr) + 1)
    size = np.bincount(group, minlength=len(snr) + 1)
    bright = (power[group] >= trailing.snr**2) & fit.converged
    tried = bright & ((size[group] > 1) | _elongated(moments, psf_moments, snr))
    tries = []
    for number in np.unique(group[tried]):
        members = np.flatnonzero(group == number)
        start = _start(state[members], moments[members[0]], psf_moments, fwhm_pix)
        reach = min(np.hypot(*start[3:]), 0.5 * _MAX_LENGTH_FWHM * fwhm_pix)
        near = np.flatnonzero(np.hypot(fit.x - start[1], fit.y - start[2]) < 2.0 * radius_pix + reach)
        others = state[np.setdiff1d(near, members)]
        spline, radius = psf_spline[members[0]], float(radius_pix + reach)
        at: dict[str, Any] = {"start": start, "radius_pix": radius, "sigma_pix": fwhm_pix / FWHM_PER_SIGMA}
        planes = (image, variance, mask)
        tries.append((members, *fit_trail(planes, spline, state[members], others, **at)))
    return _judge(tries, trailing, fwhm_pix), group


@dataclass(frozen=True)
class Trailed:
    """Sources of which trails are one each."""

    kept: np.ndarray
    """(m,) int64, the sources that are left, the most significant first"""
    score: np.ndarray
    """(m,) float64"""
    fit: PointSourceFit
    """of the m sources; the position of a trail is its midpoint"""
    trails: TrailFit
    """``source`` counts among the m sources"""


def gather_trails(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    score: np.ndarray,
    fit: PointSourceFit,
    psf_spline: np.ndarray,
    radius_pix: float,
    psf_moments: np.ndarray,
    fwhm_pix: float,
    trailing: Trailing,
) -> Trailed:
    """Find the trails, drop the pieces of each but one, and fit all point sources again if there were any.

    Parameters
    ----------
    score : (n,) float array
    image, variance, mask, fit, psf_spline, radius_pix, psf_moments, fwhm_pix, trailing :
        see `find_trails`

    Returns
    -------
    Trailed
    """
    at: dict[str, Any] = {"psf_spline": psf_spline, "radius_pix": radius_pix}
    moments = _moments_of_bright(image, mask, fit, radius_pix, fwhm_pix, trailing)
    settings: dict[str, Any] = {"psf_moments": psf_moments, "fwhm_pix": fwhm_pix, "trailing": trailing}
    trails, group = find_trails(image, variance, mask, fit=fit, moments=moments, **at, **settings)
    real = trails.take(trails.is_trail)
    piece = np.isin(group, group[real.source])
    piece[real.source] = False
    x, y = fit.x.copy(), fit.y.copy()
    x[real.source], y[real.source] = real.x, real.y
    if piece.any():
        fit = fit_point_sources(
            image, variance, mask, psf_spline=psf_spline[~piece], x=x[~piece], y=y[~piece], radius_pix=radius_pix
        )
    number = np.cumsum(~piece) - 1
    trails = trails.take(~piece[trails.source])
    fit = _at_midpoints(fit, real, number[real.source])
    own = np.nan_to_num(fit.flux / fit.flux_err)
    score = score[~piece]
    better = number[real.source][np.abs(own[number[real.source]]) > np.abs(score[number[real.source]])]
    score[better] = own[better]
    order = np.argsort(-np.abs(score), kind="stable")
    place = np.argsort(order)
    trails = replace(trails, source=place[number[trails.source]])
    return Trailed(np.flatnonzero(~piece)[order], score[order], fit.take(order), trails)


def _moments_of_bright(
    image: np.ndarray, mask: np.ndarray, fit: PointSourceFit, radius_pix: float, fwhm_pix: float, trailing: Trailing
) -> np.ndarray:
    moments = np.full((len(fit.x), 3), np.nan)
    bright = np.nan_to_num(np.abs(fit.flux) / fit.flux_err) >= trailing.snr
    at: dict[str, Any] = {"x": fit.x[bright], "y": fit.y[bright], "radius_pix": radius_pix}
    moments[bright] = np.stack(adaptive_moments(image, mask, sigma_pix=fwhm_pix / FWHM_PER_SIGMA, **at), -1)
    return moments


def _at_midpoints(fit: PointSourceFit, trails: TrailFit, row: np.ndarray) -> PointSourceFit:
    """Give the sources of these rows the places of trails."""
    arrays: dict[str, Any] = {name: getattr(fit, name).copy() for name in ("x", "y", "x_err", "y_err", "xy_cov")}
    for name, values in arrays.items():
        values[row] = getattr(trails, name)
    converged = fit.converged.copy()
    converged[row] = True
    return replace(fit, converged=converged, **arrays)


def _chains(fit: PointSourceFit, link_pix: float) -> np.ndarray:
    """Number of the chain of each source: same sign, each within ``link_pix`` of the next."""
    n = len(fit.x)
    if n < 2:
        return np.arange(n)
    pairs = cKDTree(np.column_stack([fit.x, fit.y])).query_pairs(link_pix, output_type="ndarray")
    linked = (fit.flux[pairs[:, 0]] * fit.flux[pairs[:, 1]] > 0) & fit.converged[pairs].all(axis=1)
    first, second = pairs[linked].T
    return connected_components(coo_matrix((np.ones(len(first)), (first, second)), (n, n)), directed=False)[1]


def _elongated(moments: np.ndarray, psf_moments: np.ndarray, snr: np.ndarray) -> np.ndarray:
    """Whether the moments exceed those of the PSF along some direction by 3 standard deviations (2 / S/N each)."""
    excess = _largest(moments - psf_moments)[0]
    unknown = np.isnan(excess)
    return unknown | (excess > 3.0 * 2.0 / np.maximum(snr, 1.0) * 0.5 * (psf_moments[0] + psf_moments[1]))


def _largest(moments: np.ndarray) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Return the largest eigenvalue and its direction [rad] of rows of xx, yy, xy."""
    xx, yy, xy = np.moveaxis(np.asarray(moments, float), -1, 0)
    return 0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy), 0.5 * np.arctan2(2.0 * xy, xx - yy)


def _start(state: np.ndarray, moments: np.ndarray, psf_moments: np.ndarray, fwhm_pix: float) -> np.ndarray:
    """Return flux, midpoint and half vector to start from: the extent of a chain, or the moments of one source."""
    flux = state[:, 0].sum()
    x, y = np.average(state[:, 1:], axis=0, weights=np.abs(state[:, 0]))
    if len(state) > 1:
        offset = state[:, 1:] - (x, y)
        angle = _largest(
            np.array([(offset[:, 0] ** 2).mean(), (offset[:, 1] ** 2).mean(), offset.prod(axis=1).mean()])
        )[1]
        along = offset @ (np.cos(angle), np.sin(angle))
        half = 0.5 * np.ptp(along) + 0.4 * fwhm_pix
    elif np.isfinite(moments).all():
        excess, angle = _largest(moments - psf_moments)
        half = np.sqrt(3.0 * max(excess, 0.02 * fwhm_pix**2))  # a segment's variance is half^2 / 3
    else:
        half, angle = fwhm_pix, 0.0
    return np.array([flux, x, y, half * np.cos(angle), half * np.sin(angle)])


def _judge(tries: Sequence[tuple[Any, ...]], trailing: Trailing, fwhm_pix: float) -> TrailFit:
    """Collect the fits, and judge them."""
    source = np.array([members[0] for members, *_ in tries], np.int64)
    good = np.array([converged for _, converged, *_ in tries], bool)
    flux, x, y, p, q = np.array([state for _, _, state, *_ in tries]).reshape(-1, 5).T
    covariance = np.array([matrix for _, _, _, matrix, *_ in tries]).reshape(-1, 5, 5)
    chi2, chi2_points, n_pix = np.array([t[4:] for t in tries], float).reshape(-1, 3).T
    half = np.maximum(np.hypot(p, q), 1e-9)
    along = np.stack([p / half, q / half], -1)
    half_var = np.einsum("ni,nij,nj->n", along, covariance[:, 3:, 3:], along)
    diagonal = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).reshape(-1, 5)
    snr2 = np.divide(flux, diagonal[:, 0], out=np.zeros_like(flux), where=good) ** 2
    dof = np.maximum(n_pix - 5, 1)
    fits_well = chi2 < dof + 4.0 * np.sqrt(2.0 * dof) + _FIT_ERROR**2 * snr2
    n_piece = np.array([len(members) for members, *_ in tries], np.int64)
    price = np.where(n_piece > 2, 0.0, trailing.score**2 + _MODEL_ERROR**2 * snr2)
    possible = good & fits_well & (2.0 * half < _MAX_LENGTH_FWHM * fwhm_pix)
    return TrailFit(
        source=source,
        flux=np.where(good, flux, np.nan),
        flux_err=np.where(good, diagonal[:, 0], np.nan),
        x=x,
        y=y,
        x_err=diagonal[:, 1],
        y_err=diagonal[:, 2],
        xy_cov=covariance[:, 1, 2],
        length_pix=np.where(good, 2.0 * half, np.nan),
        length_err_pix=np.where(good, 2.0 * np.sqrt(half_var), np.nan),
        angle_deg=np.where(good, (np.degrees(np.arctan2(q, p)) + 90.0) % 180.0 - 90.0, np.nan),
        chi2=np.where(good, chi2, np.nan),
        chi2_points=chi2_points,
        n_pix=n_pix.astype(np.int64),
        is_trail=possible & (chi2_points - chi2 > price),
    )
