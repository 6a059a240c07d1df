"""Put point sources of known flux into copies of an exposure and find them again.

What an exposure alone decides, sky, PSF, positions and zero point, is not decided anew, and the sources have the PSF
that was measured: errors of these are not seen. Everything after that is done as for the exposure itself, by the same
functions with the same settings.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS

from dbpipe.imaging.injection.completeness import fit_half_magnitude, fit_half_point, measure_fluxes
from dbpipe.imaging.injection.paint import draw_snr, match_places, paint_point_sources, predict_flux_err, spread_places
from dbpipe.imaging.injection.places import find_candidates
from dbpipe.sky.wcs import pixel_scale_arcsec, pixel_to_sky
from dbpipe.stage import Outputs, Skip
from dbpipe.stages.contracts.detect import DETECT
from dbpipe.stages.contracts.difference import DIFFERENCE
from dbpipe.stages.contracts.inject import InjectConfig
from dbpipe.stages.inject.copies import Original, copy_with, flux_at, read_original, subtract_copy
from dbpipe.stages.shared.columns import is_clean
from dbpipe.stages.shared.detection import measure_difference

STRONG_SNR = 7.0
"""True S/N above which sources count for completeness_above_7 and for fluxes: below, only those that the noise has
lifted are found, and their fluxes are too high."""


def inject(unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: InjectConfig) -> Outputs | Skip:
    """Make copies with sources, subtract, detect, and compare with what was put in."""
    versions = {"difference": unit["difference_version"], "detect": unit["detect_version"]}
    units = {name: inputs[f"{name}.work"].to_pylist() for name in versions}
    if versions != {"difference": DIFFERENCE.version, "detect": DETECT.version} or not all(units.values()):
        return Skip("the difference image is out of date: `dbpipe run` first", versions)
    if units["difference"][0]["template_id"] != unit["template_id"]:
        return Skip("a new template is decided: `dbpipe run` first", {"template_id": unit["template_id"]})
    original = read_original(unit, inputs, units)
    parts = []
    for number in range(config.rounds):
        rng = np.random.default_rng([config.seed, unit["visit"], unit["detector"], number])
        parts.append(_one_round(original, unit, rng, config) | {"round": number})
    parts = [part for part in parts if len(part["x"])]
    if not parts:
        return Skip("no place for a source", {"rounds": config.rounds})
    columns = _joined(unit, parts)
    return Outputs(
        rows={"injected_source": columns, "injection_summary": [_summary(unit, columns)]},
        n_pix=original.exposure.image.size * config.rounds,
    )


def _is_confused(x: np.ndarray, y: np.ndarray, real: Mapping[str, np.ndarray], fwhm_pix: float) -> np.ndarray:
    """Return whether each place is within reach of what the difference image shows without injection."""
    confused = np.zeros(len(x), bool)
    for reach in np.unique(real["reach_fwhm"]):
        those = real["reach_fwhm"] == reach
        place = np.column_stack([x, y])
        confused |= match_places(place, real["x"][those], real["y"][those], radius_pix=float(reach) * fwhm_pix) >= 0
    return confused


def _one_round(
    original: Original, unit: Mapping[str, Any], rng: np.random.Generator, config: InjectConfig
) -> dict[str, Any]:
    """Return the columns of the sources of one copy; no rows if there is no place."""
    real, fwhm = original.difference, original.difference_unit["psf_fwhm_pix"]
    place, at = _choose_places(original, rng, config)
    x, y = at.T
    blank_err = predict_flux_err(real.variance, real.mask, psf_field=real.psf_field, x=x, y=y)
    wanted = config.strength
    snr = draw_snr(
        rng, len(x), snr_range=wanted.snr, dense_range=wanted.dense_snr, dense_fraction=wanted.dense_fraction
    )
    usable = np.isfinite(blank_err)
    place, x, y, flux = place[usable], x[usable], y[usable], (snr * blank_err)[usable]
    if not len(x):
        return {"x": x}
    light = paint_point_sources(real.variance.shape, psf=original.exposure.psf, x=x, y=y, flux=flux)
    err = predict_flux_err(real.variance, real.mask, psf_field=real.psf_field, x=x, y=y, light=light)
    copy = subtract_copy(copy_with(original, x, y, flux, rng), original)
    found = measure_difference(copy.image, copy.detect_unit, original.inputs["detect"], original.settings["detect"])
    forced, forced_err = flux_at(copy.image, x, y, fwhm)
    before, _ = flux_at(real, x, y, fwhm)
    ra, dec = pixel_to_sky(real.wcs, x, y)
    njy = unit["njy_per_e"]
    return {
        "place": place, "ra": ra, "dec": dec, "x": x, "y": y,
        "true_flux_njy": flux * njy, "true_flux_err_njy": err * njy, "true_snr": flux / err,
        "is_confused": _is_confused(x, y, original.real_sources, fwhm),
        "forced_flux_njy": forced * njy, "forced_flux_err_njy": forced_err * njy, "flux_before_njy": before * njy,
        **_matched(found, x, y, radius_pix=config.match_radius_fwhm * fwhm, wcs=real.wcs, shape=real.mask.shape),
    }  # fmt: skip


def _choose_places(original: Original, rng: np.random.Generator, config: InjectConfig) -> tuple[np.ndarray, np.ndarray]:
    ny, nx = original.difference.mask.shape
    fwhm = original.difference_unit["psf_fwhm_pix"]
    n_source = math.ceil(nx * ny / (config.place.spacing_fwhm * fwhm) ** 2)
    candidates = find_candidates(
        original.difference.mask,
        sources=original.static_sources,
        kernel_stars=original.kernel_stars,
        fwhm_pix=fwhm,
        kernel_star_fraction=config.place.kernel_star_fraction,
        n_blank=20 * n_source,
        rng=rng,
    )
    part = {name: getattr(config.place, f"{name}_fraction") for name in ("star", "bright_star", "galaxy")}
    wanted = {name: round(value * n_source) for name, value in part.items()}
    wanted["blank"] = n_source - sum(wanted.values())
    return spread_places(candidates, wanted, separation_pix=config.place.separation_fwhm * fwhm)


def _matched(
    found: Mapping[str, Any], x: np.ndarray, y: np.ndarray, *, radius_pix: float, wcs: WCS, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return what was measured of each source: the nearest positive DIASource within the radius."""
    found = {name: np.asarray(column) for name, column in found.items()}
    positive = np.flatnonzero(~found["is_negative"].astype(bool))
    index = match_places(np.column_stack([x, y]), found["x"][positive], found["y"][positive], radius_pix=radius_pix)
    there = index >= 0
    row = positive[index[there]]
    columns = {name: np.full(len(x), np.nan) for name in ("psf_flux_njy", "psf_flux_err_njy", "score")}
    for name, column in columns.items():
        column[there] = found[name][row]
    separation = np.full(len(x), np.nan)
    separation[there] = np.hypot(found["x"][row] - x[there], found["y"][row] - y[there])
    columns["separation_arcsec"] = separation * pixel_scale_arcsec(wcs, shape)
    names = [name for name in found if name.startswith("flag_")]
    flags = np.full(len(x), None, object)
    flags[there] = [" ".join(name for name in names if found[name][k]) for k in row]
    primary, clean = np.zeros((2, len(x)), bool)
    primary[there] = found["is_primary"][row]
    clean[there] = is_clean(found)[row]
    return columns | {"flags": flags, "is_detected": primary, "is_recovered": clean}


