"""Fit of a trail: a point source that moves during the exposure (Veres et al. 2012 PASP 124 1197).

The model is the PSF averaged over a straight segment with midpoint (x, y) and half vector (p, q),
    M = flux / 2 * integral from -1 to 1 of PSF(x + t p, y + t q) dt,
by Gauss-Legendre quadrature: five parameters, of which p and q are smooth where length and angle are not.
"""

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cut_stamp, render
from dbpipe.imaging.sources.minimize import Damping, minimizer

_MAX_NODES = 40


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
        model[0] += w * psf
        model[1] += w * psf_x
        model[2] += w * psf_y
        model[3] += w * t * psf_x
        model[4] += w * t * psf_y
    return model


@njit(cache=True)
def fit_trail(image, variance, mask, spline, points, others, start, radius, sigma_pix, quadrature):
    """Fit a trail.

    Parameters
    ----------
    image, variance, mask : (ny, nx) arrays
    spline : (size, size) float32 array
    points : (m, 3) flux, x, y of the point sources whose place it takes
    others : (k, 3) neighbors, whose light is subtracted
    start : (5,) flux, midpoint and half vector
    radius : float [pix] of the fit around the start
    sigma_pix, quadrature : see `render_trail`

    Returns
    -------
    converged : bool
    state : (5,) array
    covariance : (5, 5) array
    chi2, chi2_points : float, of the trail and of the point sources on the same pixels
    n_pix : int
    """
    left, bottom = int(np.floor(start[1] + 0.5)) - int(radius), int(np.floor(start[2] + 0.5)) - int(radius)
    data, weight = cut_stamp(image, variance, mask, left, bottom, radius)
    side = data.shape[0]
    for k in range(len(others)):
        data -= others[k, 0] * render(spline, others[k, 1], others[k, 2], left, bottom, side)[0]
    remainder = data.copy()
    for k in range(len(points)):
        remainder -= points[k, 0] * render(spline, points[k, 1], points[k, 2], left, bottom, side)[0]
    chi2_points = np.sum(weight * remainder**2)
    n_pix = np.count_nonzero(weight)
    root, target = np.sqrt(weight), (np.sqrt(weight) * data).ravel()
    state = start.copy()
    problem = (root, target, spline, left, bottom, start, radius, sigma_pix, quadrature)
    free = np.zeros(5, np.bool_)
    converged, chi2, covariance, is_regular = _minimize(problem, free, state)
    return converged and is_regular, state, covariance, chi2, chi2_points, n_pix


@njit(cache=True)
def _linearize(problem, state):
    """Return the weighted derivatives by the five parameters in rows, and the weighted residual."""
    root, target, spline, left, bottom, _, _, sigma_pix, quadrature = problem
    model = render_trail(spline, state, left, bottom, root.shape[0], sigma_pix, quadrature)
    design = np.empty((5, root.size))
    for k in range(5):
        design[k] = (root * model[k]).ravel() * (1.0 if k == 0 else state[0])
    return design, target - state[0] * design[0]


@njit(cache=True)
def _limit(problem, state, step):
    """The linear model of the PSF holds for less than its width; a trail that leaves the stamp is none."""
    start, radius = problem[5], problem[6]
    reach = np.max(np.abs(step[1:]))
    if reach > 1.0:
        step *= 1.0 / reach
    trial = state + step
    furthest = max(np.hypot(trial[1] - start[1], trial[2] - start[2]), np.hypot(trial[3], trial[4]))
    return trial, reach, not furthest > 2.0 * radius


@njit(cache=True)
def _judge(step, reach, gain, damping, normal, gradient):
    converged = reach < 2e-3 or (0.0 <= gain < 1e-3 and damping < 1.0)
    return converged, max(0.1 * damping, 1e-6) if gain >= 0.0 else max(10.0 * damping, 0.1)


_minimize = minimizer(_linearize, _limit, _judge, Damping(start=1e-3, after_failure=0.1, ceiling=1e8, is_added=True))
