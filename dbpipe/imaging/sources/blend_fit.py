"""Joint fit of a few overlapping point sources."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cholesky_invert, cut_stamp, render
from dbpipe.imaging.sources.minimize import Damping, minimize

_DAMPING = Damping(start=1e-3, after_failure=0.1, ceiling=1e6)
MAX_STEP_PIX = 0.7
"""The linear model of the PSF holds for less than its width."""


class Box(NamedTuple):
    """The square of pixels that a group of sources is fitted to."""

    left: int
    """[pix] column of its first pixel on the image"""
    bottom: int
    data: np.ndarray
    """(side, side) float64"""
    weight: np.ndarray
    """(side, side) float64, 1 / variance, 0 outside the circles of all sources"""


def cut_box(planes: tuple[np.ndarray, np.ndarray, np.ndarray], x: np.ndarray, y: np.ndarray, radius_pix: float) -> Box:
    """Cut the square box around the circles of all sources.

    Parameters
    ----------
    planes : image, variance and mask, (ny, nx) arrays
    x, y : (m,) float arrays [pix]
    radius_pix : float

    Returns
    -------
    Box
    """
    reach = int(radius_pix)
    columns, rows = (np.floor(places + 0.5).astype(int) - reach for places in (x, y))
    left, bottom = int(columns.min()), int(rows.min())
    if len(x) == 1:
        return Box(left, bottom, *cut_stamp(*planes, left, bottom, radius_pix))
    side = 2 * reach + 1 + int(max(columns.max() - left, rows.max() - bottom))
    data, weight = np.zeros((2, side, side))
    for u, v in zip(columns, rows, strict=True):
        own_data, own_weight = cut_stamp(*planes, u, v, radius_pix)
        part = slice(v - bottom, v - bottom + 2 * reach + 1), slice(u - left, u - left + 2 * reach + 1)
        seen = own_weight > 0.0
        weight[part][seen], data[part][seen] = own_weight[seen], own_data[seen]
    return Box(left, bottom, data, weight)


def subtract_models(box: Box, spline: np.ndarray, state: np.ndarray, index: Iterable[int]) -> None:
    """Subtract the light of some sources from the data of a box.

    Parameters
    ----------
    box : Box
    spline : (n, size, size) float32 array
    state : (n, 3) float array, flux, x, y
    index : (k,) int array, the sources
    """
    for k in index:
        model = render(spline[k], state[k, 1], state[k, 2], box.left, box.bottom, len(box.data))[0]
        np.subtract(box.data, state[k, 0] * model, out=box.data)


@njit(cache=True, error_model="numpy", fastmath={"reassoc"})
def _dot(a, b):
    """Return the sum of the products, in the order that is fastest."""
    total = 0.0
    for k in range(len(a)):
        total += a[k] * b[k]
    return total


@njit(cache=True, error_model="numpy")
def point_equations(left, bottom, data, weight, spline, state):
    """Return what `minimize` needs: normal matrix (3 m, 3 m), gradient by flux, x and y of each source, and chi2."""
    side, n, n_pix = len(data), 3 * len(state), np.count_nonzero(weight)
    root, residual, design = np.empty(n_pix), np.empty(n_pix), np.empty((n, n_pix))
    k = 0
    for v in range(side):
        for u in range(side):
            if weight[v, u] > 0.0:
                root[k] = np.sqrt(weight[v, u])
                residual[k] = root[k] * data[v, u]
                k += 1
    for i in range(len(state)):
        flux = state[i, 0]
        psf, psf_x, psf_y = render(spline[i], state[i, 1], state[i, 2], left, bottom, side)
        k = 0
        for v in range(side):
            for u in range(side):
                if weight[v, u] > 0.0:
                    design[3 * i, k] = root[k] * psf[v, u]
                    design[3 * i + 1, k] = flux * root[k] * psf_x[v, u]
                    design[3 * i + 2, k] = flux * root[k] * psf_y[v, u]
                    residual[k] -= flux * design[3 * i, k]
                    k += 1
    normal, gradient = np.empty((n, n)), np.empty(n)
    for i in range(n):
        gradient[i] = _dot(design[i], residual)
        for j in range(i + 1):
            normal[i, j] = normal[j, i] = _dot(design[i], design[j])
    return normal, gradient, _dot(residual, residual)


def solve_fluxes(box: Box, spline: np.ndarray, state: np.ndarray) -> bool:
    """Put the least-squares fluxes at the positions of ``state`` into it; False if they cannot be told apart."""
    normal, gradient, _ = point_equations(*box, spline, state)
    inverse, solved = cholesky_invert(normal[::3, ::3].copy())
    if solved:
        state[:, 0] += inverse @ gradient[::3]
    return bool(solved)


def fit_blend(
    box: Box, spline: np.ndarray, state: np.ndarray, held: np.ndarray | None = None
) -> tuple[bool, float, np.ndarray]:
    """Minimize chi2 over fluxes and positions, in place.

    Parameters
    ----------
    box : Box
    spline : (m, size, size) float32 array
    state : (m, 3) flux, x, y
    held : (m,) bool, optional
        Sources whose position stays.

    Returns
    -------
    converged : bool
    chi2 : float
    covariance : (3 m, 3 m), zeros where singular; held coordinates have unit variance
    """
    stays = None
    if held is not None and held.any():
        stays = np.zeros(state.size, bool)
        stays[1::3] = stays[2::3] = held

    found = minimize(
        lambda trial: point_equations(*box, spline, trial.reshape(-1, 3)),
        _limit,
        _judge,
        state=state.ravel().copy(),
        damping=_DAMPING,
        held=stays,
    )
    state[:] = found.state.reshape(state.shape)
    return found.is_done, found.chi2, found.covariance


@njit(cache=True, error_model="numpy")
def _limit(state, step):
    reach = 0.0
    for k in range(len(step)):
        if k % 3:
            reach = max(reach, abs(step[k]))
    shorten = MAX_STEP_PIX / reach if reach > MAX_STEP_PIX else 1.0
    trial = np.empty(len(step))
    for k in range(len(step)):
        step[k] *= shorten
        trial[k] = state[k] + step[k]
    return trial, reach


@njit(cache=True, error_model="numpy")
def _judge(step, reach, gain, damping, normal, gradient):
    """At low S/N the noise bends chi2 away from Gauss-Newton's parabola, and full steps overshoot for ever."""
    converged, expected = reach < 1e-3, 0.0
    for i in range(len(step)):
        if i % 3 == 0 and not step[i] * step[i] * normal[i, i] < 1e-6:
            converged = False
        total = 0.0
        for j in range(len(step)):
            total += normal[i, j] * step[j]
        expected += step[i] * (2.0 * gradient[i] - total)
    quality = gain / max(expected, 1e-30)
    if quality > 0.7:
        return converged, max(0.1 * damping, 1e-4)
    return converged, damping if quality > 0.5 else max(5.0 * damping, 0.1)


