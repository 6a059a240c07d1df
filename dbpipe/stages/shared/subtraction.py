"""Subtract the template from an exposure, or from a copy of it with other pixels: by `difference` and `inject`."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.constants import ab_magnitude
from dbpipe.errors import DataError
from dbpipe.imaging import mask as planes
from dbpipe.imaging.difference.cells import sample_cells
from dbpipe.imaging.difference.registration import measure_shifts, register
from dbpipe.imaging.difference.score_image import Score, blank_statistics, score_image
from dbpipe.imaging.difference.star_noise import with_star_noise
from dbpipe.imaging.difference.subtract import Subtraction, subtract
from dbpipe.imaging.kernel.match import Plane
from dbpipe.imaging.psf.rings import Profile, Stars
from dbpipe.io.difference import Difference
from dbpipe.io.exposure import Exposure
from dbpipe.sky.skymap import Tract
from dbpipe.stage import Outputs, Skip
from dbpipe.stages.contracts.difference import DifferenceConfig
from dbpipe.stages.shared.template import TemplateImage, make_template


def template_for(exposure: Exposure, unit: Mapping[str, Any], inputs: Mapping[str, pa.Table]) -> TemplateImage:
    """Assemble the template of an exposure from the inputs of its unit."""
    rows: dict[str, Any] = {name: inputs[name].to_pylist() for name in ("coadds", "coadd_inputs", "own_warps")}
    return make_template(exposure, unit, tract=Tract.of(unit), **rows)


def subtract_template(
    exposure: Exposure,
    template: TemplateImage,
    unit: Mapping[str, Any],
    inputs: Mapping[str, pa.Table],
    config: DifferenceConfig,
    *,
    science_power: float | np.ndarray = 1.0,
) -> Outputs | Skip:
    """Match, subtract, whiten and score one exposure, or a copy of it with other pixels.

    ``science_power`` is the shape of the noise power of an exposure that somebody has resampled, see `subtract`.
    """
    if template.coverage < config.min_coverage:
        return Skip(
            "the template covers too little of the exposure",
            {"coverage": template.coverage, "min_coverage": config.min_coverage, "n_input": len(template.weights)},
        )
    star_x, star_y = (inputs["stars"][c].to_numpy() for c in ("x", "y"))
    science = Plane(exposure.image, exposure.variance, exposure.mask, unit["psf_fwhm_pix"], exposure.psf)
    result = subtract(
        science,
        template.plane,
        template_noise=template.noise,
        star_x=star_x,
        star_y=star_y,
        bright=_bright_stars(inputs["bright_stars"], unit["njy_per_e"]),
        settings=config.kernel,
        science_power=science_power,
    )
    unusable = (result.mask & planes.UNUSABLE) != 0
    score = score_image(result.difference, result.variance, unusable, result.whitening.psf)
    result, score, star_part = with_star_noise(
        result, score, science.psf, fwhm_pix=science.fwhm_pix, halo_noise=config.halo_noise
    )
    blank = (result.mask & (planes.UNFIT | planes.DETECTED) == 0) & (score.flux_err > 0)
    if blank.sum() < 1000:
        raise DataError("no blank sky to measure the noise on", n_blank_pix=int(blank.sum()), n_required=1000)
    product = Difference(
        difference=result.difference,
        variance=result.variance,
        mask=result.mask,
        score=score.score,
        template=result.matched_template,
        psf_field=result.whitening.psf,
        wcs=exposure.wcs,
        metadata={"CALEXP": unit["path"], "BUNIT": "electron", "NJYPERE": unit["njy_per_e"]},
    )
    row = _key(unit) | _summary(unit, result, template, config) | _quality(unit, result, score, blank, unusable)
    row |= _star_columns(result, star_part) | {"leave_one_out": inputs["own_warps"].num_rows > 0}
    weights = [
        _key(unit) | {"template_visit": v, "template_detector": d, "weight": w}
        for (v, d), w in sorted(template.weights.items())
    ]
    cells, registration = _sampled(unit, inputs["stars"], exposure, result, score, blank)
    return Outputs(
        rows={"diffim": [row], "diffim_input": weights, "diffim_sample": cells, "diffim_registration": [registration]},
        files={"diffim": product},
        n_pix=exposure.image.size,
    )


def _bright_stars(rows: pa.Table, njy_per_e: float) -> Stars:
    x, y, flux = (rows[name].to_numpy(zero_copy_only=False).astype(float) for name in ("x", "y", "flux_njy"))
    return Stars(x, y, np.where(rows["is_saturated"].to_numpy(zero_copy_only=False), np.nan, flux / njy_per_e))


def _star_columns(result: Subtraction, part: Profile) -> dict[str, float]:
    """What stars left, and which fraction of the image is flagged for what."""
    edges, wings = result.wings.edges_pix, result.wings.value

    def fraction(bits: int) -> float:
        return float(np.mean((result.mask & bits) != 0))

    halo = (result.mask & planes.NEAR_SATURATED != 0) & (result.mask & planes.SATURATED == 0)
    return {
        "n_bright_star": len(result.bright.x),
        "wing_fraction": float(np.sum(wings * np.pi * np.diff(np.square(edges)))),
        "star_noise_fraction": float(part.value[0]),
        "fraction_saturated": fraction(planes.SATURATED),
        "fraction_bleed": fraction(planes.BLEED),
        "fraction_halo": float(np.mean(halo)),
        "fraction_streak": fraction(planes.STREAK),
        "fraction_star_flagged": fraction(planes.SATURATED | planes.NEAR_SATURATED),
    }


def _key(unit: Mapping[str, Any]) -> dict[str, int]:
    return {"visit": unit["visit"], "detector": unit["detector"]}


def _summary(
    unit: Mapping[str, Any], result: Subtraction, template: TemplateImage, config: DifferenceConfig
) -> dict[str, Any]:
    fit, model = result.fit, result.fit.model
    ny, nx = model.shape
    grid_x, grid_y = (g.ravel() for g in np.meshgrid(np.linspace(0, nx - 1, 7), np.linspace(0, ny - 1, 7)))
    sums = model.kernels_at(grid_x, grid_y).sum(axis=(1, 2))
    control = fit.star_chi2[fit.is_control]
    return {
        "template_id": unit["template_id"],
        "convolved": result.convolved,
        "n_template_input": len(template.weights),
        "template_coverage": template.coverage,
        "template_fwhm_pix": template.plane.fwhm_pix,
        "science_fwhm_pix": unit["psf_fwhm_pix"],
        "kernel_sigma_pix": " ".join(f"{s:.2f}" for s in model.basis.sigma_pix),
        "kernel_degree": " ".join(map(str, model.basis.degree)),
        "kernel_order": model.kernel_order,
        "background_order": model.background_order,
        "kernel_size_pix": model.basis.functions.shape[-1],
        "psf_match_residual": None if math.isnan(model.start.residual) else model.start.residual,
        "kernel_sum": float(sums[len(sums) // 2]),
        "kernel_sum_scatter": float(np.std(sums)),
        "n_kernel_star": int(fit.kept.sum()),
        "n_kernel_star_clipped": int((~fit.kept & ~fit.is_control).sum()),
        "fit_chi2": float(np.median(fit.star_chi2[fit.kept])),
        "control_chi2": float(np.median(control)) if control.size else None,
        "n_control_star": int(control.size),
    }


def _quality(
    unit: Mapping[str, Any], result: Subtraction, score: Score, blank: np.ndarray, unusable: np.ndarray
) -> dict[str, float]:
    psf = result.whitening.psf
    ny, nx = result.difference.shape
    center = psf.at(nx / 2, ny / 2)
    std, lag1 = blank_statistics(score.score, result.difference, blank)
    flux_err = float(np.median(score.flux_err[blank]))
    return {
        "science_noise_e": result.science_noise,
        "template_noise_e": result.template_noise,
        "diff_noise_e": float(math.sqrt(np.median(result.variance[blank]))),
        "score_std": std,
        "lag1_correlation": lag1,
        "psf_effective_area_pix": float(center.sum() ** 2 / np.sum(np.square(center))),
        "njy_per_e": unit["njy_per_e"],
        "depth_5sigma_mag": ab_magnitude(5.0 * flux_err * unit["njy_per_e"]),
        "fraction_masked": float(unusable.mean()),
    }


def _sampled(
    unit: Mapping[str, Any], stars: pa.Table, exposure: Exposure, result: Subtraction, score: Score, blank: np.ndarray
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Return the rows of diffim_sample and the row of diffim_registration."""
    x, y, flux_njy = (stars[c].to_numpy() for c in ("x", "y", "psf_flux_njy"))
    shifts = measure_shifts(
        result.difference,
        result.variance,
        result.mask,
        result.whitening.psf,
        x=x,
        y=y,
        flux=flux_njy / unit["njy_per_e"],
        radius_pix=1.5 * unit["psf_fwhm_pix"],
    )
    cells = sample_cells(result, score.score, exposure.variance, blank=blank, star_x=x, star_y=y, shifts=shifts)
    return [_key(unit) | cell for cell in cells], _key(unit) | asdict(register(shifts))
