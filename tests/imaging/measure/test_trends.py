"""Trends of what stars show with color, place and brightness."""

import numpy as np
import pytest

from dbpipe.imaging.measure.trends import color_pair, fit_color_term, fit_flatness, fit_refraction, fit_trend


def test_trend_has_honest_errors_despite_outliers():
    """Slopes scatter by their errors about the truth, a tenth of the stars off by a lot."""
    pulls = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        terms = np.stack([np.ones(80), rng.uniform(-1, 1, 80)], axis=1)
        error = rng.uniform(0.005, 0.02, 80)
        value = terms @ [0.3, 0.05] + rng.normal(0, np.hypot(error, 0.01)) + 0.5 * (np.arange(80) % 10 == 0)
        fit = fit_trend(terms, value, error)
        assert not fit.is_used[::10].any()
        pulls.append((fit.coefficients - [0.3, 0.05]) / fit.errors)
    assert np.std(pulls, axis=0) == pytest.approx([1.0, 1.0], abs=0.3)
    assert np.abs(np.mean(pulls, axis=0)).max() < 0.5


def test_too_little_is_no_trend():
    """Nine stars, or stars of one color, tell nothing."""
    value, error = np.zeros(9), np.ones(9)
    assert fit_trend(np.stack([np.ones(9), np.arange(9.0)], axis=1), value, error) is None
    assert fit_trend(np.ones((20, 2)), np.zeros(20), np.ones(20)) is None


@pytest.mark.parametrize(
    ("band", "available", "pair"),
    [
        ("r", "ugrizy", ("g", "r")),
        ("u", "ugrizy", ("u", "g")),
        ("y", "uriy", ("i", "y")),
        ("R", ["V", "R", "g"], ("V", "R")),
        ("G", ["G", "BP", "RP"], ("BP", "G")),
        ("r", ["r", "R"], None),
        ("Ha", ["r", "g"], None),
    ],
)
def test_colors_are_of_one_system(band, available, pair):
    """A band goes with its bluer neighbor of the same photometric system; the bluest with its redder one."""
    assert color_pair(band, set(available)) == pair


def color_scene(term, color_range, seed=3, n=60):
    """Return magnitude differences of stars of a color term, their errors and colors."""
    rng = np.random.default_rng(seed)
    color = rng.uniform(0.5, 0.5 + color_range, n)
    return 30.0 + term * (color - 0.8) + rng.normal(0, 0.01, n), np.full(n, 0.01), color


def test_color_term_is_applied_where_it_is_seen():
    """A term of 0.05 mag/mag over 1.5 mag is; none at all, and one over 0.3 mag of color, are not; a given one is."""
    seen = fit_color_term(*color_scene(0.05, 1.5), reference_color=0.8)
    assert seen.is_applied and seen.term == pytest.approx(0.05, abs=4.0 * seen.term_err)
    assert seen.scatter_after_mag < 0.8 * seen.scatter_before_mag
    assert not fit_color_term(*color_scene(0.0, 1.5), reference_color=0.8).is_applied
    assert not fit_color_term(*color_scene(0.2, 0.3), reference_color=0.8).is_applied
    given = fit_color_term(*color_scene(0.0, 0.3), reference_color=0.8, fixed_term=0.02)
    assert given.is_applied and given.term == 0.02
    assert fit_color_term(*color_scene(0.0, 1.0, n=9), reference_color=0.8) is None


@pytest.mark.parametrize("angle_deg", [0.0, 70.0, -150.0])
def test_refraction_is_seen_along_the_zenith_only(angle_deg):
    """An injected slope of -30 mas/mag comes back along the direction of the zenith, and nothing across."""
    rng = np.random.default_rng(8)
    color = rng.normal(1.0, 0.5, 100)
    color[::9] = np.nan
    shift = -30.0 * np.nan_to_num(color)
    east, north = (shift * part for part in (np.sin(np.radians(angle_deg)), np.cos(np.radians(angle_deg))))
    found = fit_refraction(
        east + rng.normal(0, 10, 100), north + rng.normal(0, 10, 100), color, parallactic_angle_deg=angle_deg
    )
    assert found.toward_zenith == pytest.approx(-30.0, abs=4.0 * found.toward_zenith_err)
    assert abs(found.across) < 4.0 * found.across_err
    assert found.toward_zenith_err < 4.0 and found.n_star >= 80


def test_slope_of_the_psf_over_the_chip_is_seen():
    """PSF fluxes that lose 10 mmag from the center to the right edge show it, among faint neighbors."""
    rng = np.random.default_rng(9)
    x, y = rng.uniform(0, 1023, (2, 150))
    flux = 10.0 ** rng.uniform(4.0, 6.0, 150)
    lack = flux * 0.01 / 1.0857 * (x - 511.5) / 512.0 + rng.normal(0, 300.0, 150)
    found = fit_flatness(x, y, flux, lack=lack, lack_err=np.full(150, 100.0), shape=(1024, 1024))
    assert found.slope_mag == pytest.approx(0.01, abs=4.0 * found.slope_err_mag)
    assert found.slope_err_mag < 0.0015
    assert abs(found.mag_per_mag) < 4.0 * found.mag_per_mag_err
