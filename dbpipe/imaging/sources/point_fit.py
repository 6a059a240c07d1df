"""Point sources on a difference image: flux and position of each, neighbors taken into account.

Sources closer than a blend are one group and are fitted jointly by Levenberg-Marquardt (`blend_fit`). Groups whose
circles overlap are fitted in turn, each with the others' models subtracted, until nothing moves (block Gauss-Seidel:
the joint least-squares solution); beyond a blend the covariance of two sources is negligible.

The maximum-likelihood position lies where the noise adds flux: at true S/N q the fitted flux is too large by about
1 / q^2 (two fitted coordinates add 2 to the expected delta chi2, so q_fit^2 = q^2 + 2): 4% at 5, 1% at 10.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.spatial import cKDTree

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cut_stamp, render
from dbpipe.imaging.sources.blend_fit import chi2_on_circle, cut_group, fit_group, linear_flux

_FLUX_SWEEPS = 4
_MAX_SWEEPS = 12
_BLEND_RADII = 0.6
"""Sources within this part of the fit radius (1.5 FWHM) of each other are one group."""
_MAX_GROUP = 6


@dataclass(frozen=True)
class PointSourceFit:
    """Arrays of length n; NaN where there is no answer."""

    flux: np.ndarray
    """[image unit] at the fitted position, or at the start where the fit failed."""
    flux_err: np.ndarray
    x: np.ndarray
    """[pix]"""
    y: np.ndarray
    x_err: np.ndarray
    """[pix] standard error; NaN where the fit failed."""
    y_err: np.ndarray
    xy_cov: np.ndarray
    """[pix2]"""
    chi2: np.ndarray
    n_pix: np.ndarray
    """int64, pixels with weight in the circle."""
    converged: np.ndarray
    """bool"""

    def take(self, index: np.ndarray) -> "PointSourceFit":
        """Return the fits of these sources, in this order."""
        return PointSourceFit(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def fit_point_sources(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf_spline: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    radius_pix: float,
    max_shift_pix: float = 2.0,
) -> PointSourceFit:
    """Fit flux and position of point sources.

    Parameters
    ----------
    image, variance : (ny, nx) float32 arrays
    mask : (ny, nx) uint16 array; unusable pixels get no weight
    psf_spline : (n, size, size) float32 array, `spline_coefficients` of the PSF at each source
    x, y : (n,) start [pix]; put the brightest first
    radius_pix : float
        Radius of the fit; about 2.5 FWHM loses nothing.
    max_shift_pix : float
        A fit that wanders further from its start has failed.

    Returns
    -------
    PointSourceFit
    """
    x = np.asarray(x, np.float64)
    y = np.asarray(y, np.float64)
    start, neighbor = _neighbor_lists(x, y, 2.0 * radius_pix)
    group = group_sources(x, y, _BLEND_RADII * radius_pix)
    args = (image, variance, mask, psf_spline, float(radius_pix), start, neighbor, group)
    state, covariance, chi2, n_pix, converged = _fit_all(*args, x, y, float(max_shift_pix))
    return _collect(state, covariance, chi2, n_pix, converged, x, y)


def forced_flux(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf_spline: np.ndarray,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    radius_pix: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the flux of a point source at each given position; neighbors are not subtracted.

    Parameters as in `fit_point_sources`.

    Returns
    -------
    flux, flux_err : (n,) float64 arrays [image unit], NaN where no pixel is usable
    n_pix : (n,) int64 array
    """
    positions = np.asarray(x, np.float64), np.asarray(y, np.float64)
    flux, flux_err, n_pix = _forced(image, variance, mask, psf_spline, *positions, float(radius_pix))
    return flux, flux_err, n_pix


