"""The columns of the table dia_source, from what was found and fitted."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.wcs import WCS

from dbpipe.constants import ARCSEC_PER_DEG, FWHM_PER_SIGMA
from dbpipe.ids import source_ids
from dbpipe.imaging import mask as bit
from dbpipe.imaging.mask_near import mask_bits
from dbpipe.imaging.psf.shapes import PsfSize, adaptive_moments
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.sources.dipole import (
    DipoleFit,
    StaticSource,
    find_static_sources,
    fit_dipoles,
    is_dipole,
    second_lobes,
)
from dbpipe.imaging.sources.forced_fit import joint_flux
from dbpipe.imaging.sources.point_fit import PointSourceFit
from dbpipe.imaging.sources.trail import Trailed
from dbpipe.imaging.sources.verdicts import aperture_flux, near_edge, unlike_point_source
from dbpipe.sky.healpix import hpx29
from dbpipe.sky.wcs import pixel_to_sky

if TYPE_CHECKING:
    from dbpipe.stages.contracts.detect import DetectConfig

SPOILING = ("edge", "saturated", "bad", "cosmic_ray", "streak", "no_template")
"""Flags that speak against every flux, the macro is_spoiled in SQL."""
BESIDE_STAR_SCORE = 10.0
"""Beside a star a score this high is a source: what the star leaves is part of the score's noise."""


def unit_columns(unit: Mapping[str, Any], n: int) -> dict[str, Any]:
    shared = {key: [unit[key]] * n for key in ("visit", "detector", "band", "template_id", "midpoint_mjd_tai")}
    return {"dia_source_id": source_ids(unit["visit"], unit["detector"], n), **shared}


def position_columns(wcs: WCS, fit: PointSourceFit) -> dict[str, np.ndarray]:
    """Sky position and its errors by the local scale; sources without a fit have a position but no error."""
    ra, dec = pixel_to_sky(wcs, fit.x, fit.y)
    jacobian = sky_jacobian(wcs, fit.x, fit.y)
    xy = np.stack([np.stack([fit.x_err**2, fit.xy_cov], -1), np.stack([fit.xy_cov, fit.y_err**2], -1)], -2)
    sky = jacobian @ xy @ np.swapaxes(jacobian, -1, -2)
    return {
        "ra": ra,
        "dec": dec,
        "ra_err": np.sqrt(sky[:, 0, 0]),
        "dec_err": np.sqrt(sky[:, 1, 1]),
        "ra_dec_cov": sky[:, 0, 1],
        "hpx29": hpx29(ra, dec),
        "x": fit.x,
        "y": fit.y,
        "x_err": fit.x_err,
        "y_err": fit.y_err,
        "xy_cov": fit.xy_cov,
    }


