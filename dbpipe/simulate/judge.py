"""Compare what a pipeline found with what is true.

The true flux of a difference is the flux in the visit minus the weighted mean over the visits of its template. Its true
S/N is that over the noise of an optimal PSF measurement in visit and template. An object that moves is in the template
only where it was itself within half an arcsecond.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.spatial import cKDTree

from dbpipe.constants import ARCSEC_PER_DEG, flux_njy, robust_sigma

MATCH_ARCSEC = 1.0
SAME_PLACE_ARCSEC = 0.5
EDGE_PIX = 20.0
FAINTEST_REAL_SNR = 2.0
"""A detection counts as real if an object of at least this true |S/N| is there."""
THRESHOLD_SNR = 5.0


@dataclass(frozen=True)
class Judgment:
    """How well the sources of the difference images agree with truth."""

    sources: pd.DataFrame
    """Detections above threshold, with `real` and, where real, obj_id, true_flux_njy, true_snr, separation_arcsec."""
    expected: pd.DataFrame
    """Objects that could be found, with true_snr and `found`."""
    snr_at_half: float | None
    """True S/N at which half are found."""
    completeness_above_7: float | None
    purity: float | None
    n_spurious: int
    n_ignored: int
    """Detections left out of the count: high-proper-motion stars, and ghosts of moving objects."""
    flux_bias: float | None
    """Median of measured over true flux, minus 1, of isolated sources."""
    pull_std: float | None
    """Robust standard deviation of (measured - true) / error."""
    astrometry_mas: float | None
    """Median distance from truth, true S/N above 10."""


def read_truth(directory: Path) -> "dict[str, pd.DataFrame]":
    """Return the truth tables of a simulated survey, name -> DataFrame."""
    names = ("visits", "variable_visits", "objects", "stars")
    return {name: pd.read_parquet(Path(directory) / "truth" / f"{name}.parquet") for name in names}


def judge(sources: "pd.DataFrame", template_weights: "pd.DataFrame", truth: "Mapping[str, pd.DataFrame]") -> Judgment:
    """Compare difference sources with truth.

    Parameters
    ----------
    sources : DataFrame
        visit, ra, dec [deg], psf_flux_njy, psf_flux_err_njy, snr; the flagged ones left out.
    template_weights : DataFrame
        visit, template_visit, weight: what each template is made of.
    truth : dict of `read_truth`

    Returns
    -------
    Judgment
    """
    differences = true_differences(truth, template_weights)
    detected = sources[sources.snr.abs() >= THRESHOLD_SNR].reset_index(drop=True)
    scored = set(truth["visits"].obsid[truth["visits"].score]) & set(template_weights.visit)
    detected = detected[detected.visit.isin(scored)].reset_index(drop=True)
    parts = [_match_visit(detected[detected.visit == visit], differences[differences.obsid == visit])
             for visit in sorted(scored)]  # fmt: skip
    matched = pd.concat(parts, ignore_index=True) if parts else _match_visit(detected, differences.iloc[:0])
    matched["ignored"] = ~matched.real & _near_nuisance(matched, truth, template_weights)
    expected = differences[differences.usable & differences.obsid.isin(scored)]
    keys = set(zip(matched.visit[matched.real], matched.obj_id[matched.real], strict=True))
    expected = expected.assign(found=[key in keys for key in zip(expected.obsid, expected.obj_id, strict=True)])
    return _summarize(matched, expected)


def true_differences(truth: "Mapping[str, pd.DataFrame]", template_weights: "pd.DataFrame") -> "pd.DataFrame":
    """Return the rows of truth's variable_visits with true_flux_njy, true_snr, isolated and usable.

    Rows of visits without template are left out.
    """
    rows = truth["variable_visits"].merge(
        truth["visits"][["obsid", "zp", "neff_px", "read_noise_e"]], on="obsid", validate="many_to_one"
    )
    njy_per_e = flux_njy(rows.zp)
    noise_e2 = rows.neff_px * (rows.bg_e_px + rows.read_noise_e**2) + rows.flux_e.clip(lower=0)
    rows["variance_njy2"] = noise_e2 * njy_per_e**2
    rows["true_flux_njy"], rows["template_variance_njy2"], rows["coverage"] = np.nan, np.nan, 0.0
    parts = []
    for visit, weights in template_weights.groupby("visit"):
        here = rows[rows.obsid == visit].copy()
        if len(here):
            parts.append(_subtract_template(here, rows, weights.groupby("template_visit").weight.sum()))
    result = pd.concat(parts, ignore_index=True) if parts else rows.iloc[:0].copy()
    result["true_snr"] = result.true_flux_njy / np.sqrt(result.variance_njy2 + result.template_variance_njy2)
    result["isolated"] = _isolated(result)
    clear = (result.edge_px >= EDGE_PIX) & (result.mask_bits == 0)
    result["usable"] = clear & (result.coverage >= 0.5) & result.true_snr.notna()
    return result


def _subtract_template(here: "pd.DataFrame", rows: "pd.DataFrame", weight: "pd.Series") -> "pd.DataFrame":
    """Fill in the true difference for the objects of one visit, given the weights of its template visits."""
    inside = rows[rows.obsid.isin(weight.index)]
    pairs = here[["obj_id", "kind", "ra", "dec"]].merge(
        inside[["obj_id", "obsid", "ra", "dec", "flux_njy", "variance_njy2"]], on="obj_id", suffixes=("", "_then")
    )
    pairs["weight"] = pairs.obsid.map(weight)
    moved = _unit_vectors(pairs.ra_then, pairs.dec_then) - _unit_vectors(pairs.ra, pairs.dec)
    pairs["same_place"] = np.linalg.norm(moved, axis=1) < SAME_PLACE_ARCSEC
    pairs["weighted_flux"] = pairs.weight * pairs.flux_njy * pairs.same_place
    pairs["weighted_variance"] = pairs.weight**2 * pairs.variance_njy2
    sums = pairs.groupby("obj_id")[["weight", "weighted_flux", "weighted_variance"]].sum()
    sums = sums.reindex(here.obj_id).fillna(0.0).to_numpy().T
    moving = (here.kind == "asteroid").to_numpy()
    total = np.where(moving, weight.sum(), sums[0])  # the template is also where a moving object is not
    with np.errstate(divide="ignore", invalid="ignore"):
        template_flux, template_variance = sums[1] / total, sums[2] / total**2
    fixed = ~moving & (total > 0)
    typical = np.median(template_variance[fixed]) if fixed.any() else 0.0
    here["true_flux_njy"] = here.flux_njy - template_flux
    here["template_variance_njy2"] = np.where(moving, typical, template_variance)
    here["coverage"] = total / weight.sum()
    return here


def _unit_vectors(ra: "pd.Series", dec: "pd.Series") -> np.ndarray:
    """Return places as vectors whose distances are arcseconds, (n, 3)."""
    a, d = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    scale = np.degrees(1.0) * ARCSEC_PER_DEG
    return scale * np.column_stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def _isolated(differences: "pd.DataFrame") -> np.ndarray:
    """Return whether no other changed object is within three arcseconds in the same visit."""
    alone = np.ones(len(differences), bool)
    for indices in differences.groupby("obsid").indices.values():
        rows = differences.iloc[indices]
        changed = (rows.true_snr.abs() > 1.0).to_numpy()
        tree = cKDTree(_unit_vectors(rows.ra, rows.dec))
        for first, second in tree.query_pairs(3.0):
            alone[indices[first]] &= not changed[second]
            alone[indices[second]] &= not changed[first]
    return alone


def _match_visit(detected: "pd.DataFrame", differences: "pd.DataFrame") -> "pd.DataFrame":
    """Match detections to changed objects one to one, closest first."""
    real = differences[differences.true_snr.abs() >= FAINTEST_REAL_SNR].reset_index(drop=True)
    detected = detected.reset_index(drop=True)
    partner = np.full(len(detected), -1)
    distance = np.full(len(detected), np.nan)
    if len(real) and len(detected):
        near = cKDTree(_unit_vectors(real.ra, real.dec)).sparse_distance_matrix(
            cKDTree(_unit_vectors(detected.ra, detected.dec)), MATCH_ARCSEC, output_type="ndarray"
        )
        taken = set()
        for pair in np.sort(near, order=["v", "j", "i"]):
            if partner[pair["j"]] < 0 and pair["i"] not in taken:
                partner[pair["j"]], distance[pair["j"]] = pair["i"], pair["v"]
                taken.add(pair["i"])
    real = real.astype({"obj_id": "Int64"})  # stays whole, and exact, where there is no partner
    columns = real.reindex(partner)[["obj_id", "kind", "true_flux_njy", "true_snr", "isolated", "usable"]]
    columns = columns.reset_index(drop=True)
    columns[["isolated", "usable"]] = columns[["isolated", "usable"]].eq(True)  # False where there is no partner
    return detected.assign(**columns, real=partner >= 0, separation_arcsec=distance)


def _near_nuisance(
    matched: "pd.DataFrame", truth: "Mapping[str, pd.DataFrame]", template_weights: "pd.DataFrame"
) -> np.ndarray:
    """Return whether each detection lies on a high-proper-motion star, or where a moving object was in a template."""
    stars = truth["stars"]
    fast = stars[np.hypot(stars.pm_ra_cosdec, stars.pm_dec) >= 0.1]
    moving = truth["variable_visits"].query("kind == 'asteroid'")
    ghosts = moving[moving.obsid.isin(template_weights.template_visit)]
    here = _unit_vectors(matched.ra, matched.dec)
    near = np.zeros(len(matched), bool)
    for table, radius in ((fast, 1.5), (ghosts, MATCH_ARCSEC)):
        if len(table) and len(matched):
            near |= np.isfinite(cKDTree(_unit_vectors(table.ra, table.dec)).query(here, distance_upper_bound=radius)[0])
    return near


def _summarize(matched: "pd.DataFrame", expected: "pd.DataFrame") -> Judgment:
    spurious = ~matched.real & ~matched.ignored
    clean = matched[matched.real & matched.isolated & matched.usable & (matched.true_snr.abs() >= THRESHOLD_SNR)]
    pull = (clean.psf_flux_njy - clean.true_flux_njy) / clean.psf_flux_err_njy
    bright = clean[clean.true_snr.abs() >= 10.0]
    strong = expected[expected.true_snr.abs() >= 7.0]
    n_counted = int(matched.real.sum() + spurious.sum())
    return Judgment(
        sources=matched,
        expected=expected,
        snr_at_half=fit_snr_at_half(expected.true_snr.abs(), expected.found),
        completeness_above_7=float(strong.found.mean()) if len(strong) else None,
        purity=float(matched.real.sum() / n_counted) if n_counted else None,
        n_spurious=int(spurious.sum()),
        n_ignored=int(matched.ignored.sum()),
        flux_bias=float((clean.psf_flux_njy / clean.true_flux_njy).median() - 1.0) if len(clean) else None,
        pull_std=robust_sigma(pull.dropna().to_numpy()) if len(clean) else None,
        astrometry_mas=float(1000.0 * bright.separation_arcsec.median()) if len(bright) else None,
    )


def fit_snr_at_half(true_snr: "pd.Series | np.ndarray", found: "pd.Series | np.ndarray") -> float | None:
    """Return the S/N at which half are found, from a logistic curve in ln S/N; None if there is too little to fit."""
    ln_snr = np.log(np.maximum(np.asarray(true_snr, float), 0.1) / THRESHOLD_SNR)
    found = np.asarray(found, float)
    if len(found) < 8 or found.all() or not found.any():
        return None

    def cost(parameters: np.ndarray) -> float:
        argument = parameters[0] + parameters[1] * ln_snr
        # a weak prior keeps the slope finite when the two classes separate perfectly
        return np.sum(np.logaddexp(0.0, argument) - found * argument) + 0.005 * parameters[1] ** 2

    offset, slope = minimize(cost, (0.0, 3.0), method="BFGS").x
    return float(THRESHOLD_SNR * np.exp(-offset / slope)) if slope > 0 else None
