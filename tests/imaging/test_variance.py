"""The variance plane."""

import numpy as np
import pytest
from starfield import moffat_stamp

from dbpipe.imaging.variance import model_variance


def _pulls(signal, n=40, seed=1):
    rng = np.random.default_rng(seed)
    expected = signal + 100.0
    pulls = []
    for _ in range(n):
        image = (rng.poisson(expected) + rng.normal(0.0, 5.0, expected.shape) - 100.0).astype(np.float32)
        pulls.append((image - signal) / np.sqrt(model_variance(image, 100.0, 5.0)))
    return np.array(pulls)


def test_blank_pixels_have_unit_pulls():
    """On blank sky the noise over the model's standard deviation is N(0, 1)."""
    pulls = _pulls(np.zeros((64, 64)))
    assert pulls.std() == pytest.approx(1.0, abs=0.01)
    assert pulls.mean() == pytest.approx(0.0, abs=0.01)


def test_star_pixels_have_unit_pulls():
    """In the core of a star the pulls have unit variance to a few percent, and the flux-weighted mean stays."""
    signal = 50000.0 * moffat_stamp(3.5, size=41)
    core = signal > 300.0
    pulls = _pulls(signal, n=200)[:, core]
    assert pulls.std() == pytest.approx(1.0, abs=0.04)


def test_variance_is_never_below_read_noise():
    """However negative a pixel or the sky, the variance is at least the read noise squared."""
    image = np.random.default_rng(3).normal(-50.0, 40.0, (50, 50)).astype(np.float32)
    assert model_variance(image, -10.0, 7.0).min() >= 49.0
