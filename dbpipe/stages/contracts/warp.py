"""Put one exposure onto the tract grid and give it the model PSF of the template."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import WarpUnit


@dataclass(frozen=True)
class WarpConfig(Ranged):
    """Settings of the warp stage."""

    kernel_size_pix: Annotated[int, Range(odd=True, at_least=11, at_most=61)] = 31
    """Side of the homogenization kernel, in pixels of the tract."""
    max_psf_residual: Annotated[float, Range(above=0.0, at_most=1.0)] = 0.1
    """Largest rms of (matched PSF - model) over the rms of the model; an exposure that cannot do better is refused."""
    max_kernel_negative: Annotated[float, Range(above=0.0, at_most=100.0)] = 8.0
    """Largest sum of the negative part of the kernel: more means that the exposure would have to be sharpened much."""


WARP = Stage(
    "warp",
    key=("template_id", "tract", "patch", "visit", "detector"),
    version=10,
    writes=("warp",),
    unit=WarpUnit,
    run=Later("dbpipe.stages.warp", "warp_exposure"),
    config=WarpConfig,
)