def sky_jacobian(wcs: WCS, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return d(ra cos(dec), dec) / d(x, y) [deg/pix], (n, 2, 2), by differences over one pixel."""
    ra0, dec0 = pixel_to_sky(wcs, x, y)
    columns = []
    for dx, dy in ((0.5, 0.0), (0.0, 0.5)):
        ra1, dec1 = pixel_to_sky(wcs, x - dx, y - dy)
        ra2, dec2 = pixel_to_sky(wcs, x + dx, y + dy)
        across = (ra2 - ra1 + 180.0) % 360.0 - 180.0
        columns.append(np.stack([across * np.cos(np.radians(dec0)), dec2 - dec1], -1))
    return np.stack(columns, -1).reshape(len(ra0), 2, 2)


def flux_columns(
    fit: PointSourceFit, score: np.ndarray, njy_per_e: float, config: "DetectConfig"
) -> dict[str, np.ndarray]:
    return {
        "is_negative": score < 0,
        "score": score,
        "snr": np.nan_to_num(np.abs(fit.flux) / fit.flux_err),
        "psf_flux_njy": fit.flux * njy_per_e,
        "psf_flux_err_njy": fit.flux_err * njy_per_e,
        "psf_chi2": fit.chi2,
        "psf_n_pix": fit.n_pix,
        "is_primary": np.abs(score) >= config.primary_score,
        "flag_fit_failed": ~fit.converged,
    }


def trail_columns(wcs: WCS, found: Trailed, njy_per_e: float) -> dict[str, Any]:
    """Trails, where they were tried."""
    trails, n = found.trails, len(found.fit.x)
    names = ("length_arcsec", "length_err_arcsec", "angle_deg", "flux_njy", "flux_err_njy", "chi2", "n_pix")
    area = np.abs(np.linalg.det(sky_jacobian(wcs, found.fit.x[trails.source], found.fit.y[trails.source])))
    scale = np.sqrt(area) * ARCSEC_PER_DEG
    values = (
        trails.length_pix * scale,
        trails.length_err_pix * scale,
        trails.angle_deg,
        trails.flux * njy_per_e,
        trails.flux_err * njy_per_e,
        trails.chi2,
        np.where(np.isfinite(trails.chi2), trails.n_pix, np.nan),
    )
    columns: dict[str, Any] = {
        f"trail_{name}": _spread(n, trails.source, value) for name, value in zip(names, values, strict=True)
    }
    columns["trail_n_pix"] = [None if np.isnan(value) else int(value) for value in columns["trail_n_pix"]]
    flag = np.full(n, None, object)
    flag[trails.source] = trails.is_trail.tolist()
    return columns | {"flag_trail": flag.tolist()}


def _spread(n: int, row: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return n values, NaN but in these rows."""
    column = np.full(n, np.nan)
    column[row] = values
    return column


def measured_columns(
    image: Any,
    spline: np.ndarray,
    fit: PointSourceFit,
    unit: Mapping[str, Any],
    config: "DetectConfig",
    *,
    radius_pix: float,
    size: PsfSize,
    psf: np.ndarray,
    is_trail: np.ndarray,
) -> dict[str, np.ndarray]:
    """Aperture, fluxes beneath, moments and dipole, with the verdicts that hang from them."""
    njy, at = unit["njy_per_e"], {"x": fit.x, "y": fit.y}
    fwhm = size.fwhm_pix
    planes = (image.difference, image.variance, image.mask)
    aperture, aperture_err = aperture_flux(*planes, psf=psf, radius_pix=config.aperture_radius_fwhm * fwhm, **at)
    science, science_err, template, template_err = _fluxes_beneath(image, fit, unit, radius_pix)
    beneath = np.fmax(np.abs(science), np.abs(template))
    ixx, iyy, ixy = adaptive_moments(
        image.difference, image.mask, sigma_pix=fwhm / FWHM_PER_SIGMA, radius_pix=radius_pix, **at
    )
    pixel_area = np.abs(np.linalg.det(sky_jacobian(image.wcs, fit.x, fit.y))) * ARCSEC_PER_DEG**2
    dipole = _fit_dipoles(image, spline, fit, unit, radius_pix=radius_pix, fwhm_pix=fwhm)
    return {
        "aperture_flux_njy": aperture * njy,
        "aperture_flux_err_njy": aperture_err * njy,
        "science_flux_njy": science * njy,
        "science_flux_err_njy": science_err * njy,
        "template_flux_njy": template * njy,
        "template_flux_err_njy": template_err * njy,
        "ixx_arcsec2": ixx * pixel_area,
        "iyy_arcsec2": iyy * pixel_area,
        "ixy_arcsec2": ixy * pixel_area,
        **_dipole_columns(dipole, np.sqrt(pixel_area), njy),
        "flag_dipole": is_dipole(
            dipole,
            psf_fwhm_pix=fwhm,
            shift_pix=unit["shift_pix"],
            limits=config.dipole,
        ),
        "flag_shape": unlike_point_source(
            fit,
            ixx,
            iyy,
            flux_beneath=beneath,
            psf_trace_pix2=size.trace_pix2,
            isolation_pix=radius_pix,
            model_error=config.shape_model_error,
        )
        & ~is_trail,
    }


def _fit_dipoles(
    image: Any, spline: np.ndarray, fit: PointSourceFit, unit: Mapping[str, Any], *, radius_pix: float, fwhm_pix: float
) -> DipoleFit:
    """Try each source as one of the two lobes of a dipole."""
    reach_pix = 1.5 * fwhm_pix
    tried, x, y = second_lobes(image.score, fit.x, fit.y, reach_pix=reach_pix)
    return fit_dipoles(
        image.difference,
        image.variance,
        image.mask,
        score=image.score,
        psf_spline=spline,
        x=fit.x,
        y=fit.y,
        radius_pix=radius_pix,
        reach_pix=reach_pix,
        static=_static_sources(image, x, y, tried, unit, radius_pix=radius_pix, fwhm_pix=fwhm_pix),
    )


def _dipole_columns(dipole: DipoleFit, pixel_arcsec: np.ndarray, njy_per_e: float) -> dict[str, np.ndarray]:
    return {
        "dipole_flux_njy": dipole.mean_flux * njy_per_e,
        "dipole_separation_arcsec": dipole.separation_pix * pixel_arcsec,
        "dipole_angle_deg": dipole.angle_deg,
        "dipole_chi2": dipole.chi2,
        "dipole_science_flux_njy": dipole.science_flux * njy_per_e,
        "dipole_template_flux_njy": dipole.template_flux * njy_per_e,
        "dipole_shift_arcsec": dipole.shift_pix * pixel_arcsec,
        "dipole_shift_err_arcsec": dipole.shift_err_pix * pixel_arcsec,
        "dipole_static_chi2": dipole.chi2_static,
        "dipole_single_chi2": dipole.chi2_single,
    }


def _fluxes_beneath(
    image: Any, fit: PointSourceFit, unit: Mapping[str, Any], radius_pix: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Forced PSF fluxes on the science image and the matched template, both with the PSF of the science image.

    The science image lacks the template's part of the noise of the difference. The template's noise is correlated over
    the kernel; its level before convolution, as if white, is an upper limit at the scale of the PSF.
    """
    spline = spline_coefficients(image.science_psf.at_many(fit.x, fit.y))
    at: dict[str, Any] = {"psf_spline": spline, "x": fit.x, "y": fit.y}
    radius_pix = min(radius_pix, spline.shape[-1] // 2)
    fluxes = (joint_flux(*side, image.mask, radius_pix=radius_pix, **at) for side in sides(image, unit))
    (science, science_err), (template, template_err) = fluxes
    return science, science_err, template, template_err


def sides(image: Any, unit: Mapping[str, Any]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Science image and matched template, each with its variance."""
    template_part = unit["diff_noise_e"] ** 2 - unit["science_noise_e"] ** 2
    variance = np.maximum(image.variance - np.float32(template_part), np.float32(0.05) * image.variance)
    yield image.science, variance
    yield image.template, np.where(image.variance > 0, np.float32(unit["template_noise_e"] ** 2), np.float32(0.0))


def _static_sources(
    image: Any,
    x: np.ndarray,
    y: np.ndarray,
    tried: np.ndarray,
    unit: Mapping[str, Any],
    *,
    radius_pix: float,
    fwhm_pix: float,
) -> StaticSource:
    """What science image and template have near the middle of what may be dipoles."""
    spline = spline_coefficients(image.science_psf.at_many(x, y))
    science, template = sides(image, unit)
    return find_static_sources(
        science,
        template,
        image.mask,
        psf_spline=spline,
        x=x,
        y=y,
        chosen=tried,
        radius_pix=min(radius_pix, spline.shape[-1] // 2),
        fwhm_pix=fwhm_pix,
    )


def mask_columns(
    mask: np.ndarray, x: np.ndarray, y: np.ndarray, *, radius_pix: float, fwhm_pix: float
) -> dict[str, np.ndarray]:
    """Return the flags that the mask gives to sources fitted within a radius."""
    center = mask_bits(mask, x, y, radius_pix=max(1.5, 0.5 * fwhm_pix))
    core = mask_bits(mask, x, y, radius_pix=fwhm_pix)
    return {
        "flag_edge": near_edge(mask.shape, x, y, margin_pix=radius_pix),
        "flag_saturated": (center & bit.SATURATED) != 0,
        "flag_near_saturated": (center & bit.NEAR_SATURATED) != 0,
        "flag_bad": (center & bit.BAD) != 0,
        "flag_streak": (core & bit.STREAK) != 0,
        "flag_cosmic_ray": (center & bit.COSMIC_RAY) != 0,
        "flag_no_template": (core & bit.NO_DATA) != 0,
        "flag_template_rejected": (center & bit.REJECTED) != 0,
    }


def is_clean(columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return which sources nothing speaks against, (n,) bool: what the macro is_clean_detection says in SQL.

    Parameters
    ----------
    columns : dict of (n,) arrays, columns of dia_source
    """
    spoiled = np.any([columns[f"flag_{name}"] for name in SPOILING], axis=0)
    unlike = np.any([columns[f"flag_{name}"] for name in ("dipole", "fit_failed", "shape")], axis=0)
    near_star = np.logical_or(columns["flag_near_saturated"], columns["flag_bright_star"])
    beside_star = near_star & (np.abs(columns["score"]) < BESIDE_STAR_SCORE)
    return columns["is_primary"] & ~spoiled & ~unlike & ~beside_star
