"""Copies of an exposure with sources put in, through the difference stage by its own functions and settings.

What an exposure alone decides, sky, PSF, positions and zero point, is not decided anew.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.declared import unflatten
from dbpipe.errors import DataError
from dbpipe.imaging import mask as bits
from dbpipe.imaging.clean.variance import model_variance_of_copy
from dbpipe.imaging.injection.paint import add_point_sources
from dbpipe.imaging.measure.detection import detect_sources
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.settings import FIT_RADIUS_FWHM
from dbpipe.imaging.sources.forced_fit import joint_flux
from dbpipe.io.difference import Difference, read_difference
from dbpipe.io.exposure import Exposure, read_exposure
from dbpipe.stage import Skip
from dbpipe.stages.contracts.detect import DetectConfig
from dbpipe.stages.contracts.difference import DifferenceConfig
from dbpipe.stages.shared.subtraction import subtract_template, template_for
from dbpipe.stages.shared.template import TemplateImage


@dataclass(frozen=True)
class Original:
    """What the copies are made from, and what they are made with."""

    exposure: Exposure
    difference: Difference
    template: TemplateImage
    static_sources: dict[str, Any]
    kernel_stars: dict[str, Any]
    real_sources: dict[str, Any]
    difference_unit: dict[str, Any]
    detect_unit: dict[str, Any]
    inputs: dict[str, Any]
    settings: dict[str, Any]
    detection_sigma: float
    """Threshold of the footprints, as calibration had it."""


def read_original(
    unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], units: Mapping[str, list[dict[str, Any]]]
) -> Original:
    """Read what copies are made from.

    Parameters
    ----------
    unit : work row of the injection
    inputs : dict of tables
        The named inputs, those of the other stages as ``difference.<name>`` and ``detect.<name>``.
    units : dict
        Stage -> list of its one work row.
    """
    exposure = read_exposure(units["difference"][0]["path"])
    named = {
        stage: {k.partition(".")[2]: v for k, v in inputs.items() if k.startswith(f"{stage}.")}
        for stage in ("difference", "detect")
    }
    kinds = {"difference": DifferenceConfig, "detect": DetectConfig}
    return Original(
        exposure=exposure,
        difference=read_difference(unit["path"]),
        template=template_for(exposure, units["difference"][0], named["difference"]),
        static_sources=_columns(inputs["static_sources"]),
        kernel_stars=_columns(inputs["difference.stars"]),
        real_sources=_columns(inputs["real_sources"]),
        difference_unit=units["difference"][0],
        detect_unit=units["detect"][0],
        inputs=named,
        settings={name: unflatten(kind, json.loads(unit[f"{name}_settings"])) for name, kind in kinds.items()},
        detection_sigma=json.loads(unit["calibrate_settings"])["detection_sigma"],
    )


def _columns(table: pa.Table) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def copy_with(original: Original, x: np.ndarray, y: np.ndarray, flux: np.ndarray, rng: np.random.Generator) -> Exposure:
    """Return the exposure with the sources in image, variance and footprints, as calibration would have seen them."""
    exposure = original.exposure
    image = add_point_sources(exposure.image, exposure.mask, psf=exposure.psf, x=x, y=y, flux=flux, rng=rng)
    variance = model_variance_of_copy(exposure.variance, exposure.image, image)
    footprints = detect_sources(
        image, variance, (exposure.mask & bits.BAD) != 0,
        threshold_sigma=original.detection_sigma,
    ).footprints  # fmt: skip
    mask = exposure.mask | np.where(footprints, np.uint16(bits.DETECTED), np.uint16(0))
    return replace(exposure, image=image, variance=variance, mask=mask)


@dataclass(frozen=True)
class Copy:
    """The difference image of a copy, and its unit for detection."""

    image: Difference
    detect_unit: dict[str, Any]


def subtract_copy(exposure: Exposure, original: Original) -> Copy:
    """Subtract the template from a copy of the exposure, as the stage does."""
    made = subtract_template(
        exposure, original.template, original.difference_unit,
        original.inputs["difference"], original.settings["difference"],
    )  # fmt: skip
    if isinstance(made, Skip):
        raise DataError(f"with sources put in, {made.reason}", **made.numbers)
    numbers = {k: v for k, v in made.rows["diffim"][0].items() if k in original.detect_unit}
    return Copy(made.files["diffim"].as_read(exposure), original.detect_unit | numbers)


def flux_at(image: Difference, x: np.ndarray, y: np.ndarray, fwhm_pix: float) -> tuple[np.ndarray, np.ndarray]:
    """Return PSF flux and error on a difference image at given places."""
    stamps = image.psf_field.at_many(x, y)
    radius_pix = min(FIT_RADIUS_FWHM * fwhm_pix, stamps.shape[-1] // 2)
    planes = (image.difference, image.variance, image.mask)
    return joint_flux(*planes, psf_spline=spline_coefficients(stamps), x=x, y=y, radius_pix=radius_pix)
