"""What the associate stage declares: nothing here calculates."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.declared import group
from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.sky.settings import Moving
from dbpipe.stage import ParentStage


@dataclass(frozen=True)
class AssociateConfig(Ranged):
    """What the associate stage declares: nothing here calculates."""

    radius_arcsec: Annotated[float, Range(above=0.0, at_most=60.0)] = 1.0
    """Detections closer than this are looked at together."""
    max_chi2: Annotated[float, Range(above=0.0, at_most=1e4)] = 25.0
    """Positions that differ by more than this (chi2, 2 degrees of freedom) are different objects."""
    position_floor_arcsec: Annotated[float, Range(at_least=0.0, at_most=60.0)] = 0.05
    """Error of a position in each coordinate that is not in its error bar."""
    moving: Moving = group(Moving, prefix="", min_detections="min_tracklet_sources")


ASSOCIATE = ParentStage(
    "associate",
    version=1,
    run=Later("dbpipe.association.flow", "associate"),
    is_due=Later("dbpipe.association.images", "is_due"),
    config=AssociateConfig,
    count_due=Later("dbpipe.association.images", "count_due"),
)
