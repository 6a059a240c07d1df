"""Find and measure the sources of a difference image: the stage is in `stage`."""

from dbpipe.stages.detect.stage import DETECT

__all__ = ["DETECT"]
