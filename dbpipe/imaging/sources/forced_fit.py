"""Fluxes of point sources at known places, those of neighbors together: linear least squares.

Each source is a PSF cut off at a circle; two of one group share what their circles share. Groups do not know of each
other, so that a group measured alone gives the same numbers as one measured among all.
"""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cholesky_invert, cut_stamp, render


def find_groups(x: np.ndarray, y: np.ndarray, blend_pix: float) -> np.ndarray:
    """Return the group of each place, (n,) int array: friends of friends within ``blend_pix`` are one group."""
    places = np.column_stack([np.asarray(x, float), np.asarray(y, float)])
    if not len(places):
        return np.zeros(0, int)
    pairs = cKDTree(places).query_pairs(blend_pix, output_type="ndarray")
    links = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(len(places),) * 2)
    return connected_components(links, directed=False)[1]


def joint_flux(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf_spline: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    radius_pix: float,
    group: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fit the fluxes of point sources at given places, those of a group together.

    With the PSFs P, the data d and the weights w the fluxes f solve sum_j (P_i w P_j) f_j = P_i w d; the inverse of the
    matrix is their covariance (Press et al. 2007, Numerical Recipes, 15.4).

    Parameters
    ----------
    image, variance : (ny, nx) float32 arrays
    mask : (ny, nx) uint16 array; unusable pixels get no weight
    psf_spline : (n, size, size) float32 array, `spline_coefficients` of the PSF at each source
    x, y : (n,) [pix]
    radius_pix : float
        Radius of the circle; about 2.5 FWHM loses nothing.
    group : (n,) int array, optional
        By default each source is measured alone.

    Returns
    -------
    flux, flux_err : (n,) float64 arrays [image unit]
        NaN where no pixel is usable, and where the usable ones cannot tell the members of a group apart.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    group = np.arange(len(x)) if group is None else np.asarray(group)
    order = np.argsort(group, kind="stable")
    start = np.flatnonzero(np.diff(group[order], prepend=-1)) if len(order) else np.zeros(0, int)
    bounds = np.append(start, len(order))
    return _fit_groups(image, variance, mask, psf_spline, x, y, order, bounds, float(radius_pix))


@njit(cache=True, error_model="numpy")
def _fit_groups(image, variance, mask, spline, x, y, order, bounds, radius):
    flux, flux_err = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for g in range(len(bounds) - 1):
        members = order[bounds[g] : bounds[g + 1]]
        seen, normal, right = _normal_equations(image, variance, mask, spline, x, y, members, radius)
        inverse, solved = cholesky_invert(normal)
        if solved:
            for i in range(len(seen)):
                total = 0.0
                for j in range(len(seen)):
                    total += inverse[i, j] * right[j]
                flux[seen[i]], flux_err[seen[i]] = total, np.sqrt(inverse[i, i])
    return flux, flux_err


@njit(cache=True, error_model="numpy")
def _normal_equations(image, variance, mask, spline, x, y, members, radius):
    """Return those members that have usable pixels, their normal matrix and right side."""
    n, side = 0, 2 * int(radius) + 1
    left, bottom = np.empty(len(members), np.int64), np.empty(len(members), np.int64)
    psf, weight = np.empty((len(members), side, side)), np.empty((len(members), side, side))
    seen, normal, right = (
        np.empty(len(members), np.int64),
        np.zeros((len(members), len(members))),
        np.zeros(len(members)),
    )
    for k in members:
        left[n], bottom[n] = int(np.floor(x[k] + 0.5)) - int(radius), int(np.floor(y[k] + 0.5)) - int(radius)
        data, own_weight = cut_stamp(image, variance, mask, left[n], bottom[n], radius)
        own_psf, _, _ = render(spline[k], x[k], y[k], left[n], bottom[n], side)
        power = signal = 0.0
        for v in range(side):
            for u in range(side):
                psf[n, v, u], weight[n, v, u] = own_psf[v, u], own_weight[v, u]
                power += own_weight[v, u] * own_psf[v, u] * own_psf[v, u]
                signal += own_weight[v, u] * own_psf[v, u] * data[v, u]
        if not power > 0.0:
            continue
        seen[n], normal[n, n], right[n] = k, power, signal
        for j in range(n):
            du, dv = left[n] - left[j], bottom[n] - bottom[j]
            normal[n, j] = normal[j, n] = _overlap(psf[n], weight[n], psf[j], weight[j], du, dv)
        n += 1
    part = np.empty((n, n))
    for i in range(n):
        for j in range(n):
            part[i, j] = normal[i, j]
    return seen[:n], part, right


@njit(cache=True, error_model="numpy")
def _overlap(psf, weight, other_psf, other_weight, du, dv):
    """Sum over the pixels of both circles; the other's box lies ``(du, dv)`` to the lower left."""
    side = len(psf)
    total = 0.0
    for v in range(max(0, -dv), min(side, side - dv)):
        for u in range(max(0, -du), min(side, side - du)):
            if other_weight[v + dv, u + du] > 0.0:
                total += weight[v, u] * psf[v, u] * other_psf[v + dv, u + du]
    return total
