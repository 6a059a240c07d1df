"""The Levenberg-Marquardt that all fits of sources share."""

import numpy as np
import pytest
from numba import njit
from scipy.optimize import curve_fit

from dbpipe.imaging.sources.minimize import Damping, minimizer


@njit
def _linearize(problem, state):
    t, data = problem
    decay = np.exp(-state[1] * t)
    design = np.empty((2, t.size))
    design[0], design[1] = decay, -state[0] * t * decay
    return design, data - state[0] * decay


@njit
def _limit(problem, state, step):
    return state + step, np.max(np.abs(step)), True


@njit
def _judge(step, reach, gain, damping, normal, gradient):
    return reach < 1e-9, 0.1 * damping if gain >= 0.0 else 10.0 * damping


_fit = minimizer(_linearize, _limit, _judge, Damping(start=1e-3, after_failure=0.1, ceiling=1e6))


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(4)
    t = np.linspace(0.0, 3.0, 50)
    return t, 5.0 * np.exp(-1.3 * t) + rng.normal(0.0, 0.1, t.size)


def test_agrees_with_scipy(problem):
    """The minimum and its covariance are those that MINPACK finds, from a start far off."""
    state = np.array([1.0, 0.1])
    converged, chi2, covariance, is_regular = _fit(problem, np.zeros(2, bool), state)
    expected, expected_covariance = curve_fit(
        lambda t, a, b: a * np.exp(-b * t), *problem, p0=(1.0, 0.1), sigma=np.ones(50), absolute_sigma=True
    )
    assert converged and is_regular
    assert chi2 == pytest.approx(np.sum((problem[1] - expected[0] * np.exp(-expected[1] * problem[0])) ** 2))
    np.testing.assert_allclose(state, expected, rtol=1e-6)
    np.testing.assert_allclose(covariance, expected_covariance, rtol=1e-4)


def test_held_parameters_stay(problem):
    """A parameter that is held keeps its value to the bit, and the other one is the best that goes with it."""
    state = np.array([1.0, 1.0])
    converged, _, covariance, _ = _fit(problem, np.array([False, True]), state)
    decay = np.exp(-problem[0])
    assert converged and state[1] == 1.0 and covariance[1, 1] == 1.0 and covariance[0, 1] == 0.0
    assert state[0] == pytest.approx(np.sum(decay * problem[1]) / np.sum(decay**2))


def test_what_nothing_tells_is_said(problem):
    """With data at one time only, amplitude and decay cannot be told apart, and the covariance is zero."""
    once = np.ones(50), problem[1]
    assert not _fit(once, np.zeros(2, bool), np.array([1.0, 1.0]))[3]
