"""Noise is what it should be, and charge is not made from nothing."""

import numpy as np
import pytest

from dbpipe.simulate.camera import detector


def test_noise_is_photons_and_read_noise():
    """On a flat field of 600 electrons the variance is 600 + 25 + 1/12 (rounding), within its own error."""
    image, saturated = detector.expose(np.full((400, 400), 600.0), np.random.default_rng(3))
    assert image.mean() == pytest.approx(600.0, abs=0.3)
    assert image.var() == pytest.approx(625.08, rel=4 * np.sqrt(2 / image.size))
    assert not saturated.any()


def test_bleeding_keeps_charge_and_runs_along_rows():
    """Charge above full well moves sideways in its own row until it is held; the sum is kept."""
    charge = np.full((5, 41), 10.0)
    charge[2, 20] = 1000.0
    before = charge.sum()
    detector.bleed_along_rows(charge, 100.0)
    assert charge.sum() == pytest.approx(before)
    assert charge.max() == 100.0
    np.testing.assert_array_equal(charge[[0, 1, 3, 4]], 10.0)
    np.testing.assert_array_equal(np.flatnonzero(charge[2] == 100.0), np.arange(15, 26))


def test_cosmic_rays_are_sharp():
    """Tracks are about a pixel wide: most hit pixels have an unhit neighbor above or below."""
    hit = detector.cosmic_rays((600, 600), np.random.default_rng(5)) > 0
    assert 20 < hit.sum() < 2000
    inside = hit[1:-1] & hit[:-2] & hit[2:]
    assert inside.sum() < 0.6 * hit.sum()
