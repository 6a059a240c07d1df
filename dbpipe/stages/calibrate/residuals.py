"""What the stars of a calibrated exposure show beyond its calibration: the row of calexp_residual."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.imaging import mask as bits
from dbpipe.imaging.mask_near import touches
from dbpipe.imaging.measure.characterize import Characterization, StarCandidates
from dbpipe.imaging.measure.photometry import ZeroPoint, aperture_fluxes
from dbpipe.imaging.measure.trends import ColorTerm, Flatness, color_pair, fit_flatness, fit_refraction
from dbpipe.imaging.psf.growth import Growth, bright_stars, measure_growth
from dbpipe.imaging.psf.model import PsfShape
from dbpipe.sky.astrometry.fit import AstrometrySolution
from dbpipe.sky.wcs import sky_to_pixel
from dbpipe.stages.calibrate.pixels import CleanPixels

LARGE_APERTURE_FWHM = 2.5
SKY_FWHM = 4.5
"""The level around a star is that between the aperture and here: faint neighbors lift it."""
FLATNESS_SIGNAL_TO_NOISE = 50.0
GROWTH_FLUX_NOISE = 1000.0
"""Stars fainter than this many times the noise of a pixel of the sky show no wings."""
SATURATED_WITHIN_FWHM = 1.5


def reference_colors(refcat: pa.Table, band: str) -> tuple[tuple[str, str] | None, np.ndarray]:
    """Return the pair of bands (blue, red) or None, and the color of each reference star [mag], NaN where unknown."""
    stars = [
        dict(zip(bands or (), magnitudes or (), strict=True))
        for bands, magnitudes in zip(refcat["bands"].to_pylist(), refcat["magnitudes_ab"].to_pylist(), strict=True)
    ]
    pair = color_pair(band, {name for star in stars for name in star})
    if pair is None:
        return None, np.full(len(stars), np.nan)
    blue, red = pair
    return pair, np.array([star.get(blue, np.nan) - star.get(red, np.nan) for star in stars])


def measure_residuals(
    unit: Mapping[str, Any],
    pixels: CleanPixels,
    measured: Characterization,
    *,
    candidates: StarCandidates,
    solution: AstrometrySolution,
    reference: Mapping[str, Any],
    color_term: ColorTerm | None,
    zero_point: ZeroPoint,
    shape: PsfShape,
) -> dict[str, Any]:
    """Return the row of calexp_residual without its key.

    Parameters
    ----------
    unit, pixels, measured, candidates, solution, reference, zero_point, shape : as in `calibrate`
    color_term : ColorTerm or None
    """
    growth = _growth(pixels, measured, solution, reference, zero_point, shape.fwhm_pix)
    flatness = _flatness(pixels, measured, candidates, shape.fwhm_pix)
    blue, red = reference["color_pair"] or (None, None)
    return {
        "astrom_held_out_rms_arcsec": solution.held_out_rms_arcsec,
        "total_flux_ratio": None if growth is None else growth.ratio,
        "total_flux_ratio_err": None if growth is None else growth.ratio_err,
        "n_total_flux_star": 0 if growth is None else growth.n_star,
        "color_blue": blue, "color_red": red,
        **_color_columns(color_term),
        **_refraction_columns(unit, solution, reference),
        "aperture_offset_mag": None if flatness is None else flatness.offset_mag,
        "aperture_slope_mag": None if flatness is None else flatness.slope_mag,
        "aperture_slope_err_mag": None if flatness is None else flatness.slope_err_mag,
        "aperture_mag_per_mag": None if flatness is None else flatness.mag_per_mag,
        "aperture_mag_per_mag_err": None if flatness is None else flatness.mag_per_mag_err,
        "aperture_scatter_mag": None if flatness is None else flatness.scatter_mag,
        "n_aperture_star": 0 if flatness is None else flatness.n_star,
    }  # fmt: skip


def _growth(
    pixels: CleanPixels,
    measured: Characterization,
    solution: AstrometrySolution,
    reference: Mapping[str, Any],
    zero_point: ZeroPoint,
    fwhm_pix: float,
) -> Growth | None:
    """Measure the curve of growth on the reference stars: they are known where the image is saturated, too."""
    x, y = sky_to_pixel(solution.wcs, reference["ra"], reference["dec"])
    flux = 10.0 ** (-0.4 * (reference["magnitude_ab"] - zero_point.magnitude))
    stars, _ = bright_stars(
        x, y, flux, shape=pixels.image.shape, flux_min=GROWTH_FLUX_NOISE * pixels.noise_e, margin_pix=2.0 * fwhm_pix
    )
    is_saturated = touches(
        (pixels.mask & bits.SATURATED) != 0, stars.x, stars.y, radius_pix=SATURATED_WITHIN_FWHM * fwhm_pix
    )
    return measure_growth(
        measured.residual, pixels.variance, pixels.unusable, stars,
        is_saturated=is_saturated, fwhm_pix=fwhm_pix, half_pix=measured.psf.size / 2.0,
    )  # fmt: skip


def _flatness(
    pixels: CleanPixels, measured: Characterization, candidates: StarCandidates, fwhm_pix: float
) -> Flatness | None:
    """Compare PSF and large-aperture fluxes of single stars, with all sources subtracted."""
    with np.errstate(invalid="ignore"):
        bright = measured.psf_flux > FLATNESS_SIGNAL_TO_NOISE * measured.psf_flux_err
    chosen = np.flatnonzero(bright & candidates.is_clean & candidates.is_star & (candidates.share < 0.1))
    if not chosen.size:
        return None
    x, y = measured.shapes.x[chosen], measured.shapes.y[chosen]
    (inner, inner_err), (outer, outer_err) = (
        aperture_fluxes(measured.residual, pixels.variance, pixels.unusable, x=x, y=y, radius_pix=radius * fwhm_pix)
        for radius in (LARGE_APERTURE_FWHM, SKY_FWHM)
    )
    share = LARGE_APERTURE_FWHM**2 / (SKY_FWHM**2 - LARGE_APERTURE_FWHM**2)
    lack_err = np.hypot(inner_err, share * np.sqrt(np.maximum(outer_err**2 - inner_err**2, 0.0)))
    return fit_flatness(
        x, y, measured.psf_flux[chosen],
        lack=inner - share * (outer - inner), lack_err=lack_err, shape=pixels.image.shape,
    )  # fmt: skip


def _color_columns(color_term: ColorTerm | None) -> dict[str, Any]:
    """Return the columns of the color term."""
    if color_term is None:
        names = ("reference_color_mag", "color_term", "color_term_err",
                 "scatter_before_color_mag", "scatter_after_color_mag")  # fmt: skip
        return {**dict.fromkeys(names), "color_term_is_applied": False, "n_color_star": 0}
    return {
        "reference_color_mag": color_term.reference_color_mag,
        "color_term": color_term.term, "color_term_err": color_term.term_err,
        "color_term_is_applied": color_term.is_applied,
        "scatter_before_color_mag": color_term.scatter_before_mag,
        "scatter_after_color_mag": color_term.scatter_after_mag,
        "n_color_star": color_term.n_star,
    }  # fmt: skip


def _refraction_columns(
    unit: Mapping[str, Any], solution: AstrometrySolution, reference: Mapping[str, Any]
) -> dict[str, float | None]:
    """Return the columns of the displacement by color, NULL where color or direction is unknown."""
    angle, found = unit["parallactic_angle_deg"], None
    if angle is not None:
        color = reference["color"][solution.reference_index]
        east, north = solution.residual_mas.T
        found = fit_refraction(east, north, color, parallactic_angle_deg=angle)
    return {
        "refraction_mas_per_mag": None if found is None else found.toward_zenith,
        "refraction_err_mas_per_mag": None if found is None else found.toward_zenith_err,
        "across_mas_per_mag": None if found is None else found.across,
        "across_err_mas_per_mag": None if found is None else found.across_err,
        "n_refraction_star": 0 if found is None else found.n_star,
    }
