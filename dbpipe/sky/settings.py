"""What a user may set of the geometry, apart from it: to know the settings takes no compiled code."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.ranges import Range, Ranged


@dataclass(frozen=True)
class Moving(Ranged):
    """What counts as a track."""

    max_rate_deg_per_day: Annotated[float, Range(at_least=0.0, at_most=360.0)] = 1.0
    """Fastest track that is looked for within a night."""
    max_gap_h: Annotated[float, Range(at_least=0.0, at_most=24.0)] = 3.0
    """Longest time between two detections that a track is started from, in hours."""
    min_detections: Annotated[int, Range(at_least=2, at_most=1000)] = 3
    """Fewest detections of a track; they must be detections that no other one of any time is near."""
