"""Find and measure the sources of a difference image."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.declared import group
from dbpipe.errors import ConfigError
from dbpipe.imaging.settings import FIT_RADIUS_FWHM, DipoleLimits, Splitting, Trailing
from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import DetectUnit


@dataclass(frozen=True)
class DetectConfig(Ranged):
    """Settings of the detect stage."""

    keep_score: Annotated[float, Range(at_least=3.0, at_most=100.0)] = 4.0
    """Smallest |score| that becomes a row."""
    primary_score: Annotated[float, Range(at_least=3.0, at_most=100.0)] = 5.0
    """Smallest |score| of a primary detection."""
    fit_radius_fwhm: Annotated[float, Range(at_least=0.5, at_most=10.0)] = FIT_RADIUS_FWHM
    """Radius of the PSF fit, in FWHM."""
    aperture_radius_fwhm: Annotated[float, Range(at_least=0.5, at_most=5.0)] = 1.5
    """Radius of the aperture flux, in FWHM."""
    peak_model_error: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.03
    """Part of a source's score that a second peak on its flank must exceed."""
    shape_model_error: Annotated[float, Range(at_least=0.0, at_most=1000.0)] = 1.0
    """Excess of chi2 that flag_shape forgives, in units of the source's S/N: blends and PSF errors stay below 1, a hot
    pixel exceeds it by the effective area of the PSF."""
    bright_star_fraction: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.025
    """A difference below this fraction of the flux of the star beneath it is called a residual."""
    split: Splitting = group(Splitting)
    trail: Trailing = group(Trailing)
    dipole: DipoleLimits = group(DipoleLimits)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_score > self.primary_score:
            raise ConfigError(
                f"keep_score = {self.keep_score}: must be at most primary_score = {self.primary_score}, or primary "
                "detections would not be kept"
            )


DETECT = Stage(
    "detect",
    key=("visit", "detector"),
    version=9,
    writes=("dia_source",),
    unit=DetectUnit,
    run=Later("dbpipe.stages.detect", "detect"),
    config=DetectConfig,
    inputs=("stars",),
)
