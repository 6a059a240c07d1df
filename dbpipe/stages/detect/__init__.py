"""Find and measure the sources of a difference image: `stage`, and `columns` of its table."""

from dbpipe.stages.detect.stage import DETECT

__all__ = ["DETECT"]
