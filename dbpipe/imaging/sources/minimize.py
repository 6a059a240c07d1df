"""Least squares by Levenberg and Marquardt (Press et al. 2007, Numerical Recipes, 15.5), compiled for each model.

A fit says what its model is, how far one step may go, and when it is done; the loop is the same for all.
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
    is_added: bool = False
    """Form d + damping d, not (1 + damping) d: these differ in rounding, and so would what is on record."""


def minimizer(
    linearize: Callable[..., Any], limit: Callable[..., Any], judge: Callable[..., Any], damping: Damping
) -> Callable[..., Any]:
    """Compile the minimization of chi2, the sum of the squared weighted residuals.

    The functions are bound here because numba does not keep on disk what is handed functions as arguments.

    Parameters
    ----------
    linearize : compiled function, (problem, state) -> design (n, m), residual (m,)
        The weighted derivatives of the model by each of n parameters, and data minus model at m pixels.
    limit : compiled function, (problem, state, step) -> trial, reach, is_possible
        The next state, no further away than the linear model holds (``step`` may be shortened in place); how far the
        whole step would go; and whether such a state makes sense at all.
    judge : compiled function, (step, reach, gain, used, normal, gradient) -> is_done, damping
        From the fall of chi2 (``gain``) and the damping that was used, the damping of the next step.
    damping : Damping

    Returns
    -------
    compiled function, (problem, held, state) -> is_done, chi2, covariance, is_regular
        It moves ``state``, an array of n parameters, in place, but for those that are ``held``, (n,) bool. Their
        variance is given as one; the covariance (n, n) is zero where the normal matrix is not ``is_regular``.
    """

    @njit(error_model="numpy")
    def minimize(problem, held, state):
        design, residual = linearize(problem, state)
        normal, gradient = _equations(design, residual, held)
        chi2, used, is_done = np.sum(residual**2), damping.start, False
        for _ in range(_MAX_STEPS):
            inverse, is_regular = cholesky_invert(_damped(normal, used, damping.is_added))
            if not is_regular:
                used = max(10.0 * used, damping.after_failure)
                if used > damping.ceiling:
                    break
                continue
            step = inverse @ gradient
            trial, reach, is_possible = limit(problem, state, step)
            if not is_possible:
                break
            design, residual = linearize(problem, trial)
            trial_chi2 = np.sum(residual**2)
            gain = chi2 - trial_chi2
            is_done, used = judge(step, reach, gain, used, normal, gradient)
            if gain >= 0.0:
                state[:], chi2 = trial, trial_chi2
                normal, gradient = _equations(design, residual, held)
            if is_done:
                break
        covariance, is_regular = cholesky_invert(normal)
        return is_done, chi2, covariance, is_regular

    return minimize


@njit(cache=True, error_model="numpy")
def _damped(normal, damping, is_added):
    damped = normal.copy()
    for k in range(len(normal)):
        damped[k, k] = normal[k, k] + damping * normal[k, k] if is_added else normal[k, k] * (1.0 + damping)
    return damped


@njit(cache=True, error_model="numpy")
def _equations(design, residual, held):
    """Return the normal matrix and the gradient; those of held parameters say that they stay."""
    for k in range(len(held)):
        if held[k]:
            design[k] = 0.0
    normal = design @ design.T
    for k in range(len(held)):
        if held[k]:
            normal[k, k] = 1.0
    return normal, design @ residual