def _collect(
    state: np.ndarray,
    covariance: np.ndarray,
    chi2: np.ndarray,
    n_pix: np.ndarray,
    converged: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> PointSourceFit:
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    failed = ~converged
    position_err = np.where(failed[:, None], np.nan, sigma[:, 1:])
    flux_err = np.where(sigma[:, 0] > 0, sigma[:, 0], np.nan)
    return PointSourceFit(
        flux=np.where(np.isfinite(flux_err), state[:, 0], np.nan),
        flux_err=flux_err,
        x=np.where(failed, x, state[:, 1]),
        y=np.where(failed, y, state[:, 2]),
        x_err=position_err[:, 0],
        y_err=position_err[:, 1],
        xy_cov=np.where(failed, np.nan, covariance[:, 1, 2]),
        chi2=np.where(n_pix > 0, chi2, np.nan),
        n_pix=n_pix,
        converged=converged,
    )


def group_sources(x: np.ndarray, y: np.ndarray, blend_pix: float) -> np.ndarray:
    """Return the group of each source, (n,) int64: each joins its nearest predecessor within ``blend_pix``, if any.

    A group has at most 6 members.
    """
    group = np.arange(len(x))
    size = np.ones(len(x), np.int64)
    start, neighbor = _neighbor_lists(x, y, blend_pix)
    for i in range(len(x)):
        for j in neighbor[start[i] : start[i + 1]]:
            if j < i and size[group[j]] < _MAX_GROUP:
                group[i] = group[j]
                size[group[j]] += 1
                break
    return group


def _neighbor_lists(x: np.ndarray, y: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return start (n + 1) and neighbor: those of source i are neighbor[start[i]:start[i + 1]], nearest first."""
    if not len(x):
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(reach, output_type="ndarray")
    both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
    distance = np.hypot(x[both[:, 0]] - x[both[:, 1]], y[both[:, 0]] - y[both[:, 1]])
    both = both[np.lexsort((both[:, 1], distance, both[:, 0]))]
    start = np.searchsorted(both[:, 0], np.arange(len(x) + 1))
    return start, np.ascontiguousarray(both[:, 1])


@njit(cache=True)
def _fit_all(image, variance, mask, spline, radius, start, neighbor, group, x0, y0, max_shift):
    n = len(x0)
    state = np.zeros((n, 3))
    state[:, 1], state[:, 2] = x0, y0
    covariance = np.zeros((n, 3, 3))
    chi2 = np.zeros(n)
    n_pix = np.zeros(n, np.int64)
    converged = np.zeros(n, np.bool_)
    for _ in range(_FLUX_SWEEPS):
        for i in range(n):
            left, bottom = int(np.floor(x0[i] + 0.5)) - int(radius), int(np.floor(y0[i] + 0.5)) - int(radius)
            data, weight = cut_stamp(image, variance, mask, left, bottom, radius)
            for k in neighbor[start[i] : start[i + 1]]:
                data -= state[k, 0] * render(spline[k], state[k, 1], state[k, 2], left, bottom, data.shape[0])[0]
            psf = render(spline[i], x0[i], y0[i], left, bottom, data.shape[0])[0]
            state[i, 0] = linear_flux(data, weight, psf)[0]
    for sweep in range(_MAX_SWEEPS):
        moved = False
        for i in range(n):
            if group[i] != i:
                continue
            members = i + np.flatnonzero(group[i:] == i)
            others = _neighbors_of(members, start, neighbor, group)
            if len(others) == 0 and sweep > 0:
                continue
            left, bottom, data, weight = cut_group(image, variance, mask, x0[members], y0[members], radius)
            for k in others:
                data -= state[k, 0] * render(spline[k], state[k, 1], state[k, 2], left, bottom, data.shape[0])[0]
            before = state[members].copy()
            fitted = before.copy()
            origin = np.stack((x0[members], y0[members]), axis=1)
            good, block = fit_group(data, weight, spline[members], left, bottom, origin, max_shift, fitted)
            for m in range(len(members)):
                k = members[m]
                state[k], converged[k], covariance[k] = fitted[m], good[m], block[m]
                change = np.abs(fitted[m] - before[m])
                far = max(change[1], change[2]) > 2e-3 or change[0] > 1e-2 * np.sqrt(block[m, 0, 0])
                moved = moved or (far and len(others) > 0)
        if not moved:
            break
    for i in range(n):
        near = neighbor[start[i] : start[i + 1]]
        chi2[i], n_pix[i] = chi2_on_circle(image, variance, mask, spline, state, i, near, x0[i], y0[i], radius)
    return state, covariance, chi2, n_pix, converged


@njit(cache=True)
def _neighbors_of(members, start, neighbor, group):
    """Sources of other groups whose circles overlap that of a member, each once, in order."""
    is_near = np.zeros(len(group), np.bool_)
    for i in members:
        for k in neighbor[start[i] : start[i + 1]]:
            is_near[k] = group[k] != group[i]
    return np.flatnonzero(is_near)


@njit(cache=True)
def _forced(image, variance, mask, spline, x, y, radius):
    n = len(x)
    flux, flux_err = np.full(n, np.nan), np.full(n, np.nan)
    n_pix = np.zeros(n, np.int64)
    for i in range(n):
        left, bottom = int(np.floor(x[i] + 0.5)) - int(radius), int(np.floor(y[i] + 0.5)) - int(radius)
        data, weight = cut_stamp(image, variance, mask, left, bottom, radius)
        psf = render(spline[i], x[i], y[i], left, bottom, data.shape[0])[0]
        value, information = linear_flux(data, weight, psf)
        n_pix[i] = np.count_nonzero(weight)
        if information > 0.0:
            flux[i], flux_err[i] = value, 1.0 / np.sqrt(information)
    return flux, flux_err, n_pix
