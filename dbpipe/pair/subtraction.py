"""Subtract one image from another: the steps of the survey's stages, for two images and nothing else."""

from typing import Any

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS
from threadpoolctl import threadpool_limits

from dbpipe.errors import DataError
from dbpipe.imaging import mask as bits
from dbpipe.imaging.difference.decorrelate import FFT_SIZE
from dbpipe.imaging.difference.subtract import BLOCK_PIX
from dbpipe.imaging.noise import uniform_noise
from dbpipe.io.exposure import Exposure
from dbpipe.pair.align import Alignment, align
from dbpipe.pair.frame import Frame, read_frame
from dbpipe.pair.result import PairDifference, source_table
from dbpipe.pair.side import MAX_STARS, Side, calibrate_frame, resampled
from dbpipe.stage import Outputs
from dbpipe.stages.contracts.calibrate import CalibrateConfig
from dbpipe.stages.contracts.detect import DetectConfig
from dbpipe.stages.contracts.difference import DifferenceConfig
from dbpipe.stages.shared.detection import measure_difference
from dbpipe.stages.shared.subtraction import subtract_template
from dbpipe.stages.shared.template import TemplateImage

HONEST_SCORE_STD = (0.9, 1.1)
"""Noise over claimed noise on blank sky within which nothing is said."""
_NOBODY = {"visit": 0, "detector": 0, "band": "", "template_id": 0, "midpoint_mjd_tai": 0.0, "path": ""}
"""What the stages know of an exposure of a survey."""


def subtract(
    science: object,
    template: object,
    *,
    gain: float | None = None,
    template_gain: float | None = None,
    read_noise_e: float | None = None,
    template_read_noise_e: float | None = None,
    saturation: float | None = None,
    template_saturation: float | None = None,
    hdu: int | str | None = None,
    template_hdu: int | str | None = None,
    wcs: WCS | None = None,
    template_wcs: WCS | None = None,
    calibrate: CalibrateConfig | None = None,
    difference: DifferenceConfig | None = None,
    detect: DetectConfig | None = None,
) -> PairDifference:
    """Subtract a template from a science image and find what has changed.

    Background, PSF and stars are measured on both images. Where the template is on another pixel grid, by its WCS or by
    its stars, it is resampled onto that of the science image. A kernel matches the sharper to the blunter of the two
    (Alard & Lupton 1998 ApJ 503 325), the difference is whitened (Reiss & Lupton DMTN-021; Zackay, Ofek & Gal-Yam 2016
    ApJ 830 27), and sources are found in its score, the signal to noise of a point source at every pixel.

    Parameters
    ----------
    science, template : path of a FITS file, (ny, nx) array, or an HDU or CCDData of astropy
        With their sky or without it, one exposure or an average, in any unit; 64 x 64 pixels at least.
    gain, template_gain : float, optional
        [electron per unit of the pixels]. From the header (EGAIN, GAIN), else from the noise of the sky.
    read_noise_e, template_read_noise_e : float, optional
        [electron]. From the header (RDNOISE, READNOIS), else measured with the rest of the noise.
    saturation, template_saturation : float, optional
        [unit of the pixels]. From the header (SATURATE), else found where the tops of stars are flat.
    hdu, template_hdu : int or str, optional
        Number or name of the image in the file; else the first one.
    wcs, template_wcs : WCS, optional
        Of arrays, and in place of those of files.
    calibrate, difference, detect : optional
        Settings, as in the sections of a survey's settings.

    Returns
    -------
    PairDifference
        In the unit of the science image's pixels.

    Raises
    ------
    ConfigError
        If an input is no image, or a number makes no sense.
    DataError
        If there are too few stars, the two do not show the same stars, or they hardly overlap.
    """
    here = read_frame(
        science, name="science", gain=gain, read_noise_e=read_noise_e, saturation=saturation, hdu=hdu, wcs=wcs
    )
    there = read_frame(
        template,
        name="template",
        gain=template_gain,
        read_noise_e=template_read_noise_e,
        saturation=template_saturation,
        hdu=template_hdu,
        wcs=template_wcs,
    )
    with threadpool_limits(1):  # of many small matrices, threads of BLAS make eight times the work
        return _subtract_frames(
            here,
            there,
            calibrate or CalibrateConfig(),
            difference or DifferenceConfig(),
            detect or DetectConfig(),
        )


def _subtract_frames(
    science: Frame, template: Frame, calibrate: CalibrateConfig, difference: DifferenceConfig, detect: DetectConfig
) -> PairDifference:
    sides = _calibrated(science, "science", calibrate), _calibrated(template, "template", calibrate)
    alignment = align(*sides)
    if alignment.grid is not None:
        sides = sides[0], resampled(sides[1], alignment.grid, science.image.shape, calibrate)
    outputs, exposure, unit = _subtract(*sides, science, difference)
    return _found(outputs, exposure, unit, sides, (science, template), alignment, detect)


def _calibrated(frame: Frame, name: str, config: CalibrateConfig) -> Side:
    try:
        return calibrate_frame(frame, config)
    except DataError as error:
        raise DataError(f"the {name} cannot be calibrated: {error.message}", **error.numbers) from error


