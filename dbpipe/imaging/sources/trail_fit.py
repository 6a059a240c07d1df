"""Fit of a trail: a point source that moves during the exposure (Veres et al. 2012 PASP 124 1197).

The model is the PSF averaged over a straight segment with midpoint (x, y) and half vector (p, q),
    M = flux / 2 * integral from -1 to 1 of PSF(x + t p, y + t q) dt,
by Gauss-Legendre quadrature: five parameters, of which p and q are smooth where length and angle are not.
"""

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cholesky_invert, cut_stamp, render

_MAX_STEPS = 60
_MAX_NODES = 40


def _quadrature():
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
    """Fit a trail by Levenberg-Marquardt.

    Parameters
    ----------
    image, variance, mask : (ny, nx) arrays
    spline : (size, size) float32 array
    points : (m, 3) flux, x, y of the point sources whose place it takes
    others : (k, 3) neighbours, whose light is subtracted
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
    design, residual = _linearise(spline, state, left, bottom, root, target, sigma_pix, quadrature)
    chi2, damping, converged = np.sum(residual**2), 1e-3, False
    for _ in range(_MAX_STEPS):
        normal = design @ design.T
        inverse, solved = cholesky_invert(normal + damping * np.diag(np.diag(normal)))
        if not solved:
            damping = max(10.0 * damping, 0.1)
            if damping > 1e8:
                break
            continue
        step = inverse @ (design @ residual)
        reach = np.max(np.abs(step[1:]))
        if reach > 1.0:  # the linear model of the PSF holds for less than its width
            step *= 1.0 / reach
        trial = state + step
        if max(np.hypot(trial[1] - start[1], trial[2] - start[2]), np.hypot(trial[3], trial[4])) > 2.0 * radius:
            break
        trial_design, trial_residual = _linearise(spline, trial, left, bottom, root, target, sigma_pix, quadrature)
        trial_chi2 = np.sum(trial_residual**2)
        gain = chi2 - trial_chi2
        converged = reach < 2e-3 or (0.0 <= gain < 1e-3 and damping < 1.0)
        if gain >= 0.0:
            state, chi2, design, residual = trial, trial_chi2, trial_design, trial_residual
            damping = max(0.1 * damping, 1e-6)
        else:
            damping = max(10.0 * damping, 0.1)
        if converged:
            break
    covariance, solved = cholesky_invert(design @ design.T)
    return converged and solved, state, covariance, chi2, chi2_points, n_pix


@njit(cache=True)
def _linearise(spline, state, left, bottom, root, target, sigma_pix, quadrature):
    """Return the weighted derivatives by the five parameters in rows, and the weighted residual."""
    side = root.shape[0]
    model = render_trail(spline, state, left, bottom, side, sigma_pix, quadrature)
    design = np.empty((5, root.size))
    for k in range(5):
        design[k] = (root * model[k]).ravel() * (1.0 if k == 0 else state[0])
    return design, target - state[0] * design[0]
