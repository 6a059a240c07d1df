"""Depth and flux errors from sources whose flux is known."""

import numpy as np
import pytest

from dbpipe.imaging.injection.completeness import fit_half_magnitude, fit_half_point, measure_fluxes


def survey_of(rng, n=300, *, threshold=5.0, ceiling=1.0):
    """Return S/N and whether found: unit noise, a threshold, and a part that is never found."""
    snr = rng.uniform(2.0, 12.0, n)
    return snr, (snr + rng.normal(size=n) > threshold) & (rng.random(n) < ceiling)


@pytest.mark.parametrize("ceiling", [1.0, 0.9])
def test_half_point_is_found_with_its_error(ceiling):
    """Over many sets the point is where half are found, and scatters as its error says."""
    rng = np.random.default_rng(1)
    fits = [fit_half_point(*survey_of(rng, ceiling=ceiling), width=1.0) for _ in range(60)]
    value, err = np.array([(fit.value, fit.err) for fit in fits]).T
    truth = 5.0 if ceiling == 1.0 else 5.14  # 0.9 Phi(0.14) = 0.5
    assert value.mean() == pytest.approx(truth, abs=0.06)
    assert np.std((value - truth) / err) == pytest.approx(1.0, abs=0.3)


def test_depth_is_the_magnitude_of_the_half_point():
    """Sources with errors of 20 nJy have their half point at the magnitude of 100 nJy."""
    snr, found = survey_of(np.random.default_rng(2), n=2000)
    half = fit_half_magnitude(20.0 * snr, found, flux_err_njy=20.0)
    assert half.value == pytest.approx(31.4 - 5.0, abs=4 * half.err) and half.err < 0.03
    assert fit_half_magnitude(snr, np.ones(2000, bool), flux_err_njy=1.0) is None


@pytest.mark.parametrize(
    "found",
    [np.ones(50, bool), np.zeros(50, bool), np.arange(50) % 10 == 0, np.random.default_rng(3).random(50) < 0.5],
    ids=["all", "none", "few everywhere", "whatever the brightness"],
)
def test_what_the_data_do_not_say_is_not_said(found):
    """Without a place where half are found there is no number."""
    assert fit_half_point(np.linspace(2, 20, 50), found, width=1.0) is None


def test_too_few_sources_say_nothing():
    """Seven sources are no completeness."""
    assert fit_half_point(np.arange(7.0), np.arange(7) > 3, width=1.0) is None


def test_bias_and_pulls_are_those_put_in():
    """Fluxes 3% too high with errors 20% too small show as that; unmeasured ones do not count."""
    rng = np.random.default_rng(4)
    true, err = rng.uniform(70, 200, 5000), np.full(5000, 10.0)
    flux = 1.03 * true + rng.normal(size=5000) * err
    flux[:10] = np.nan
    found = measure_fluxes(flux, err / 1.2, true, err)
    assert found.n == 4990
    assert found.bias == pytest.approx(0.03, abs=4 * found.bias_err) and found.bias_err < 0.002
    assert found.pull_std == pytest.approx(1.2, abs=0.06)
    assert found.pull_robust_std == pytest.approx(1.2, abs=0.08)
    assert found.pull_mean == pytest.approx(1.2 * 0.03 * true.mean() / 10, abs=0.08)


def test_one_flux_has_no_scatter():
    """With fewer than two fluxes nothing is said of them."""
    assert np.isnan(measure_fluxes([1.0], [1.0], [1.0], [1.0]).pull_std)
