"""Calibrate one exposure: sky, noise, defects, PSF, sources, WCS and zero point."""

import math
from dataclasses import dataclass, field, replace

import numpy as np

from dbpipe.errors import DataError
from dbpipe.ids import source_ids
from dbpipe.imaging import mask as bits
from dbpipe.imaging.background import fit_background
from dbpipe.imaging.characterize import (
    characterize,
    find_star_candidates,
    is_clean,
    is_inside,
    touches,
)
from dbpipe.imaging.cosmic_rays import find_cosmic_rays
from dbpipe.imaging.defects import find_bleeds, find_dead_pixels, find_halos, grow_saturated
from dbpipe.imaging.detection import detect_sources
from dbpipe.imaging.photometry import aperture_fluxes, depth_5sigma_mag, fit_aperture_correction, fit_zero_point
from dbpipe.imaging.psf import measure_psf
from dbpipe.imaging.streaks import Streak, find_streaks, streak_mask
from dbpipe.imaging.trends import fit_colour_term
from dbpipe.imaging.variance import measure_white_noise, model_variance
from dbpipe.io.exposure import Exposure
from dbpipe.io.fits import read_raw
from dbpipe.io.instrument import load_instrument
from dbpipe.io.wcs_text import wcs_to_text
from dbpipe.sky.astrometry import solve_astrometry
from dbpipe.sky.healpix import hpx29
from dbpipe.sky.matching import match_sky
from dbpipe.sky.sphere import apply_proper_motion
from dbpipe.sky.wcs import corners, pixel_scale_arcsec, pixel_to_sky
from dbpipe.stage import Outputs, Stage
from dbpipe.stages.ingest import INSTRUMENT_FILE
from dbpipe.stages.residuals import measure_residuals, reference_colours
from dbpipe.units import FWHM_PER_SIGMA

NOISE_TOLERANCE = 1.05
"""Measured over expected variance up to which the description of the instrument is believed."""


@dataclass(frozen=True)
class CalibrateConfig:
    """Settings of the calibrate stage."""

    background_bin_pix: int = 128
    """Side of the bins in which the sky is averaged [pix]."""
    detection_sigma: float = 5.0
    """Threshold of the source detection, in standard deviations of the lightly smoothed image."""
    find_cosmic_rays: bool = True
    """Look for cosmic rays; not needed where another program took them out, or a simulation has none."""
    cosmic_ray_sigma: float = 5.0
    """Threshold of the cosmic-ray search, in standard deviations."""
    find_streaks: bool = True
    """Look for satellites."""
    halo_scale: float = 0.5
    """Radius of a saturated star's halo beyond two FWHM, in square roots of the saturated area."""
    psf_size_pix: int = 41
    """Side of the PSF images, odd [pix]."""
    psf_degree_max: int = 2
    """Largest degree of the PSF's change across the image; fewer than 30 (10) stars allow 1 (0)."""
    psf_star_max: int = 200
    """Most stars that make the PSF model."""
    psf_size_min_fwhm: float = 4.0
    """An exposure whose PSF image would be narrower than this many FWHM is refused."""
    max_ellipticity: float = 0.6
    """An exposure with a PSF ellipticity (a^2 - b^2) / (a^2 + b^2) above this is refused as trailed; 0.6: b = a / 2."""
    min_source: int = 8
    """An exposure with fewer sources is refused as empty."""
    max_pointing_error_arcsec: float = 60.0
    """How far the header's WCS may be off; the reference stars are fetched with a margin of 72 arcsec."""
    sip_order_max: int = 3
    """Largest degree of the fitted distortion."""
    aperture_radius_fwhm: float = 1.5
    """Radius of the aperture flux, in FWHM."""
    zero_point_min_signal_to_noise: float = 20.0
    """Fainter stars do not enter the zero point."""
    colour_terms: dict[str, float] = field(default_factory=dict)
    """Known colour terms by band [mag/mag]: catalogue minus instrumental magnitude = zero point + term (colour -
    reference colour), the colour being bluer band minus the band; others are measured and used where significant."""
    reference_colours: dict[str, float] = field(default_factory=dict)
    """By band, the colour at which zero points and fluxes hold [mag]; others: the median of the field's catalogue."""

    def __post_init__(self):
        if self.psf_size_pix % 2 == 0 or self.psf_size_pix < 11:
            raise ValueError(f"psf_size_pix must be odd and at least 11, found {self.psf_size_pix}")


