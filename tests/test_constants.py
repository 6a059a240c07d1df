"""What is one line with a constant."""

import numpy as np
import pytest

from dbpipe.constants import robust_sigma


def test_robust_sigma_is_that_of_a_gaussian_and_not_of_its_outliers():
    """Of Gaussian values it is the standard deviation to the noise, whatever a tenth of a percent of them are."""
    values = np.random.default_rng(1).normal(7.0, 3.0, 100_000)
    values[:100] = 1e6
    assert robust_sigma(values) == pytest.approx(3.0, rel=0.01)
    assert robust_sigma(values, 7.0) == pytest.approx(3.0, rel=0.01)


def test_robust_sigma_counts_from_where_it_is_told():
    """Half of these are further than 2 from zero, and half of them further than 1 from their median."""
    values = np.array([1.0, 2.0, 3.0])
    assert robust_sigma(values) == pytest.approx(1.4826)
    assert robust_sigma(values, 0.0) == pytest.approx(2.0 * 1.4826)
    assert robust_sigma(values.astype(np.float32), dtype=np.float32).dtype == np.float32
