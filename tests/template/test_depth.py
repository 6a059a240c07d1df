"""The depth of difference images, from rows of calexp: who overlaps whom, and what that gives."""

import numpy as np
import pytest

from dbpipe.constants import AB_ZERO_POINT_NJY_MAG
from dbpipe.template.depth import DepthModel

SIDE_DEG = 0.2


def exposure(ra, dec=-30.0, *, noise_njy=80.0, area_pix=40.0, ellipticity=0.0, mirrored=False):
    """A row of candidates: a square on the sky."""
    half_dec, half_ra = SIDE_DEG / 2, SIDE_DEG / 2 / np.cos(np.radians(dec))
    corners = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    corner_ra = [(ra + (-u if mirrored else u) * half_ra) % 360 for u, _ in corners]
    return {
        "corner_ra": corner_ra,
        "corner_dec": [dec + v * half_dec for _, v in corners],
        "sky_noise_njy": noise_njy,
        "psf_effective_area_pix": area_pix,
        "ellipticity": ellipticity,
    }


@pytest.mark.parametrize("ra", [0.0, 53.0])
def test_equal_exposures_on_one_place(ra):
    """With n inputs of one PSF and noise the variance is 1 + 1/n of the exposure's own; itself never counts."""
    rows = [exposure(ra, mirrored=k % 2 == 1) for k in range(5)]
    prediction = DepthModel(rows).predict(np.array([True, True, True, False, False]))
    n = np.array([2, 2, 2, 3, 3])
    flux_err = 80.0 * np.sqrt(40.0) * np.sqrt(1 + 1 / n)
    np.testing.assert_allclose(prediction.depth_mag, AB_ZERO_POINT_NJY_MAG - 2.5 * np.log10(5 * flux_err), atol=2e-3)
    assert prediction.n_input.tolist() == n.tolist() and (prediction.coverage == 1).all()


def test_only_overlapping_exposures_count():
    """A neighbor is no input, half an overlap covers half, and what nothing covers has no depth."""
    rows = [exposure(10.0), exposure(10.0), exposure(10.0 + 0.5 * SIDE_DEG / np.cos(np.radians(-30))), exposure(12.0)]
    rows.append(exposure(190.0, 30.0))  # the other side of the sky
    prediction = DepthModel(rows).predict([True, True, False, False, True])
    assert prediction.n_input.tolist() == [1, 1, 2, 0, 0]
    assert prediction.coverage[2] == pytest.approx(0.5, abs=0.17) and prediction.coverage[3] == 0
    assert np.isnan(prediction.depth_mag[3:]).all() and np.isfinite(prediction.depth_mag[:3]).all()


def test_noisy_and_elongated_inputs_are_worth_less():
    """At equal number, noise or an elongated PSF in the inputs costs depth."""
    depth = []
    for changes in ({}, {"noise_njy": 110.0}, {"ellipticity": 0.3}):
        rows = [exposure(10.0), exposure(10.0, **changes), exposure(10.0, **changes)]
        depth.append(DepthModel(rows, [0]).predict([False, True, True]).depth_mag[0])
    assert depth[1] < depth[0] - 0.05 and depth[2] < depth[0] - 0.01


def test_asking_in_parts_gives_the_same():
    """The prediction of an exposure does not depend on who else is asked."""
    rng = np.random.default_rng(1)
    rows = [exposure(10.0 + rng.normal(0, 0.1), noise_njy=rng.uniform(60, 100)) for _ in range(12)]
    selected = rng.random(12) < 0.6
    whole, part = DepthModel(rows).predict(selected), DepthModel(rows, [3, 7]).predict(selected)
    np.testing.assert_allclose(part.depth_mag, whole.depth_mag[[3, 7]])
    np.testing.assert_array_equal(part.n_input, whole.n_input[[3, 7]])
