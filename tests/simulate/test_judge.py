"""The judge of the demo is right where the answer is known."""

import numpy as np
import pandas as pd
import pytest

from dbpipe.simulate import write_survey
from dbpipe.simulate.judge import fit_snr_at_half, judge, read_truth, true_differences


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    out = tmp_path_factory.mktemp("judged")
    write_survey(out, n_visit={"r": 6}, size_pix=400)
    return read_truth(out)


@pytest.fixture(scope="module")
def template(truth):
    """Every visit subtracts the first three others, with unequal weights."""
    obsid = truth["visits"].obsid.tolist()
    rows = [(v, t, 1.0 + k) for v in obsid for k, t in enumerate([o for o in obsid if o != v][:3])]
    return pd.DataFrame(rows, columns=["visit", "template_visit", "weight"])


def _perfect(differences, rng):
    """Return what a perfect pipeline would measure: truth plus its own noise."""
    rows = differences[differences.true_snr.notna() & (differences.mask_bits == 0)]
    error = (rows.true_flux_njy / rows.true_snr).abs()
    flux = rows.true_flux_njy + rng.normal(size=len(rows)) * error
    return pd.DataFrame({
        "visit": rows.obsid, "ra": rows.ra, "dec": rows.dec + rng.normal(0.0, 0.01, len(rows)) / 3600.0,
        "psf_flux_njy": flux, "psf_flux_err_njy": error, "snr": flux / error,
    })  # fmt: skip


def test_a_fixed_object_differs_by_its_flux_minus_the_weighted_mean(truth, template):
    """The true difference of one supernova is what a calculation by hand gives."""
    curve = truth["variable_visits"].query("kind == 'supernova'")
    obj_id = curve.groupby("obj_id").size().idxmax()
    flux = curve[curve.obj_id == obj_id].set_index("obsid").flux_njy
    assert len(flux) == 6
    visit = int(flux.index[0])
    weight = template[template.visit == visit].set_index("template_visit").weight
    expected = flux[visit] - (weight * flux[weight.index]).sum() / weight.sum()
    found = true_differences(truth, template).query("obj_id == @obj_id and obsid == @visit")
    assert found.true_flux_njy.iloc[0] == pytest.approx(expected, abs=1e-9)


def test_a_perfect_catalog_is_judged_perfect(truth, template):
    """Complete above 7 sigma, pure, unbiased, with pulls of unit width, and half found at the threshold."""
    differences = true_differences(truth, template)
    result = judge(_perfect(differences, np.random.default_rng(1)), template, truth)
    assert result.completeness_above_7 == 1.0
    assert result.purity == 1.0
    assert abs(result.flux_bias) < 0.03
    assert result.pull_std == pytest.approx(1.0, abs=0.35)
    assert result.astrometry_mas < 15.0
    assert result.snr_at_half == pytest.approx(5.0, abs=0.8)


def test_what_is_not_there_is_spurious(truth, template):
    """Detections far from anything that changed are counted, and lower the purity by their share."""
    good = _perfect(true_differences(truth, template), np.random.default_rng(1))
    junk = good[good.snr.abs() > 5.0].head(8).assign(dec=good.dec + 4.0 / 3600.0)
    before, after = (judge(s, template, truth) for s in (good, pd.concat([good, junk])))
    n_new = after.n_spurious - before.n_spurious + after.n_ignored - before.n_ignored
    assert 6 <= n_new <= 8
    assert after.purity < before.purity


def test_nothing_found_is_judged_without_failing(truth, template):
    """An empty catalog has completeness 0 and no purity."""
    empty = _perfect(true_differences(truth, template), np.random.default_rng(1)).iloc[:0]
    result = judge(empty, template, truth)
    assert result.completeness_above_7 == 0.0
    assert result.purity is None


def test_the_half_point_of_a_known_curve_is_recovered():
    """From 4,000 draws of a logistic curve with its half point at 5.3, the fit returns 5.3 within 2%."""
    rng = np.random.default_rng(4)
    snr = rng.uniform(2.0, 12.0, 4000)
    found = rng.random(4000) < 1.0 / (1.0 + (5.3 / snr) ** 9.0)
    assert fit_snr_at_half(snr, found) == pytest.approx(5.3, rel=0.02)
    assert fit_snr_at_half(snr, np.ones(4000)) is None
