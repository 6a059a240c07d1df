"""What the template stage declares: nothing here calculates."""

from dataclasses import dataclass
from typing import Annotated, Literal

from dbpipe.declared import group
from dbpipe.errors import ConfigError
from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import ParentStage


@dataclass(frozen=True)
class AutoCut(Ranged):
    """Where the cut by seeing lies when choose is auto."""

    min_gain_mag: Annotated[float, Range(at_least=0.0, at_most=10.0)] = 0.002
    """auto takes the sharpest cut that is within this much of the deepest."""
    max_sharpening: Annotated[float, Range(at_least=1.0, at_most=100.0)] = 1.15
    """auto takes no model PSF wider than this many times the sharpest exposure; it lies half-way between that and the
    widest, which has to be sharpened as much: what makes noise and shows every error of the PSF."""
    min_input: Annotated[int, Range(at_least=2, at_most=1000)] = 3
    """But auto goes on to at least this many exposures."""


@dataclass(frozen=True)
class Veto(Ranged):
    """What keeps an exposure out of every template, however sharp it is."""

    max_depth_loss_mag: Annotated[float, Range(at_least=0.0, at_most=100.0)] = 1.0
    """An exposure this much shallower than the median of its band never goes in: clouds."""
    max_ellipticity: Annotated[float, Range(above=0.0, at_most=1.0)] = 0.25
    """An exposure with a PSF ellipticity above this never goes in."""
    max_astrom_rms_ratio: Annotated[float, Range(at_least=1.0, at_most=1000.0)] = 3.0
    """An exposure whose positions scatter this many times more than the median never goes in."""
    min_transparency: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.5
    """An exposure that lets less light through than this part of the band's usual never goes in: clouds, which are
    seldom even."""
    min_source_ratio: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.2
    """An exposure with less than this part of the median number of sources never goes in: nearly empty."""
    max_fraction_masked: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.3
    """An exposure with more than this part of its pixels masked never goes in."""


@dataclass(frozen=True)
class TemplateConfig(Ranged):
    """Settings of the template decision, used when a band has none yet."""

    choose: Literal["auto", "quantile", "max_psf_fwhm_pix", "sql"] = "auto"
    """How."""
    max_psf_fwhm_pix: Annotated[float, Range(above=0.0, at_most=100.0)] = 4.85
    """The cut when choose is max_psf_fwhm_pix, in native pixels of the band's median exposure."""
    quantile: Annotated[float, Range(above=0.0, at_most=1.0)] = 0.33
    """Best part of the exposures by seeing, when choose is quantile."""
    sql: str = ""
    """A SELECT that gives visit and detector, when choose is sql."""
    auto: AutoCut = group(AutoCut, prefix="")
    veto: Veto = group(Veto, prefix="")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.choose == "sql" and not self.sql.strip():
            raise ConfigError('choose = "sql" needs a SELECT of visit and detector in sql')


TEMPLATE = ParentStage(
    "template",
    version=2,
    run=Later("dbpipe.template.stage", "decide"),
    is_due=Later("dbpipe.template.due", "is_due"),
    config=TemplateConfig,
    count_outdated=Later("dbpipe.template.due", "count_outdated"),
)
"""Version 1 knew only Gaussian model PSFs."""