@dataclass(frozen=True)
class CleanPixels:
    """A calibrated image on its way."""

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    sky_e: np.ndarray
    median_sky_e: float
    noise_e: float
    read_noise_e: float
    streaks: tuple[Streak, ...] = ()

    @property
    def is_bad(self):
        """Dead pixels; unlike `unusable` without the saturated ones, whose stars are found but not measured."""
        return (self.mask & bits.BAD) != 0

    @property
    def unusable(self):
        return (self.mask & bits.UNFIT) != 0


def calibrate(unit, inputs, config):
    """Calibrate one raw exposure against the reference catalogue.

    Parameters
    ----------
    unit : visit, detector, path, band, midpoint_mjd_tai, parallactic_angle_deg or None, ra, dec, radius_deg,
        n_catalogue_star
    inputs : refcat, reference stars of the field with the magnitude of the band, and all their bands and magnitudes
    """
    reference = _reference_at_epoch(unit, inputs["refcat"])
    instrument = load_instrument(INSTRUMENT_FILE)
    raw = read_raw(unit["path"], instrument)
    pixels = clean_pixels(raw, instrument.bleed, config)
    detections = detect_sources(pixels.image, pixels.variance, pixels.is_bad, threshold_sigma=config.detection_sigma)
    if len(detections) < config.min_source:
        raise DataError("exposure is nearly empty", n_source=len(detections), n_required=config.min_source)
    pixels, candidates = flag_after_detection(pixels, detections, config)
    measured = characterize(
        pixels.image, pixels.variance, pixels.unusable,
        candidates=candidates, size=config.psf_size_pix,
        degree_max=config.psf_degree_max, n_star_max=config.psf_star_max,
    )  # fmt: skip
    ny, nx = pixels.image.shape
    shape = measure_psf(measured.psf.at((nx - 1) / 2, (ny - 1) / 2))
    _check_psf(shape, config)
    solution = _solve(raw, measured, candidates, reference, config)
    sources = _measure_sources(pixels, detections, candidates, measured, shape, config)
    sources["ra"], sources["dec"] = pixel_to_sky(solution.wcs, sources["x"], sources["y"])
    pairs = _match_sources(sources, reference, solution, shape, pixels)
    zero_point, colour_term = _fit_zero_point(sources, reference, pairs, unit["band"], config)
    calexp = _summarize(pixels, measured, shape, solution, zero_point, sources)
    exposure = Exposure(
        pixels.image, pixels.variance, pixels.mask, solution.wcs, measured.psf, _metadata(unit, raw, calexp)
    )
    key = {"visit": unit["visit"], "detector": unit["detector"]}
    residuals = measure_residuals(
        unit, pixels, measured, candidates=candidates, solution=solution, reference=reference,
        colour_term=colour_term, zero_point=zero_point, shape=shape,
    )  # fmt: skip
    rows = {
        "calexp": [{**key, **calexp}],
        "calexp_residual": [{**key, **residuals}],
        "source": _source_rows(key, sources, reference, pairs, calexp),
    }
    if pixels.streaks:
        rows["streak"] = _streak_rows(key, pixels.streaks, solution.wcs, calexp)
    return Outputs(rows=rows, files={"calexp": exposure}, n_pix=pixels.image.size)


def clean_pixels(raw, bleed, config):
    """Subtract the sky, model the variance and mask what no detection is needed for."""
    saturated = grow_saturated(raw.saturated, bleed)
    sky = fit_background(raw.image, raw.bad | saturated, bin_pix=config.background_bin_pix)
    bad = raw.bad | find_dead_pixels(raw.image, sky.level, sky.noise_e)
    if (bad & ~raw.bad).any():
        sky = fit_background(raw.image, bad | saturated, bin_pix=config.background_bin_pix)
    image = np.where(bad, np.float32(0), raw.image - sky.level)
    read_noise_e = _effective_read_noise(raw, image, bad | saturated, sky.median_e)
    variance = model_variance(image, sky.level, read_noise_e)
    mask = np.uint16(bits.BAD) * bad + np.uint16(bits.SATURATED) * saturated
    mask += np.uint16(bits.BLEED) * find_bleeds(saturated)
    return CleanPixels(image, variance, mask, sky.level, sky.median_e, sky.noise_e, read_noise_e)


