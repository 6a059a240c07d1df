"""Joint fit of a few overlapping point sources (Levenberg-Marquardt; Press et al. 2007, Numerical Recipes, 15.5)."""

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cholesky_invert, cut_stamp, render

_MAX_STEPS = 60


@njit(cache=True, error_model="numpy")
def linear_flux(data, weight, psf):
    """Return the flux and its inverse variance at a fixed position."""
    information = np.sum(weight * psf * psf)
    return (np.sum(weight * psf * data) / information if information > 0.0 else 0.0), information


@njit(cache=True, error_model="numpy")
def cut_group(image, variance, mask, x, y, radius):
    """Cut the square box around the circles of all sources.

    Returns
    -------
    left, bottom : int
    data, weight : (side, side) float64 arrays; the weight is 0 outside all circles
    """
    reach = int(radius)
    columns, rows = np.floor(x + 0.5), np.floor(y + 0.5)
    left, bottom = int(columns.min()) - reach, int(rows.min()) - reach
    side = 2 * reach + 1 + int(max(columns.max() - columns.min(), rows.max() - rows.min()))
    data, weight = np.zeros((side, side)), np.zeros((side, side))
    for i in range(len(x)):
        u, v = int(columns[i]) - reach, int(rows[i]) - reach
        own_data, own_weight = cut_stamp(image, variance, mask, u, v, radius)
        box_v, box_u = slice(v - bottom, v - bottom + 2 * reach + 1), slice(u - left, u - left + 2 * reach + 1)
        weight[box_v, box_u] = np.maximum(weight[box_v, box_u], own_weight)
        data[box_v, box_u] = np.where(own_weight > 0.0, own_data, data[box_v, box_u])
    return left, bottom, data, weight


@njit(cache=True, error_model="numpy")
def chi2_on_circle(image, variance, mask, spline, state, i, near, x0, y0, radius):
    """Return chi2 of source i and its neighbours' models on the circle around (x0, y0), and the pixels with weight."""
    left, bottom = int(np.floor(x0 + 0.5)) - int(radius), int(np.floor(y0 + 0.5)) - int(radius)
    data, weight = cut_stamp(image, variance, mask, left, bottom, radius)
    data -= state[i, 0] * render(spline[i], state[i, 1], state[i, 2], left, bottom, data.shape[0])[0]
    for k in near:
        data -= state[k, 0] * render(spline[k], state[k, 1], state[k, 2], left, bottom, data.shape[0])[0]
    return np.sum(weight * data * data), np.count_nonzero(weight)


@njit(cache=True, error_model="numpy")
def fill_design(root, spline, left, bottom, state, design):
    """Put the weighted derivatives by flux, x and y of each source into three rows; return the weighted model."""
    model = np.zeros(root.size)
    for k in range(len(state)):
        psf, psf_x, psf_y = render(spline[k], state[k, 1], state[k, 2], left, bottom, root.shape[0])
        design[3 * k] = (root * psf).ravel()
        design[3 * k + 1] = (state[k, 0] * root * psf_x).ravel()
        design[3 * k + 2] = (state[k, 0] * root * psf_y).ravel()
        model += state[k, 0] * design[3 * k]
    return model


@njit(cache=True, error_model="numpy")
def solve_fluxes(root, target, spline, left, bottom, state):
    """Put the least-squares fluxes at the positions of ``state`` into it; False if they cannot be told apart."""
    design = np.empty((3 * len(state), root.size))
    fill_design(root, spline, left, bottom, state, design)
    rows = design[::3].copy()
    inverse, solved = cholesky_invert(rows @ rows.T)
    if solved:
        state[:, 0] = inverse @ (rows @ target)
    return solved


