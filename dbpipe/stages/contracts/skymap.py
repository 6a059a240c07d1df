"""Lay the pixel grid of the survey on the sky and find which exposure touches which patch."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import SkymapUnit


@dataclass(frozen=True)
class SkymapConfig(Ranged):
    """Settings of the skymap stage. They shape a new tract; one that is there keeps what it was made with."""

    patch_size_pix: Annotated[int, Range(at_least=128, at_most=16384)] = 2048
    """Side of a patch in pixels of the tract."""
    pixel_scale_arcsec: Annotated[float, Range(at_least=0.001, at_most=600.0, or_exactly=0.0)] = 0.0
    """Pixel size of the tract; 0 means that of the calibrated exposures (their median)."""


SKYMAP = Stage(
    "skymap",
    key=("tract", "visit", "detector"),
    version=2,
    writes=("patch_overlap",),
    inserts=("tract", "patch"),
    unit=SkymapUnit,
    run=Later("dbpipe.stages.skymap", "skymap"),
    config=SkymapConfig,
    inputs=("footprints", "tracts"),
)
