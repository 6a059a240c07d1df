"""Least squares by Levenberg and Marquardt (Press et al. 2007, Numerical Recipes, 15.5).

A fit says what its model is, how far one step may go, and when it is done; the loop is the same for all. It is not
compiled, nor what calls it: only the models are, pixel by pixel. Compiled code holds a copy of all that it calls, and
copies of this loop in every fit took a minute and a half on a machine's first day.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cholesky_invert

_MAX_STEPS = 60


class Damping(NamedTuple):
    """How much larger than Gauss and Newton's the diagonal of the normal matrix is made."""

    start: float
    after_failure: float
    """Least damping after a matrix that could not be inverted; each time it is ten times the last."""
    ceiling: float
    """With more than this, a matrix that cannot be inverted ends the fit."""


class Minimum(NamedTuple):
    """Where a fit has ended."""

    state: np.ndarray
    """(n,) parameters"""
    is_done: bool
    """False if the steps ran out, or led nowhere"""
    chi2: float
    covariance: np.ndarray
    """(n, n); held parameters have unit variance; all zero where the normal matrix is singular"""
    is_regular: bool


def minimize(
    linearize: Callable[..., Any],
    limit: Callable[..., Any],
    judge: Callable[..., Any],
    *,
    state: np.ndarray,
    damping: Damping,
    held: np.ndarray | None = None,
) -> Minimum:
    """Minimize chi2, the sum of the squared weighted residuals.

    Parameters
    ----------
    linearize : function, state -> normal (n, n), gradient (n,), chi2
        From the weighted derivatives of the model by each of n parameters, in rows, and the weighted difference of data
        and model: the matrix of the products of the rows, their products with the difference, and its square.
    limit : function, (state, step) -> trial, reach
        The next state, no further away than the linear model holds (``step`` may be shortened in place), None if such
        a state makes no sense; and how far the whole step would go.
    judge : function, (step, reach, gain, used, normal, gradient) -> is_done, damping
        From the fall of chi2 (``gain``) and the damping that was used, the damping of the next step.
    state : (n,) float array
        Start.
    damping : Damping
    held : (n,) bool array, optional
        Parameters that stay.

    Returns
    -------
    Minimum
    """
    normal, gradient, chi2 = _hold(linearize(state), held)
    used, is_done = damping.start, False
    for _ in range(_MAX_STEPS):
        inverse, is_regular = _invert_damped(normal, used)
        if not is_regular:
            used = max(10.0 * used, damping.after_failure)
            if used > damping.ceiling:
                break
            continue
        step = inverse @ gradient
        trial, reach = limit(state, step)
        if trial is None:
            break
        then = _hold(linearize(trial), held)
        gain = chi2 - then[2]
        is_done, used = judge(step, reach, gain, used, normal, gradient)
        if gain >= 0.0:
            state, (normal, gradient, chi2) = trial, then
        if is_done:
            break
    return Minimum(state, is_done, chi2, *cholesky_invert(normal))


def _hold(
    equations: tuple[np.ndarray, np.ndarray, float], held: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Say in the equations that some parameters stay."""
    normal, gradient, chi2 = equations
    if held is not None:
        normal[held], normal[:, held], gradient[held] = 0.0, 0.0, 0.0
        normal[held, held] = 1.0
    return normal, gradient, chi2


@njit(cache=True, error_model="numpy")
def _invert_damped(normal, damping):
    damped = normal.copy()
    for k in range(len(damped)):
        damped[k, k] *= 1.0 + damping
    return cholesky_invert(damped)
