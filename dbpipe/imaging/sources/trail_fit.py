"""Fit of a trail: a point source that moves during the exposure (Veres et al. 2012 PASP 124 1197).

The model is the PSF averaged over a straight segment with midpoint (x, y) and half vector (p, q),
    M = flux / 2 * integral from -1 to 1 of PSF(x + t p, y + t q) dt,
by Gauss-Legendre quadrature: five parameters, of which p and q are smooth where length and angle are not.
"""

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import render
from dbpipe.imaging.sources.blend_fit import cut_box, subtract_models
from dbpipe.imaging.sources.minimize import Damping, minimize

_MAX_NODES = 40
_DAMPING = Damping(start=1e-3, after_failure=0.1, ceiling=1e8)


def _quadrature() -> np.ndarray:
    """Nodes, and weights of sum 1, of every order up to `_MAX_NODES`."""
    table = np.zeros((2, _MAX_NODES + 1, _MAX_NODES))
    for n in range(1, _MAX_NODES + 1):
        table[0, n, :n], table[1, n, :n] = np.polynomial.legendre.leggauss(n)
    table[1] /= 2.0
    return table


QUADRATURE = _quadrature()


@njit(cache=True)
def render_trail(spline, state, left, bottom, side, sigma_pix, quadrature):
    """Evaluate a trail of unit flux on a box of pixels.

    Parameters
    ----------
    spline : (size, size) float32 array of `spline_coefficients`
    state : (5,) flux, x, y, p, q
    left, bottom, side : int [pix]
    sigma_pix : float
        Width of the PSF: nodes are no more than 1.5 of it apart.
    quadrature : `QUADRATURE`

    Returns
    -------
    (5, side, side) array: the trail, and its derivatives by x, y, p and q.
    """
    n = min(3 + int(2.1 * np.hypot(state[3], state[4]) / sigma_pix), quadrature.shape[1] - 1)
    model = np.zeros((5, side, side))
    for k in range(n):
        t, w = quadrature[0, n, k], quadrature[1, n, k]
        psf, psf_x, psf_y = render(spline, state[1] + t * state[3], state[2] + t * state[4], left, bottom, side)
        for v in range(side):
            for u in range(side):
                by_x, by_y = w * psf_x[v, u], w * psf_y[v, u]
                model[0, v, u] += w * psf[v, u]
                model[1, v, u] += by_x
                model[2, v, u] += by_y
                model[3, v, u] += t * by_x
                model[4, v, u] += t * by_y
    return model


def fit_trail(
    planes: tuple[np.ndarray, np.ndarray, np.ndarray],
    spline: np.ndarray,
    points: np.ndarray,
    others: np.ndarray,
    *,
    start: np.ndarray,
    radius_pix: float,
    sigma_pix: float,
) -> tuple[bool, np.ndarray, np.ndarray, float, float, int]:
    """Fit a trail.

    Parameters
    ----------
    planes : image, variance and mask, (ny, nx) arrays
    spline : (size, size) float32 array
    points : (m, 3) flux, x, y of the point sources whose place it takes
    others : (k, 3) neighbors, whose light is subtracted
    start : (5,) flux, midpoint and half vector
    radius_pix : float, of the fit around the start
    sigma_pix : see `render_trail`

    Returns
    -------
    converged : bool
    state : (5,) array
    covariance : (5, 5) array
    chi2, chi2_points : float, of the trail and of the point sources on the same pixels
    n_pix : int
    """
    box = cut_box(planes, start[1:2], start[2:3], radius_pix)
    at = box.left, box.bottom, len(box.data)
    subtract_models(box, np.repeat(spline[None], len(others), axis=0), others, range(len(others)))
    remainder = box._replace(data=box.data.copy())
    subtract_models(remainder, np.repeat(spline[None], len(points), axis=0), points, range(len(points)))

    def linearize(state: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        design = render_trail(spline, state, *at, sigma_pix, QUADRATURE)
        residual = (box.data - state[0] * design[0]).ravel()
        design[1:] *= state[0]
        rows = design.reshape(5, -1)
        weighted = rows * box.weight.ravel()
        return weighted @ rows.T, weighted @ residual, float(box.weight.ravel() @ residual**2)

    def limit(state: np.ndarray, step: np.ndarray) -> tuple[np.ndarray | None, float]:
        """The linear model of the PSF holds for less than its width; a trail that leaves the stamp is none."""
        reach = float(np.max(np.abs(step[1:])))
        if reach > 1.0:
            step *= 1.0 / reach
        trial = state + step
        furthest = max(np.hypot(*(trial[1:3] - start[1:3])), np.hypot(*trial[3:]))
        return None if furthest > 2.0 * radius_pix else trial, reach

    found = minimize(linearize, limit, _judge, state=start.copy(), damping=_DAMPING)
    converged = found.is_done and found.is_regular
    chi2_points, n_pix = float(np.sum(box.weight * remainder.data**2)), int(np.count_nonzero(box.weight))
    return converged, found.state, found.covariance, found.chi2, chi2_points, n_pix


def _judge(
    step: np.ndarray, reach: float, gain: float, damping: float, normal: np.ndarray, gradient: np.ndarray
) -> tuple[bool, float]:
    converged = reach < 2e-3 or (0.0 <= gain < 1e-3 and damping < 1.0)
    return converged, max(0.1 * damping, 1e-6) if gain >= 0.0 else max(10.0 * damping, 0.1)
