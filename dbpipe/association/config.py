"""Settings of the associate stage."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.ranges import Range, Ranged

VERSION = 1
"""Bump when the same detections would give other objects."""


@dataclass(frozen=True)
class AssociateConfig(Ranged):
    """Settings of the associate stage."""

    radius_arcsec: Annotated[float, Range(above=0.0, at_most=60.0)] = 1.0
    """Detections closer than this are looked at together."""
    max_chi2: Annotated[float, Range(above=0.0, at_most=1e4)] = 25.0
    """Positions that differ by more than this (chi2, 2 degrees of freedom) are different objects."""
    position_floor_arcsec: Annotated[float, Range(at_least=0.0, at_most=60.0)] = 0.05
    """Error of a position in each coordinate that is not in its error bar."""
    max_rate_deg_per_day: Annotated[float, Range(at_least=0.0, at_most=360.0)] = 1.0
    """Fastest track that is looked for within a night."""
    max_gap_h: Annotated[float, Range(at_least=0.0, at_most=24.0)] = 3.0
    """Longest time between two detections that a track is started from, in hours."""
    min_tracklet_sources: Annotated[int, Range(at_least=2, at_most=1000)] = 3
    """Fewest detections of a track; they must be detections that no other one of any time is near."""
