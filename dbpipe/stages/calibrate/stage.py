"""Calibrate one exposure: sky, noise, defects, PSF, sources, WCS and zero point."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.errors import DataError
from dbpipe.imaging import mask as bits
from dbpipe.imaging.mask_near import touches
from dbpipe.imaging.measure.characterize import (
    Characterization,
    StarCandidates,
    characterize,
    is_clean,
    is_inside,
)
from dbpipe.imaging.measure.detection import Detections, detect_sources
from dbpipe.imaging.measure.photometry import ZeroPoint, aperture_fluxes, fit_zero_point
from dbpipe.imaging.measure.trends import ColorTerm, fit_color_term
from dbpipe.imaging.psf.model import PsfShape, measure_psf
from dbpipe.io.exposure import Exposure
from dbpipe.io.raw.image import RawImage, read_raw
from dbpipe.io.raw.instrument import INSTRUMENT_FILE, load_instrument
from dbpipe.sky.astrometry.fit import AstrometrySolution, solve_astrometry
from dbpipe.sky.matching import match_sky
from dbpipe.sky.sphere import apply_proper_motion
from dbpipe.sky.wcs import pixel_scale_arcsec, pixel_to_sky
from dbpipe.stage import Outputs
from dbpipe.stages.calibrate.pixels import CleanPixels, clean_pixels, flag_after_detection
from dbpipe.stages.calibrate.residuals import measure_residuals, reference_colors
from dbpipe.stages.calibrate.rows import header_cards, saturation_row, source_rows, streak_rows, summarize
from dbpipe.stages.contracts.calibrate import CalibrateConfig


def calibrate(unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: CalibrateConfig) -> Outputs:
    """Calibrate one raw exposure against the reference catalog.

    Parameters
    ----------
    unit : visit, detector, path, sha256, band, midpoint_mjd_tai, parallactic_angle_deg or None, ra, dec, radius_deg,
        n_catalogue_star
    inputs : refcat, reference stars of the field with the magnitude of the band, and all their bands and magnitudes
    """
    reference = _reference_at_epoch(unit, inputs["refcat"])
    _check_band(reference, inputs["refcat"], unit["band"])
    instrument = load_instrument(INSTRUMENT_FILE)
    raw = read_raw(unit["path"], instrument, max_mib=math.inf)  # ingest has judged its size
    if raw.sha256 != unit["sha256"]:
        raise DataError("raw file has changed since it was ingested: `dbpipe ingest` it again", path=unit["path"])
    pixels = clean_pixels(raw, instrument.bleed, config)
    detections = detect_sources(pixels.image, pixels.variance, pixels.is_bad, threshold_sigma=config.detection_sigma)
    check_sources(detections, config)
    pixels, candidates = flag_after_detection(pixels, detections, config)
    measured = characterize(
        pixels.image, pixels.variance, pixels.unusable,
        candidates=candidates, size=config.psf.size_pix,
        degree_max=config.psf.degree_max, n_star_max=config.psf.star_max,
    )  # fmt: skip
    ny, nx = pixels.image.shape
    shape = measure_psf(measured.psf.at((nx - 1) / 2, (ny - 1) / 2))
    check_psf(shape, config)
    solution = _solve(raw, measured, candidates, reference, config)
    sources = _measure_sources(pixels, detections, candidates, measured, shape, config)
    sources["ra"], sources["dec"] = pixel_to_sky(solution.wcs, sources["x"], sources["y"])
    pairs = _match_sources(sources, reference, solution, shape, pixels)
    zero_point, color_term = _fit_zero_point(sources, reference, pairs, unit["band"], config)
    calexp = summarize(pixels, measured, shape, solution, zero_point, sources)
    exposure = Exposure(
        pixels.image, pixels.variance, pixels.mask, solution.wcs, measured.psf, header_cards(unit, raw, calexp)
    )
    key = {"visit": unit["visit"], "detector": unit["detector"]}
    residuals = measure_residuals(
        unit, pixels, measured, candidates=candidates, solution=solution, reference=reference,
        color_term=color_term, zero_point=zero_point, shape=shape,
    )  # fmt: skip
    rows = {
        "calexp": [{**key, **calexp}],
        "calexp_residual": [{**key, **residuals}],
        "source": source_rows(key, sources, reference, pairs, calexp),
    }
    if pixels.streaks:
        rows["streak"] = streak_rows(key, pixels.streaks, solution.wcs, calexp)
    if pixels.plateau is not None:
        rows["calexp_saturation"] = [{**key, **saturation_row(raw, pixels.plateau)}]
    return Outputs(rows=rows, files={"calexp": exposure}, n_pix=pixels.image.size)


def check_sources(detections: Detections, config: CalibrateConfig) -> None:
    """Refuse exposures that show hardly a source."""
    if len(detections) < config.min_source:
        raise DataError(
            "exposure is nearly empty",
            n_source=len(detections), n_required=config.min_source, detection_sigma=config.detection_sigma,
        )  # fmt: skip


def check_psf(shape: PsfShape, config: CalibrateConfig) -> None:
    """Refuse exposures that no difference image can come from."""
    ellipticity = float(np.hypot(shape.e1, shape.e2))
    if not (np.isfinite([shape.fwhm_pix, shape.fwhm_det_pix, ellipticity]).all() and shape.fwhm_det_pix > 0.5):
        raise DataError(
            "the PSF model has no width: too few good stars, or stars too narrow for their pixels",
            psf_fwhm_pix=shape.fwhm_pix, psf_fwhm_det_pix=shape.fwhm_det_pix, psf_ellipticity=ellipticity,
        )  # fmt: skip
    if ellipticity > config.psf.max_ellipticity:
        raise DataError("exposure is trailed", psf_ellipticity=ellipticity, limit=config.psf.max_ellipticity)
    widest = config.psf.size_pix / config.psf.size_min_fwhm
    if shape.fwhm_pix > widest:
        raise DataError(
            "PSF is too wide for [calibrate.psf] size_pix",
            psf_fwhm_pix=shape.fwhm_pix,
            limit_pix=widest,
            psf_size_pix=config.psf.size_pix,
        )


def _reference_at_epoch(unit: Mapping[str, Any], refcat: pa.Table) -> dict[str, Any]:
    """Return the reference stars as float columns, moved to the epoch of the exposure."""
    if unit["n_catalogue_star"] == 0:
        raise DataError("the survey has no reference catalog", n_catalogue_star=0, needed="dbpipe refcat SURVEY FILE")
    if len(refcat) == 0:
        raise DataError(
            "no reference star in the field", n_reference=0, n_catalogue_star=unit["n_catalogue_star"],
            ra=unit["ra"], dec=unit["dec"], radius_deg=unit["radius_deg"],
        )  # fmt: skip
    names = [name for name in refcat.column_names if name not in ("reference_id", "bands", "magnitudes_ab")]
    columns = {name: refcat[name].to_numpy(zero_copy_only=False).astype(float) for name in names}
    columns["ra"], columns["dec"] = apply_proper_motion(
        columns["ra"], columns["dec"], columns.pop("pm_ra_mas_per_yr"), columns.pop("pm_dec_mas_per_yr"),
        columns.pop("epoch_mjd_tai"), unit["midpoint_mjd_tai"],
    )  # fmt: skip
    pair, color = reference_colors(refcat, unit["band"])
    return {"reference_id": refcat["reference_id"].to_numpy(), **columns, "color_pair": pair, "color": color}


def _check_band(reference: Mapping[str, Any], refcat: pa.Table, band: str) -> None:
    """Refuse an exposure that can have no zero point, before anything is measured on it."""
    if np.isfinite(reference["magnitude_ab"]).any():
        return
    bands = sorted({name for names in refcat["bands"].to_pylist() for name in names or ()})
    raise DataError(
        f"the reference catalog has no magnitude in band {band} in this field; it has {', '.join(bands) or 'none'}",
        n_reference=len(refcat),
    )


def _solve(
    raw: RawImage,
    measured: Characterization,
    candidates: StarCandidates,
    reference: Mapping[str, Any],
    config: CalibrateConfig,
) -> AstrometrySolution:
    """Fit the WCS to the unsaturated sources with a good centroid."""
    good = candidates.is_clean & np.isfinite(measured.shapes.x_err) & (measured.psf_flux > 0)
    magnitude = reference["magnitude_ab"]
    order = np.where(np.isfinite(magnitude), magnitude, reference["brightest_magnitude_ab"])
    faintest = np.nanmax(order) if np.isfinite(order).any() else 0.0
    return solve_astrometry(
        measured.shapes.x[good], measured.shapes.y[good], measured.psf_flux[good],
        reference["ra"], reference["dec"], np.nan_to_num(order, nan=faintest),
        wcs=raw.wcs, shape=raw.image.shape, xy_err_pix=measured.shapes.x_err[good],
        max_offset_arcsec=config.astrometry.max_pointing_error_arcsec, sip_order_max=config.astrometry.sip_order_max,
    )  # fmt: skip


def _measure_sources(
    pixels: CleanPixels,
    detections: Detections,
    candidates: StarCandidates,
    measured: Characterization,
    shape: PsfShape,
    config: CalibrateConfig,
) -> dict[str, Any]:
    """Return the columns of the sources in pixels and electrons."""
    shapes, unusable = measured.shapes, pixels.unusable
    saturated = (pixels.mask & bits.SATURATED) != 0
    radius_pix = config.aperture_radius_fwhm * shape.fwhm_pix
    at: dict[str, Any] = {"x": shapes.x, "y": shapes.y}
    aperture, aperture_err = aperture_fluxes(pixels.image, pixels.variance, unusable, radius_pix=radius_pix, **at)
    near: dict[str, Any] = {"radius_pix": shape.fwhm_pix, **at}
    return {
        **at,
        "x_err": shapes.x_err, "y_err": shapes.y_err,
        "psf_flux": measured.psf_flux, "psf_flux_err": measured.psf_flux_err,
        "aperture_flux": aperture, "aperture_flux_err": aperture_err,
        "ixx_pix2": shapes.ixx, "iyy_pix2": shapes.iyy, "ixy_pix2": shapes.ixy,
        "is_star": candidates.is_star, "is_psf_star": measured.is_psf_star,
        "is_saturated": touches(saturated, **near), "is_bad": touches(unusable & ~saturated, **near),
        "is_edge": ~is_inside(unusable.shape, shapes.x, shapes.y, margin_pix=config.psf.size_pix // 2),
        "is_blended": detections.is_deblended | (candidates.share > 0.1),
        "is_clean": is_clean(unusable, **near),
        "aperture_radius_pix": radius_pix,
    }  # fmt: skip


def _match_sources(
    sources: Mapping[str, Any],
    reference: Mapping[str, Any],
    solution: AstrometrySolution,
    shape: PsfShape,
    pixels: CleanPixels,
) -> tuple[np.ndarray, np.ndarray]:
    """Match sources and reference stars on the sky."""
    fwhm_arcsec = shape.fwhm_pix * pixel_scale_arcsec(solution.wcs, pixels.image.shape)
    radius_arcsec = max(0.5 * fwhm_arcsec, 5.0 * solution.rms_arcsec)
    return match_sky(sources["ra"], sources["dec"], reference["ra"], reference["dec"], radius_arcsec=radius_arcsec)


def _fit_zero_point(
    sources: Mapping[str, Any],
    reference: Mapping[str, Any],
    pairs: tuple[np.ndarray, np.ndarray],
    band: str,
    config: CalibrateConfig,
) -> tuple[ZeroPoint, ColorTerm | None]:
    """Fit the zero point to the good stars, at the reference color where the color matters."""
    flux, flux_err = sources["psf_flux"][pairs[0]], sources["psf_flux_err"][pairs[0]]
    good = sources["is_clean"][pairs[0]] & sources["is_star"][pairs[0]]
    good &= flux > config.zero_point.min_signal_to_noise * flux_err
    flux, flux_err, star = flux[good], flux_err[good], pairs[1][good]
    magnitude, magnitude_err = reference["magnitude_ab"][star], reference["magnitude_err"][star]
    color_term = None
    if np.isfinite(reference["color"]).any():
        reference_color = config.zero_point.reference_colors.get(band, float(np.nanmedian(reference["color"])))
        color_term = fit_color_term(
            magnitude + 2.5 * np.log10(flux),
            np.hypot(2.5 / math.log(10.0) * flux_err / flux, np.nan_to_num(magnitude_err)),
            reference["color"][star],
            reference_color=reference_color, fixed_term=config.zero_point.color_terms.get(band),
        )  # fmt: skip
        if color_term is not None and color_term.is_applied:
            magnitude = magnitude - color_term.term * (reference["color"][star] - reference_color)
    try:
        return fit_zero_point(flux, flux_err, magnitude, reference_mag_err=magnitude_err), color_term
    except DataError as error:
        raise DataError(
            error.message, **error.numbers,
            n_matched=len(pairs[0]), n_clean=len(flux), min_signal_to_noise=config.zero_point.min_signal_to_noise,
        ) from error  # fmt: skip
