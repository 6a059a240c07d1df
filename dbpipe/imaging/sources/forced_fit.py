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
    group: np.ndarray,
    radius_pix: float,
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
    group : (n,) int array
    radius_pix : float
        Radius of the circle; about 2.5 FWHM loses nothing.

    Returns
    -------
    flux, flux_err : (n,) float64 arrays [image unit]
        NaN where no pixel is usable, and where the usable ones cannot tell the members of a group apart.
    """
    order = np.argsort(group, kind="stable")
    start = np.flatnonzero(np.diff(np.asarray(group)[order], prepend=-1)) if len(order) else np.zeros(0, int)
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    bounds = np.append(start, len(order))
    return _fit_groups(image, variance, mask, psf_spline, x, y, order, bounds, float(radius_pix))


@njit(cache=True)
def _fit_groups(image, variance, mask, spline, x, y, order, bounds, radius):
    flux, flux_err = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for g in range(len(bounds) - 1):
        members = order[bounds[g] : bounds[g + 1]]
        normal, right = _normal_equations(image, variance, mask, spline, x, y, members, radius)
        seen = np.flatnonzero(np.diag(normal) > 0.0)
        inverse, solved = cholesky_invert(_rows_and_columns(normal, seen))
        if solved:
            flux[members[seen]] = inverse @ right[seen]
            flux_err[members[seen]] = np.sqrt(np.diag(inverse))
    return flux, flux_err


@njit(cache=True)
def _rows_and_columns(matrix, index):
    part = np.empty((len(index), len(index)))
    for i in range(len(index)):
        part[i] = matrix[index[i]][index]
    return part


@njit(cache=True)
def _normal_equations(image, variance, mask, spline, x, y, members, radius):
    n, side = len(members), 2 * int(radius) + 1
    left, bottom = np.empty(n, np.int64), np.empty(n, np.int64)
    psf, weight = np.empty((n, side, side)), np.empty((n, side, side))
    normal, right = np.zeros((n, n)), np.zeros(n)
    for i in range(n):
        k = members[i]
        left[i], bottom[i] = int(np.floor(x[k] + 0.5)) - int(radius), int(np.floor(y[k] + 0.5)) - int(radius)
        data, weight[i] = cut_stamp(image, variance, mask, left[i], bottom[i], radius)
        psf[i] = render(spline[k], x[k], y[k], left[i], bottom[i], side)[0]
        normal[i, i] = np.sum(weight[i] * psf[i] * psf[i])
        right[i] = np.sum(weight[i] * psf[i] * data)
        for j in range(i):
            du, dv = left[i] - left[j], bottom[i] - bottom[j]
            normal[i, j] = normal[j, i] = _overlap(psf[i], weight[i], psf[j], weight[j], du, dv)
    return normal, right


@njit(cache=True)
def _overlap(psf, weight, other_psf, other_weight, du, dv):
    """Sum over the pixels of both circles; the other's box lies ``(du, dv)`` to the lower left."""
    side = len(psf)
    total = 0.0
    for v in range(max(0, -dv), min(side, side - dv)):
        for u in range(max(0, -du), min(side, side - du)):
            if other_weight[v + dv, u + du] > 0.0:
                total += weight[v, u] * psf[v, u] * other_psf[v + dv, u + du]
    return total