def _effective_read_noise(raw, image, unusable, sky_e):
    """Return the read noise, or what it must be where the image is noisier than sky and read noise explain.

    A bias frame or a dark that was subtracted adds its noise, and descriptions of instruments err.
    """
    expected = max(sky_e, 0.0) + raw.read_noise_e**2
    measured = measure_white_noise(image, unusable) ** 2
    return raw.read_noise_e if measured < NOISE_TOLERANCE * expected else float(np.sqrt(measured - max(sky_e, 0.0)))


def flag_after_detection(pixels, detections, config):
    """Add footprints, halos, streaks and cosmic rays to the mask, which need the seeing, and find the stars."""

    def candidates_of(unusable):
        return find_star_candidates(
            pixels.image, pixels.variance, unusable, detections=detections, noise_e=pixels.noise_e
        )

    candidates = candidates_of(pixels.unusable)
    fwhm_pix = FWHM_PER_SIGMA * candidates.locus.sigma_pix
    mask = pixels.mask.copy()
    mask[detections.footprints] |= bits.DETECTED
    mask[find_halos((mask & bits.SATURATED) != 0, fwhm_pix, halo_scale=config.halo_scale)] |= bits.NEAR_SATURATED
    streaks = ()
    if config.find_streaks:
        doubtful = (mask & (bits.UNUSABLE | bits.NEAR_SATURATED)) != 0
        streaks = tuple(find_streaks(pixels.image, pixels.variance, doubtful, fwhm_pix=fwhm_pix))
        mask[streak_mask(mask.shape, streaks)] |= bits.STREAK
    if config.find_cosmic_rays:
        # edges of bleeds look like cosmic rays, and halos are flagged anyway
        hit = find_cosmic_rays(
            pixels.image, (mask & (bits.UNFIT | bits.NEAR_SATURATED)) != 0,
            sky_e=pixels.sky_e, read_noise_e=pixels.read_noise_e, sigma=config.cosmic_ray_sigma,
        )  # fmt: skip
        mask[hit] |= bits.COSMIC_RAY
    if (mask & (bits.COSMIC_RAY | bits.STREAK)).any():
        candidates = candidates_of((mask & bits.UNFIT) != 0)
    return replace(pixels, mask=mask, streaks=streaks), candidates


def _check_psf(shape, config):
    """Refuse exposures that no difference image can come from."""
    ellipticity = float(np.hypot(shape.e1, shape.e2))
    if ellipticity > config.max_ellipticity:
        raise DataError("exposure is trailed", psf_ellipticity=ellipticity, limit=config.max_ellipticity)
    widest = config.psf_size_pix / config.psf_size_min_fwhm
    if shape.fwhm_pix > widest:
        raise DataError("PSF is too wide for psf_size_pix", psf_fwhm_pix=shape.fwhm_pix, limit_pix=widest)


def _reference_at_epoch(unit, refcat):
    """Return the reference stars as float columns, moved to the epoch of the exposure."""
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
    pair, colour = reference_colours(refcat, unit["band"])
    return {"reference_id": refcat["reference_id"].to_numpy(), **columns, "colour_pair": pair, "colour": colour}


def _solve(raw, measured, candidates, reference, config):
    """Fit the WCS to the unsaturated sources with a good centroid."""
    good = candidates.is_clean & np.isfinite(measured.shapes.x_err) & (measured.psf_flux > 0)
    magnitude = reference["magnitude_ab"]
    order = np.where(np.isfinite(magnitude), magnitude, reference["brightest_magnitude_ab"])
    faintest = np.nanmax(order) if np.isfinite(order).any() else 0.0
    return solve_astrometry(
        measured.shapes.x[good], measured.shapes.y[good], measured.psf_flux[good],
        reference["ra"], reference["dec"], np.nan_to_num(order, nan=faintest),
        wcs=raw.wcs, shape=raw.image.shape, xy_err_pix=measured.shapes.x_err[good],
        max_offset_arcsec=config.max_pointing_error_arcsec, sip_order_max=config.sip_order_max,
    )  # fmt: skip


