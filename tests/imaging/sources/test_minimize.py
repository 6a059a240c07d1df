"""The Levenberg-Marquardt that all fits of sources share."""

import numpy as np
import pytest
from scipy.optimize import curve_fit

from dbpipe.imaging.sources.minimize import Damping, minimize


def fit(t, data, start, held=None):
    """Fit amplitude and decay of an exponential."""

    def linearize(state):
        decay = np.exp(-state[1] * t)
        design, residual = np.array([decay, -state[0] * t * decay]), data - state[0] * decay
        return design @ design.T, design @ residual, residual @ residual

    def limit(state, step):
        return state + step, np.max(np.abs(step))

    def judge(step, reach, gain, damping, normal, gradient):
        return reach < 1e-9, 0.1 * damping if gain >= 0.0 else 10.0 * damping

    damping = Damping(start=1e-3, after_failure=0.1, ceiling=1e6)
    return minimize(linearize, limit, judge, state=np.array(start), damping=damping, held=held)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(4)
    t = np.linspace(0.0, 3.0, 50)
    return t, 5.0 * np.exp(-1.3 * t) + rng.normal(0.0, 0.1, t.size)


def test_agrees_with_scipy(problem):
    """The minimum and its covariance are those that MINPACK finds, from a start far off."""
    found = fit(*problem, [1.0, 0.1])
    expected, expected_covariance = curve_fit(
        lambda t, a, b: a * np.exp(-b * t), *problem, p0=(1.0, 0.1), sigma=np.ones(50), absolute_sigma=True
    )
    assert found.is_done and found.is_regular
    assert found.chi2 == pytest.approx(np.sum((problem[1] - expected[0] * np.exp(-expected[1] * problem[0])) ** 2))
    np.testing.assert_allclose(found.state, expected, rtol=1e-6)
    np.testing.assert_allclose(found.covariance, expected_covariance, rtol=1e-4)


def test_held_parameters_stay(problem):
    """A parameter that is held keeps its value to the bit, and the other one is the best that goes with it."""
    found = fit(*problem, [1.0, 1.0], np.array([False, True]))
    decay = np.exp(-problem[0])
    assert found.is_done and found.state[1] == 1.0
    assert found.covariance[1, 1] == 1.0 and found.covariance[0, 1] == 0.0
    assert found.state[0] == pytest.approx(np.sum(decay * problem[1]) / np.sum(decay**2))


def test_what_nothing_tells_is_said(problem):
    """With data at one time only, amplitude and decay cannot be told apart, and the covariance is zero."""
    found = fit(np.ones(50), problem[1], [1.0, 1.0])
    assert not found.is_regular and not found.covariance.any()
