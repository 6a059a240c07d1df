"""Calibrate one exposure: the stage is in `stage`."""

from dbpipe.stages.calibrate.stage import CALIBRATE

__all__ = ["CALIBRATE"]
