"""Find and measure the sources of a difference image."""

from dataclasses import dataclass

import numpy as np

from dbpipe.ids import source_ids
from dbpipe.imaging import mask as bit
from dbpipe.imaging.deblend import Splitting
from dbpipe.imaging.dia import (
    aperture_flux,
    fit_peaks,
    mask_bits,
    near_edge,
    psf_size,
    residual_of_star,
    unlike_point_source,
)
from dbpipe.imaging.dia_fit import forced_flux
from dbpipe.imaging.dipole import find_static_sources, fit_dipoles, is_dipole, second_lobes
from dbpipe.imaging.peaks import find_peaks, score_response
from dbpipe.imaging.psf_spline import spline_coefficients
from dbpipe.imaging.shapes import adaptive_moments, gaussian_moments
from dbpipe.imaging.trail import Trailing, gather_trails
from dbpipe.io.difference import read_difference
from dbpipe.sky.healpix import hpx29
from dbpipe.sky.wcs import pixel_to_sky
from dbpipe.stage import Outputs, Stage
from dbpipe.units import ARCSEC_PER_DEG, FWHM_PER_SIGMA


@dataclass(frozen=True)
class DetectConfig:
    """Settings of the detect stage."""

    keep_score: float = 4.0
    """Smallest |score| that becomes a row."""
    primary_score: float = 5.0
    """Smallest |score| of a primary detection."""
    fit_radius_fwhm: float = 2.5
    """Radius of the PSF fit, in FWHM."""
    aperture_radius_fwhm: float = 1.5
    """Radius of the aperture flux, in FWHM."""
    peak_model_error: float = 0.03
    """Part of a source's score that a second peak on its flank must exceed."""
    split_score: float = 5.0
    """Standard deviations by which the data must prefer two sources to one."""
    split_model_error: float = 0.05
    """Error of the PSF model that must not look like a second source, as a fraction."""
    trail_snr: float = 8.0
    """Smallest S/N at which a trail is tried."""
    trail_score: float = 4.5
    """Standard deviations by which the data must prefer a trail to a point."""
    shape_model_error: float = 1.0
    """Excess of chi2 that flag_shape forgives, in units of the source's S/N: blends and PSF errors stay below 1, a hot
    pixel exceeds it by the effective area of the PSF."""
    dipole_separation_fwhm: float = 1.0
    """Lobes further apart are two sources, in FWHM."""
    dipole_flux_ratio: float = 3.0
    """Largest ratio of the fluxes of a displaced source in the two images."""
    dipole_shift_fwhm: float = 0.03
    """Displacement that is usual where the registration of the image was not measured, in FWHM."""
    bright_star_fraction: float = 0.025
    """A difference below this fraction of the flux of the star beneath it is called a residual."""


def detect(unit, inputs, config):
    """Find the peaks of the score image and measure them on the difference, the science image and the template."""
    image = read_difference(unit["path"])
    return Outputs(rows={"dia_source": measure_difference(image, unit, inputs, config)}, n_pix=image.difference.size)