def _subtract(
    science: Side, template: Side, frame: Frame, config: DifferenceConfig
) -> tuple[Outputs, Exposure, dict[str, Any]]:
    """Subtract by the code of the stage difference."""
    plane, stars = science.plane, science.stars
    unit = _NOBODY | {"psf_fwhm_pix": plane.fwhm_pix, "njy_per_e": 1.0}
    psf: Any = plane.psf
    exposure = Exposure(plane.image, plane.variance, plane.mask, frame.wcs or pixel_wcs(), psf, {})
    good = np.flatnonzero(stars.is_good)[:MAX_STARS]
    inputs = {
        "stars": pa.table({"x": stars.x[good], "y": stars.y[good], "psf_flux_njy": stars.flux[good]}),
        "bright_stars": pa.table(
            {
                "x": stars.x[stars.is_bright],
                "y": stars.y[stars.is_bright],
                "flux_njy": stars.flux[stars.is_bright],
                "is_saturated": stars.is_saturated[stars.is_bright],
            }
        ),
        "own_warps": pa.table({}),
    }
    white = np.ones((FFT_SIZE, FFT_SIZE))
    blocks = tuple(-(-n // BLOCK_PIX) for n in plane.image.shape)
    image = TemplateImage(
        template.plane,
        noise=uniform_noise(white if template.power is None else template.power, blocks),
        coverage=float(np.mean((template.plane.mask & bits.NO_DATA) == 0)),
        weights={(0, 0): 1.0},
    )
    science_power = 1.0 if science.power is None else science.power
    made = subtract_template(exposure, image, unit, inputs, config, science_power=science_power)
    if not isinstance(made, Outputs):
        raise DataError(made.reason, **made.numbers)
    return made, exposure, unit


def _found(
    outputs: Outputs,
    exposure: Exposure,
    unit: dict[str, Any],
    sides: tuple[Side, Side],
    frames: tuple[Frame, Frame],
    alignment: Alignment,
    config: DetectConfig,
) -> PairDifference:
    """Find the sources by the code of the stage detect, and put everything into the unit of the science image."""
    quality = outputs.rows["diffim"][0]
    registration = outputs.rows["diffim_registration"][0]
    image = outputs.files["diffim"].as_read(exposure)
    shift = (registration["shift_x_pix"], registration["shift_y_pix"], registration["scatter_pix"])
    shift_pix = float(np.sqrt(np.sum(np.square(shift))))
    per_e = 1.0 / frames[0].gain
    stars = sides[0].stars
    known = stars.take(np.flatnonzero(stars.leaves_residual))
    columns = measure_difference(
        image,
        unit
        | {name: quality[name] for name in ("science_noise_e", "template_noise_e", "diff_noise_e")}
        | {"njy_per_e": per_e, "shift_pix": shift_pix if np.isfinite(shift_pix) else None},
        {"stars": pa.table({"x": known.x, "y": known.y, "flux": known.flux * per_e})},
        config,
    )
    scale = np.float32(per_e)
    empty = ((sides[0].plane.mask | sides[1].plane.mask) & (bits.NO_DATA | bits.BAD)) != 0
    planes = [image.difference * scale, image.variance * scale**2, np.array(image.score), image.template * scale]
    for plane in planes:
        plane[empty] = np.nan
    return PairDifference(
        difference=planes[0],
        variance=planes[1],
        mask=image.mask,
        score=planes[2],
        template=planes[3],
        science=exposure.image * scale,
        psf=image.psf_field,
        wcs=frames[0].wcs,
        sources=source_table(columns, has_wcs=frames[0].wcs is not None),
        quality={
            "science_fwhm_pix": sides[0].plane.fwhm_pix,
            "template_fwhm_pix": sides[1].plane.fwhm_pix,
            "convolved": quality["convolved"],
            "n_kernel_star": quality["n_kernel_star"],
            "kernel_sum": _flux_ratio(quality) * (frames[1].gain / frames[0].gain),
            "template_coverage": quality["template_coverage"],
            "score_std": quality["score_std"],
            "lag1_correlation": quality["lag1_correlation"],
            "noise": quality["diff_noise_e"] * per_e,
            "n_common_star": alignment.n_star,
            "offset_pix": alignment.offset_pix,
            "is_resampled": alignment.grid is not None,
            "registration_scatter_pix": alignment.scatter_pix,
            "shift_x_pix": registration["shift_x_pix"],
            "shift_y_pix": registration["shift_y_pix"],
            "gain": frames[0].gain,
            "template_gain": frames[1].gain,
        },
        notes={
            "science": frames[0].notes,
            "template": frames[1].notes,
            "difference": _verdict(float(quality["score_std"])),
        },
    )


def _verdict(score_std: float) -> tuple[str, ...]:
    """Return what to say of a difference whose noise is not what it claims."""
    if HONEST_SCORE_STD[0] <= score_std <= HONEST_SCORE_STD[1]:
        return ()
    if score_std < 1.0:
        return (f"its noise is {score_std:.2f} times what it claims: errors are too large, faint sources are missed",)
    return (f"its noise is {score_std:.2f} times what it claims: believe sources above {5.0 * score_std:.1f} only",)


def _flux_ratio(quality: dict[str, Any]) -> float:
    """Return science flux per template flux [electron / electron], whichever side the kernel has convolved."""
    total = float(quality["kernel_sum"])
    return total if quality["convolved"] == "template" else 1.0 / total


def pixel_wcs() -> WCS:
    """Return a WCS for an image that has none: the steps in between ask for one, the result does not show it."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cdelt = [-1.0 / 3600.0, 1.0 / 3600.0]
    wcs.wcs.set()
    return wcs