@njit(cache=True, error_model="numpy")
def minimize(root, target, spline, left, bottom, held, state):
    """Minimise chi2 over fluxes and positions, in place.

    Parameters
    ----------
    root : (side, side) square root of the weights
    target : (side * side,) weighted data
    spline : (m, size, size)
    left, bottom : int
    held : (m,) bool, sources whose position stays
    state : (m, 3) flux, x, y

    Returns
    -------
    converged : bool
    chi2 : float
    covariance : (3 m, 3 m), zeros where singular; held coordinates have unit variance
    """
    n = 3 * len(state)
    design, trial_design = np.empty((n, root.size)), np.empty((n, root.size))
    residual = target - _held_design(root, spline, left, bottom, held, state, design)
    chi2 = np.sum(residual**2)
    normal, gradient = _normal(design, residual, held)
    damping, converged = 1e-3, False
    for _ in range(_MAX_STEPS):
        damped = normal.copy()
        for k in range(n):
            damped[k, k] *= 1.0 + damping
        inverse, solved = cholesky_invert(damped)
        if not solved:
            damping = max(10.0 * damping, 0.1)
            if damping > 1e6:
                break
            continue
        step = inverse @ gradient
        reach = 0.0
        for k in range(n):
            if k % 3:
                reach = max(reach, abs(step[k]))
        if reach > 0.7:  # the linear model of the PSF holds for less than its width
            step *= 0.7 / reach
        trial = state + step.reshape(state.shape)
        trial_residual = target - _held_design(root, spline, left, bottom, held, trial, trial_design)
        trial_chi2 = np.sum(trial_residual**2)
        converged = reach < 1e-3 and np.max(np.abs(step[::3]) * np.sqrt(np.diag(normal)[::3])) < 1e-3
        # At low S/N the noise bends chi2 away from Gauss-Newton's parabola, and full steps overshoot for ever.
        quality = (chi2 - trial_chi2) / max(2.0 * np.dot(step, gradient) - np.dot(step, normal @ step), 1e-30)
        damping = max(0.1 * damping, 1e-4) if quality > 0.7 else damping if quality > 0.5 else max(5.0 * damping, 0.1)
        if trial_chi2 <= chi2:
            state[:], chi2 = trial, trial_chi2
            design[:], residual[:] = trial_design, trial_residual
            normal, gradient = _normal(design, residual, held)
        if converged:
            break
    return converged, chi2, cholesky_invert(normal)[0]


@njit(cache=True, error_model="numpy")
def _held_design(root, spline, left, bottom, held, state, design):
    model = fill_design(root, spline, left, bottom, state, design)
    for k in range(len(state)):
        if held[k]:
            design[3 * k + 1 : 3 * k + 3] = 0.0
    return model


@njit(cache=True, error_model="numpy")
def _normal(design, residual, held):
    normal = design @ design.T
    for k in range(len(held)):
        if held[k]:
            normal[3 * k + 1, 3 * k + 1] = normal[3 * k + 2, 3 * k + 2] = 1.0
    return normal, design @ residual


@njit(cache=True, error_model="numpy")
def fit_group(data, weight, spline, left, bottom, origin, max_shift, state):
    """Fit a group in place, and hold at its origin each source that wanders off or changes sign.

    Parameters
    ----------
    data, weight : (side, side) arrays
    spline : (m, size, size)
    left, bottom : int
    origin : (m, 2) where the sources were found
    max_shift : float [pix]
    state : (m, 3) start, flux, x, y

    Returns
    -------
    converged : (m,) bool
    covariance : (m, 3, 3)
    """
    m = len(state)
    root = np.sqrt(weight)
    target = (root * data).ravel()
    held = np.zeros(m, np.bool_)
    sign = np.sign(state[:, 0])
    start = state.copy()
    covariance = np.zeros((3 * m, 3 * m))
    for _ in range(m + 1):
        converged, _, covariance = minimize(root, target, spline, left, bottom, held, state)
        worst = _worst(state, start, covariance, held, sign, origin, max_shift, converged)
        if worst < 0:
            break
        held[worst] = True
        state[:] = start
        state[held, 1:] = origin[held]
        solve_fluxes(root, target, spline, left, bottom, state)
    block = np.zeros((m, 3, 3))
    for k in range(m):
        block[k] = covariance[3 * k : 3 * k + 3, 3 * k : 3 * k + 3]
    return ~held, block


@njit(cache=True, error_model="numpy")
def _worst(state, start, covariance, held, sign, origin, max_shift, converged):
    """Index of the source that must be held, -1 if all is well; without convergence it is the least significant."""
    worst, badness = -1, 0.0
    for k in range(len(state)):
        if held[k]:
            continue
        shift = np.hypot(state[k, 1] - origin[k, 0], state[k, 2] - origin[k, 1])
        bad = 0.0
        if shift > max_shift:
            bad = 1.0 + shift
        elif not state[k, 0] * sign[k] > 0.0:
            bad = 1.0
        elif not converged:
            bad = 1.0 / (1.0 + abs(start[k, 0]))
        if bad > badness:
            worst, badness = k, bad
    return worst