def measure_difference(image, unit, inputs, config):
    """Return the columns of the sources of a difference image, read from a file or just made."""
    ny, nx = image.difference.shape
    psf = image.psf_field.at((nx - 1) / 2, (ny - 1) / 2)
    size = psf_size(psf)
    radius_pix = float(np.clip(config.fit_radius_fwhm * size.fwhm_pix, 4.0, psf.shape[0] // 2))
    peaks = find_peaks(
        image.score,
        image.mask,
        response=score_response(psf),
        threshold=config.keep_score,
        model_error=config.peak_model_error,
    )
    spline = spline_coefficients(psf_stamps(image.psf_field, peaks.x, peaks.y))
    planes = (image.difference, image.variance, image.mask)
    peak, score, fit = fit_peaks(
        *planes,
        peaks=peaks,
        psf_spline=spline,
        radius_pix=radius_pix,
        fwhm_pix=size.fwhm_pix,
        threshold=config.keep_score,
        splitting=Splitting(threshold=config.split_score, model_error=config.split_model_error),
    )
    found = gather_trails(
        *planes,
        score=score,
        fit=fit,
        psf_spline=spline[peak],
        psf_moments=np.array(gaussian_moments(psf)),
        radius_pix=radius_pix,
        fwhm_pix=size.fwhm_pix,
        trailing=Trailing(min_snr=config.trail_snr, threshold=config.trail_score),
    )
    keep, score, fit = peak[found.kept], found.score, found.fit
    trail = _trail_columns(image.wcs, found, unit["njy_per_e"])
    is_trail = np.array([flag is True for flag in trail["flag_trail"]], bool)
    return {
        **_unit_columns(unit, len(keep)),
        **_position_columns(image.wcs, fit),
        **_flux_columns(fit, score, unit["njy_per_e"], config),
        **trail,
        **_measured_columns(
            image, spline[keep], fit, unit, config, radius_pix=radius_pix, size=size, psf=psf, is_trail=is_trail
        ),
        **mask_columns(image.mask, fit.x, fit.y, radius_pix=radius_pix, fwhm_pix=size.fwhm_pix),
        "flag_bright_star": residual_of_star(
            fit.x,
            fit.y,
            fit.flux * unit["njy_per_e"],
            **{f"star_{name}": inputs["stars"][name].to_numpy() for name in ("x", "y", "flux")},
            fwhm_pix=size.fwhm_pix,
            fraction=config.bright_star_fraction,
        ),
    }


def psf_stamps(psf_field, x, y):
    """Return the PSF of the difference at each place, (n, size, size)."""
    stamps = np.empty((len(x), *psf_field.kernels.shape[2:]), np.float32)
    for stamp, column, row in zip(stamps, x, y, strict=True):
        stamp[:] = psf_field.at(column, row)
    return stamps


def _unit_columns(unit, n):
    shared = {key: [unit[key]] * n for key in ("visit", "detector", "band", "template_id", "midpoint_mjd_tai")}
    return {"dia_source_id": source_ids(unit["visit"], unit["detector"], n), **shared}


def _position_columns(wcs, fit):
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


def sky_jacobian(wcs, x, y):
    """Return d(ra cos(dec), dec) / d(x, y) [deg/pix], (n, 2, 2), by differences over one pixel."""
    ra0, dec0 = pixel_to_sky(wcs, x, y)
    columns = []
    for dx, dy in ((0.5, 0.0), (0.0, 0.5)):
        ra1, dec1 = pixel_to_sky(wcs, x - dx, y - dy)
        ra2, dec2 = pixel_to_sky(wcs, x + dx, y + dy)
        across = (ra2 - ra1 + 180.0) % 360.0 - 180.0
        columns.append(np.stack([across * np.cos(np.radians(dec0)), dec2 - dec1], -1))
    return np.stack(columns, -1).reshape(len(ra0), 2, 2)


def _flux_columns(fit, score, njy_per_e, config):
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


def _trail_columns(wcs, found, njy_per_e):
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
    columns = {f"trail_{name}": _spread(n, trails.source, value) for name, value in zip(names, values, strict=True)}
    columns["trail_n_pix"] = [None if np.isnan(value) else int(value) for value in columns["trail_n_pix"]]
    flag = np.full(n, None, object)
    flag[trails.source] = trails.is_trail.tolist()
    return columns | {"flag_trail": flag.tolist()}


def _spread(n, row, values):
    """Return n values, NaN but in these rows."""
    column = np.full(n, np.nan)
    column[row] = values
    return column


def _measured_columns(image, spline, fit, unit, config, *, radius_pix, size, psf, is_trail):
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
    reach_pix = 1.5 * fwhm
    tried, *middle = second_lobes(image.score, fit.x, fit.y, reach_pix=reach_pix)
    dipole = fit_dipoles(
        *planes,
        score=image.score,
        psf_spline=spline,
        radius_pix=radius_pix,
        reach_pix=reach_pix,
        static=_static_sources(image, *middle, tried, unit, radius_pix=radius_pix, fwhm_pix=fwhm),
        **at,
    )
    scale = np.sqrt(pixel_area)
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
        "dipole_flux_njy": dipole.mean_flux * njy,
        "dipole_separation_arcsec": dipole.separation_pix * scale,
        "dipole_angle_deg": dipole.angle_deg,
        "dipole_chi2": dipole.chi2,
        "dipole_science_flux_njy": dipole.science_flux * njy,
        "dipole_template_flux_njy": dipole.template_flux * njy,
        "dipole_shift_arcsec": dipole.shift_pix * scale,
        "dipole_shift_err_arcsec": dipole.shift_err_pix * scale,
        "dipole_static_chi2": dipole.chi2_static,
        "dipole_single_chi2": dipole.chi2_single,
        "flag_dipole": is_dipole(
            dipole,
            psf_fwhm_pix=fwhm,
            shift_pix=unit["shift_pix"],
            max_separation_fwhm=config.dipole_separation_fwhm,
            max_flux_ratio=config.dipole_flux_ratio,
            max_shift_fwhm=config.dipole_shift_fwhm,
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


def _fluxes_beneath(image, fit, unit, radius_pix):
    """Forced PSF fluxes on the science image and the matched template, both with the PSF of the science image.

    The science image lacks the template's part of the noise of the difference. The template's noise is correlated over
    the kernel; its level before convolution, as if white, is an upper limit at the scale of the PSF.
    """
    spline = spline_coefficients(image.science_psf.at_many(fit.x, fit.y))
    at = {"psf_spline": spline, "x": fit.x, "y": fit.y}
    radius_pix = min(radius_pix, spline.shape[-1] // 2)
    fluxes = (forced_flux(*side, image.mask, radius_pix=radius_pix, **at)[:2] for side in sides(image, unit))
    return tuple(array for pair in fluxes for array in pair)


def sides(image, unit):
    """Science image and matched template, each with its variance."""
    template_part = unit["diff_noise_e"] ** 2 - unit["science_noise_e"] ** 2
    variance = np.maximum(image.variance - np.float32(template_part), np.float32(0.05) * image.variance)
    yield image.science, variance
    yield image.template, np.where(image.variance > 0, np.float32(unit["template_noise_e"] ** 2), np.float32(0.0))


def _static_sources(image, x, y, tried, unit, *, radius_pix, fwhm_pix):
    """What science image and template have near the middle of what may be dipoles."""
    spline = spline_coefficients(image.science_psf.at_many(x, y))
    return find_static_sources(
        *sides(image, unit),
        image.mask,
        psf_spline=spline,
        x=x,
        y=y,
        chosen=tried,
        radius_pix=min(radius_pix, spline.shape[-1] // 2),
        fwhm_pix=fwhm_pix,
    )


def mask_columns(mask, x, y, *, radius_pix, fwhm_pix):
    """Return the flags that the mask gives to sources fitted within a radius."""
    centre = mask_bits(mask, x, y, radius_pix=max(1.5, 0.5 * fwhm_pix))
    core = mask_bits(mask, x, y, radius_pix=fwhm_pix)
    return {
        "flag_edge": near_edge(mask.shape, x, y, margin_pix=radius_pix),
        "flag_saturated": (centre & bit.SATURATED) != 0,
        "flag_near_saturated": (centre & bit.NEAR_SATURATED) != 0,
        "flag_bad": (centre & bit.BAD) != 0,
        "flag_streak": (core & bit.STREAK) != 0,
        "flag_cosmic_ray": (centre & bit.COSMIC_RAY) != 0,
        "flag_no_template": (core & bit.NO_DATA) != 0,
        "flag_template_rejected": (centre & bit.REJECTED) != 0,
    }


DETECT = Stage(
    "detect",
    key=("visit", "detector"),
    version=7,
    writes=("dia_source",),
    run=detect,
    config=DetectConfig,
    inputs=("stars",),
)
