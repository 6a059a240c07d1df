"""Find and measure the sources of a difference image: by `detect` and `inject`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.imaging.psf.shapes import gaussian_moments, psf_size
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.sources.peaks import find_peaks, score_response
from dbpipe.imaging.sources.trail import gather_trails
from dbpipe.imaging.sources.verdicts import fit_peaks, residual_of_star
from dbpipe.stages.contracts.detect import DetectConfig
from dbpipe.stages.shared.columns import (
    flux_columns,
    mask_columns,
    measured_columns,
    position_columns,
    trail_columns,
    unit_columns,
)


def measure_difference(
    image: Any, unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: DetectConfig
) -> dict[str, Any]:
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
    spline = spline_coefficients(image.psf_field.at_many(peaks.x, peaks.y))
    planes = (image.difference, image.variance, image.mask)
    peak, score, fit = fit_peaks(
        *planes,
        peaks=peaks,
        psf_spline=spline,
        radius_pix=radius_pix,
        fwhm_pix=size.fwhm_pix,
        threshold=config.keep_score,
        splitting=config.split,
    )
    found = gather_trails(
        *planes,
        score=score,
        fit=fit,
        psf_spline=spline[peak],
        psf_moments=np.array(gaussian_moments(psf)),
        radius_pix=radius_pix,
        fwhm_pix=size.fwhm_pix,
        trailing=config.trail,
    )
    keep, score, fit = peak[found.kept], found.score, found.fit
    trail = trail_columns(image.wcs, found, unit["njy_per_e"])
    is_trail = np.array([flag is True for flag in trail["flag_trail"]], bool)
    return {
        **unit_columns(unit, len(keep)),
        **position_columns(image.wcs, fit),
        **flux_columns(fit, score, unit["njy_per_e"], config),
        **trail,
        **measured_columns(
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