def fit_group(
    box: Box, spline: np.ndarray, origin: np.ndarray, max_shift_pix: float, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a group in place, and hold at its origin each source that wanders off or changes sign.

    Parameters
    ----------
    box : Box
    spline : (m, size, size)
    origin : (m, 2) where the sources were found
    max_shift_pix : float
    state : (m, 3) start, flux, x, y

    Returns
    -------
    converged : (m,) bool
    covariance : (m, 3, 3)
    """
    m = len(state)
    held, start = np.zeros(m, bool), state.copy()
    covariance = np.zeros((3 * m, 3 * m))
    for _ in range(m + 1):
        converged, _, covariance = fit_blend(box, spline, state, held)
        badness = np.where(held, 0.0, _badness(state, start, origin, max_shift_pix, converged))
        worst = int(np.argmax(badness))
        if not badness[worst] > 0.0:
            break
        held[worst] = True
        state[:] = start
        state[held, 1:] = origin[held]
        solve_fluxes(box, spline, state)
    own = np.arange(m)
    return ~held, covariance.reshape(m, 3, m, 3)[own, :, own]


def _badness(
    state: np.ndarray, start: np.ndarray, origin: np.ndarray, max_shift_pix: float, converged: bool
) -> np.ndarray:
    """Return how much each source must be held, 0 if all is well; without convergence the least significant most."""
    shift = np.hypot(*(state[:, 1:] - origin).T)
    has_turned = ~(state[:, 0] * np.sign(start[:, 0]) > 0.0)
    undecided = np.zeros(len(state)) if converged else 1.0 / (1.0 + np.abs(start[:, 0]))
    return np.where(shift > max_shift_pix, 1.0 + shift, np.where(has_turned, 1.0, undecided))