def _joined(unit: Mapping[str, Any], parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    n = [len(part["x"]) for part in parts]
    columns = {
        name: np.concatenate([np.broadcast_to(part[name], k) for part, k in zip(parts, n, strict=True)])
        for name in parts[0]
    }
    shared = {key: [unit[key]] * sum(n) for key in ("visit", "detector", "band")}
    text = {name: columns[name].tolist() for name in ("place", "flags")}
    return columns | text | shared | {"number": np.arange(sum(n), dtype=np.int32)}


def _summary(unit: Mapping[str, Any], columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of the image; confused sources do not count."""
    counted = ~columns["is_confused"]
    snr, recovered = columns["true_snr"], columns["is_recovered"]
    blank = counted & (np.array(columns["place"]) == "blank")
    strong = counted & (snr > STRONG_SNR)
    half = fit_half_point(snr[blank], recovered[blank], width=1.0)
    flux, flux_err = (columns[name][blank] for name in ("true_flux_njy", "true_flux_err_njy"))
    depth = fit_half_magnitude(flux, recovered[blank], flux_err_njy=np.median(flux_err)) if blank.any() else None
    true = ("true_flux_njy", "true_flux_err_njy")
    quality, forced = (
        measure_fluxes(*(columns[c][chosen] for c in (f"{name}_flux_njy", f"{name}_flux_err_njy", *true)))
        for name, chosen in (("psf", strong & recovered), ("forced", counted))
    )
    return {
        "visit": unit["visit"],
        "detector": unit["detector"],
        "diffim_sha256": unit["sha256"],
        "n_injected": len(snr),
        "n_confused": int((~counted).sum()),
        "n_blank": int(blank.sum()),
        "snr_50": half and half.value,
        "snr_50_err": half and half.err,
        "depth_50_mag": depth and depth.value,
        "depth_50_mag_err": depth and depth.err,
        "n_above_7": int(strong.sum()),
        "completeness_above_7": float(recovered[strong].mean()) if strong.any() else None,
        "detected_above_7": float(columns["is_detected"][strong].mean()) if strong.any() else None,
        "n_flux": quality.n,
        "flux_bias": quality.bias,
        "flux_bias_err": quality.bias_err,
        "pull_mean": quality.pull_mean,
        "pull_std": quality.pull_std,
        "pull_robust_std": quality.pull_robust_std,
        "forced_bias": forced.bias,
        "forced_bias_err": forced.bias_err,
        "forced_pull_mean": forced.pull_mean,
        "forced_pull_std": forced.pull_std,
        "forced_pull_robust_std": forced.pull_robust_std,
    }
