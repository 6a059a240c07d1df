"""Joint fit of a few overlapping point sources."""

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cholesky_invert, cut_stamp, render
from dbpipe.imaging.sources.minimize import Damping, minimizer


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
    """Return chi2 of source i and its neighbors' models on the circle around (x0, y0), and the pixels with weight."""
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
def fit_blend(root, target, spline, left, bottom, held, state):
    """Minimize chi2 over fluxes and positions, in place.

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
    stays = np.zeros(state.size, np.bool_)
    stays[1::3], stays[2::3] = held, held
    problem = (root, target, spline, left, bottom)
    return _minimize(problem, stays, state)[:3]


@njit(cache=True, error_model="numpy")
def _linearize(problem, state):
    root, target, spline, left, bottom = problem
    design = np.empty((state.size, root.size))
    model = fill_design(root, spline, left, bottom, state, design)
    return design, target - model


@njit(cache=True, error_model="numpy")
def _limit(problem, state, step):
    """The linear model of the PSF holds for less than its width."""
    reach = 0.0
    for k in range(len(step)):
        if k % 3:
            reach = max(reach, abs(step[k]))
    if reach > 0.7:
        step *= 0.7 / reach
    return state + step.reshape(state.shape), reach, True


@njit(cache=True, error_model="numpy")
def _judge(step, reach, gain, damping, normal, gradient):
    """At low S/N the noise bends chi2 away from Gauss-Newton's parabola, and full steps overshoot for ever."""
    converged = reach < 1e-3 and np.max(np.abs(step[::3]) * np.sqrt(np.diag(normal)[::3])) < 1e-3
    quality = gain / max(2.0 * np.dot(step, gradient) - np.dot(step, normal @ step), 1e-30)
    if quality > 0.7:
        return converged, max(0.1 * damping, 1e-4)
    return converged, damping if quality > 0.5 else max(5.0 * damping, 0.1)


_minimize = minimizer(_linearize, _limit, _judge, Damping(start=1e-3, after_failure=0.1, ceiling=1e6))


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
        converged, _, covariance = fit_blend(root, target, spline, left, bottom, held, state)
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