def _measure_sources(pixels, detections, candidates, measured, shape, config):
    """Return the columns of the sources in pixels and electrons."""
    shapes, unusable = measured.shapes, pixels.unusable
    saturated = (pixels.mask & bits.SATURATED) != 0
    radius_pix = config.aperture_radius_fwhm * shape.fwhm_pix
    at = {"x": shapes.x, "y": shapes.y}
    aperture, aperture_err = aperture_fluxes(pixels.image, pixels.variance, unusable, radius_pix=radius_pix, **at)
    near = {"radius_pix": shape.fwhm_pix, **at}
    return {
        **at,
        "x_err": shapes.x_err, "y_err": shapes.y_err,
        "psf_flux": measured.psf_flux, "psf_flux_err": measured.psf_flux_err,
        "aperture_flux": aperture, "aperture_flux_err": aperture_err,
        "ixx_pix2": shapes.ixx, "iyy_pix2": shapes.iyy, "ixy_pix2": shapes.ixy,
        "is_star": candidates.is_star, "is_psf_star": measured.is_psf_star,
        "is_saturated": touches(saturated, **near), "is_bad": touches(unusable & ~saturated, **near),
        "is_edge": ~is_inside(unusable.shape, shapes.x, shapes.y, margin_pix=config.psf_size_pix // 2),
        "is_blended": detections.is_deblended | (candidates.share > 0.1),
        "is_clean": is_clean(unusable, **near),
        "aperture_radius_pix": radius_pix,
    }  # fmt: skip


def _match_sources(sources, reference, solution, shape, pixels):
    """Match sources and reference stars on the sky."""
    fwhm_arcsec = shape.fwhm_pix * pixel_scale_arcsec(solution.wcs, pixels.image.shape)
    radius_arcsec = max(0.5 * fwhm_arcsec, 5.0 * solution.rms_arcsec)
    return match_sky(sources["ra"], sources["dec"], reference["ra"], reference["dec"], radius_arcsec=radius_arcsec)


def _fit_zero_point(sources, reference, pairs, band, config):
    """Fit the zero point to the good stars, at the reference colour where the colour matters."""
    flux, flux_err = sources["psf_flux"][pairs[0]], sources["psf_flux_err"][pairs[0]]
    good = sources["is_clean"][pairs[0]] & sources["is_star"][pairs[0]]
    good &= flux > config.zero_point_min_signal_to_noise * flux_err
    flux, flux_err, star = flux[good], flux_err[good], pairs[1][good]
    magnitude, magnitude_err = reference["magnitude_ab"][star], reference["magnitude_err"][star]
    colour_term = None
    if np.isfinite(reference["colour"]).any():
        reference_colour = config.reference_colours.get(band, float(np.nanmedian(reference["colour"])))
        colour_term = fit_colour_term(
            magnitude + 2.5 * np.log10(flux),
            np.hypot(2.5 / math.log(10.0) * flux_err / flux, np.nan_to_num(magnitude_err)),
            reference["colour"][star],
            reference_colour=reference_colour, fixed_term=config.colour_terms.get(band),
        )  # fmt: skip
        if colour_term is not None and colour_term.is_applied:
            magnitude = magnitude - colour_term.term * (reference["colour"][star] - reference_colour)
    return fit_zero_point(flux, flux_err, magnitude, reference_mag_err=magnitude_err), colour_term


def _summarize(pixels, measured, shape, solution, zero_point, sources):
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


def _metadata(unit, raw, calexp):
    """Return the header cards of the calibrated image."""
    return {
        "VISIT": unit["visit"], "DETECTOR": unit["detector"], "BAND": unit["band"], "BUNIT": "electron",
        "MJDTAI": unit["midpoint_mjd_tai"], "EXPTIME": raw.exposure_s,
        "NJYPERE": calexp["njy_per_e"], "ZEROPT": calexp["zero_point_mag"], "PSFFWHM": calexp["psf_fwhm_pix"],
        "SKYE": calexp["sky_e"], "SKYNOISE": calexp["sky_noise_e"], "READNOIS": raw.read_noise_e,
        "APCORR": calexp["aperture_correction"], "APRADIUS": calexp["aperture_radius_pix"],
        "ASTRRMS": calexp["astrom_rms_arcsec"],
    }  # fmt: skip


def _source_rows(key, sources, reference, pairs, calexp):
    """Return the rows of the source table as columns."""
    n, factor = len(sources["x"]), calexp["njy_per_e"]
    aperture_factor = factor * calexp["aperture_correction"]
    reference_id = [None] * n
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


def _streak_rows(key, streaks, wcs, calexp):
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


CALIBRATE = Stage(
    "calibrate",
    key=("visit", "detector"),
    version=8,
    writes=("calexp", "calexp_residual", "source", "streak"),
    run=calibrate,
    config=CalibrateConfig,
    inputs=("refcat",),
)
