"""What the calibrate stage writes: rows of its tables and the header of its image."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.wcs import WCS

from dbpipe.ids import source_ids
from dbpipe.imaging import mask as bits
from dbpipe.imaging.clean.plateau import Plateau
from dbpipe.imaging.clean.streaks import Streak
from dbpipe.imaging.measure.characterize import Characterization
from dbpipe.imaging.measure.photometry import ZeroPoint, depth_5sigma_mag, fit_aperture_correction
from dbpipe.imaging.psf.model import PsfShape
from dbpipe.io.raw.image import RawImage
from dbpipe.io.wcs_text import wcs_to_text
from dbpipe.sky.astrometry.fit import AstrometrySolution
from dbpipe.sky.healpix import hpx29
from dbpipe.sky.wcs import corners, pixel_scale_arcsec, pixel_to_sky
from dbpipe.stages.calibrate.pixels import CleanPixels


def summarize(
    pixels: CleanPixels,
    measured: Characterization,
    shape: PsfShape,
    solution: AstrometrySolution,
    zero_point: ZeroPoint,
    sources: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the calexp row without its key."""
    ny, nx = size = pixels.image.shape
    ra, dec = pixel_to_sky(solution.wcs, (nx - 1) / 2, (ny - 1) / 2)
    corner_ra, corner_dec = corners(solution.wcs, size)
    scale = pixel_scale_arcsec(solution.wcs, size)
    star = sources["is_psf_star"]
    return {
        "nx": nx, "ny": ny, "wcs": wcs_to_text(solution.wcs), "ra": float(ra), "dec": float(dec),
        "corner_ra": corner_ra.tolist(), "corner_dec": corner_dec.tolist(), "pixel_scale_arcsec": scale,
        "psf_fwhm_pix": shape.fwhm_pix, "psf_fwhm_arcsec": shape.fwhm_pix * scale,
        "psf_fwhm_det_pix": shape.fwhm_det_pix, "psf_e1": shape.e1, "psf_e2": shape.e2,
        "psf_effective_area_pix": shape.effective_area_pix,
        "psf_order": measured.psf.degree, "n_psf_star": int(star.sum()),
        "sky_e": pixels.median_sky_e, "sky_noise_e": pixels.noise_e,
        "aperture_radius_pix": sources["aperture_radius_pix"],
        "aperture_correction": fit_aperture_correction(sources["psf_flux"][star], sources["aperture_flux"][star]),
        "njy_per_e": zero_point.njy_per_e, "njy_per_e_err": zero_point.njy_per_e_err,
        "zero_point_mag": zero_point.magnitude, "zero_point_scatter_mag": zero_point.scatter_mag,
        "n_zero_point_star": int(zero_point.is_used.sum()),
        "depth_5sigma_mag": depth_5sigma_mag(pixels.noise_e, shape.effective_area_pix, zero_point.njy_per_e),
        "astrom_rms_arcsec": solution.rms_arcsec, "n_astrom_star": solution.n_star, "sip_order": solution.sip_order,
        "wcs_offset_arcsec": solution.offset_arcsec, "wcs_rotation_deg": solution.rotation_deg,
        "n_source": len(sources["x"]), "fraction_masked": float(np.mean((pixels.mask & bits.UNUSABLE) != 0)),
        "n_cosmic_ray_pix": int(np.count_nonzero(pixels.mask & bits.COSMIC_RAY)),
        "n_saturated_pix": int(np.count_nonzero(pixels.mask & bits.SATURATED)),
    }  # fmt: skip


def header_cards(unit: Mapping[str, Any], raw: RawImage, calexp: Mapping[str, Any]) -> dict[str, Any]:
    """Return the header cards of the calibrated image."""
    return {
        "VISIT": unit["visit"], "DETECTOR": unit["detector"], "BAND": unit["band"], "BUNIT": "electron",
        "MJDTAI": unit["midpoint_mjd_tai"], "EXPTIME": raw.exposure_s,
        "NJYPERE": calexp["njy_per_e"], "ZEROPT": calexp["zero_point_mag"], "PSFFWHM": calexp["psf_fwhm_pix"],
        "SKYE": calexp["sky_e"], "SKYNOISE": calexp["sky_noise_e"], "READNOIS": raw.read_noise_e,
        "APCORR": calexp["aperture_correction"], "APRADIUS": calexp["aperture_radius_pix"],
        "ASTRRMS": calexp["astrom_rms_arcsec"],
    }  # fmt: skip


def source_rows(
    key: Mapping[str, int],
    sources: Mapping[str, Any],
    reference: Mapping[str, Any],
    pairs: tuple[np.ndarray, np.ndarray],
    calexp: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the rows of the source table as columns."""
    n, factor = len(sources["x"]), calexp["njy_per_e"]
    aperture_factor = factor * calexp["aperture_correction"]
    reference_id: list[int | None] = [None] * n
    for source, star in zip(*pairs, strict=True):
        reference_id[source] = int(reference["reference_id"][star])
    copied = ("x", "y", "x_err", "y_err", "ra", "dec", "ixx_pix2", "iyy_pix2", "ixy_pix2", "is_star", "is_psf_star",
              "is_saturated", "is_edge", "is_blended", "is_bad")  # fmt: skip
    return {
        "source_id": source_ids(key["visit"], key["detector"], n),
        **{name: np.full(n, value) for name, value in key.items()},
        **{name: sources[name] for name in copied},
        "hpx29": hpx29(sources["ra"], sources["dec"]),
        "psf_flux_njy": factor * sources["psf_flux"],
        "psf_flux_err_njy": factor * sources["psf_flux_err"],
        "aperture_flux_njy": aperture_factor * sources["aperture_flux"],
        "aperture_flux_err_njy": aperture_factor * sources["aperture_flux_err"],
        "reference_id": reference_id,
    }


def streak_rows(
    key: Mapping[str, int], streaks: tuple[Streak, ...], wcs: WCS, calexp: Mapping[str, Any]
) -> list[dict[str, float]]:
    """Return the rows of the streak table."""
    scale, factor = calexp["pixel_scale_arcsec"], calexp["njy_per_e"]
    rows = []
    for number, streak in enumerate(streaks):
        ra, dec = pixel_to_sky(wcs, np.array([streak.x0, streak.x1]), np.array([streak.y0, streak.y1]))
        rows.append({
            **key, "streak_number": number,
            "x0": streak.x0, "y0": streak.y0, "x1": streak.x1, "y1": streak.y1,
            "ra0": ra[0], "dec0": dec[0], "ra1": ra[1], "dec1": dec[1],
            "length_arcsec": streak.length_pix * scale, "fwhm_arcsec": streak.fwhm_pix * scale,
            "mask_width_arcsec": 2.0 * streak.mask_half_width_pix * scale,
            "brightness_njy_per_arcsec": streak.brightness * factor / scale,
            "brightness_err_njy_per_arcsec": streak.brightness_err * factor / scale,
            "line_snr": streak.snr,
        })  # fmt: skip
    return rows


def saturation_row(raw: RawImage, plateau: Plateau) -> dict[str, float]:
    """Return the row of calexp_saturation without its key."""
    return {
        "described_e": raw.saturation_e, "found_e": plateau.level_e, "lowest_e": plateau.lowest_e,
        "n_flat_top": plateau.n_top, "n_pix": plateau.n_pix,
    }  # fmt: skip
