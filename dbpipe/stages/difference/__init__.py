"""Subtract the template from one exposure: the stage is in `stage`."""

from dbpipe.stages.difference.stage import DIFFERENCE

__all__ = ["DIFFERENCE"]
