"""Subtract the template from one calibrated exposure."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.declared import group
from dbpipe.imaging.settings import KernelSettings
from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import DifferenceUnit


@dataclass(frozen=True)
class DifferenceConfig(Ranged):
    """Settings of the difference stage."""

    min_coverage: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.1
    """Smallest fraction of pixels with a template that is worth subtracting."""
    halo_noise: Annotated[float, Range(at_least=0.1, at_most=1000.0)] = 3.0
    """A saturated star's halo ends where what it leaves in the flux of a point source is below this many sigma of all
    other noise; further out it is in the variance and nothing more."""
    kernel: KernelSettings = group(
        KernelSettings,
        background_order="background_order",
        max_size_pix="max_kernel_size_pix",
        flux_floor="flux_floor",
        convolve="convolve",
    )


DIFFERENCE = Stage(
    "difference",
    key=("visit", "detector"),
    version=31,
    writes=("diffim", "diffim_input", "diffim_sample", "diffim_registration"),
    unit=DifferenceUnit,
    run=Later("dbpipe.stages.difference", "difference"),
    config=DifferenceConfig,
    inputs=("coadds", "coadd_inputs", "own_warps", "stars", "bright_stars"),
)
