"""Settings of the associate stage."""

from dataclasses import dataclass

from dbpipe.errors import ConfigError

VERSION = 1
"""Bump when the same detections would give other objects."""


@dataclass(frozen=True)
class AssociateConfig:
    """Settings of the associate stage."""

    radius_arcsec: float = 1.0
    """Detections closer than this are looked at together."""
    max_chi2: float = 25.0
    """Positions that differ by more than this (chi2, 2 degrees of freedom) are different objects."""
    position_floor_arcsec: float = 0.05
    """Error of a position in each coordinate that is not in its error bar."""
    max_rate_deg_per_day: float = 1.0
    """Fastest track that is looked for within a night."""
    max_gap_h: float = 3.0
    """Longest time between two detections that a track is started from, in hours."""
    min_tracklet_sources: int = 3
    """Fewest detections of a track; they must be detections that no other one of any time is near."""

    def __post_init__(self):
        if not 0.0 < self.radius_arcsec <= 60.0:
            raise ConfigError(f"associate.radius_arcsec = {self.radius_arcsec}: must be above 0 and at most 60")
