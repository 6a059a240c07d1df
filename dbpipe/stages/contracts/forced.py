"""Measure every object on a difference image that covers it, detected or not."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.imaging.settings import FIT_RADIUS_FWHM
from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import ForcedUnit


@dataclass(frozen=True)
class ForcedConfig(Ranged):
    """Settings of the forced stage."""

    fit_radius_fwhm: Annotated[float, Range(at_least=0.5, at_most=10.0)] = FIT_RADIUS_FWHM
    """Radius of the PSF fit, in FWHM."""
    blend_fwhm: Annotated[float, Range(at_least=0.0, at_most=10.0)] = 2.5
    """Objects closer to each other than this are fitted together, in FWHM."""


FORCED = Stage(
    "forced",
    key=("visit", "detector"),
    version=1,
    writes=("dia_forced_source", "forced_image"),
    unit=ForcedUnit,
    run=Later("dbpipe.stages.forced", "forced"),
    config=ForcedConfig,
    inputs=("objects", "known"),
)
