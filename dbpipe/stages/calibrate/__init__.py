"""Calibrate one exposure: `stage`, by `pixels` (cleaned), `rows` (what is written) and `residuals`.

`selfref` makes a reference catalog of one exposure.
"""

from dbpipe.stages.calibrate.stage import CALIBRATE

__all__ = ["CALIBRATE"]
