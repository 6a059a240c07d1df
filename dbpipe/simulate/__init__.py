"""A simulator of LSST-like exposures whose every source is known.

The pipeline never imports this package, and shares no algorithm with it, so that an error made in one cannot
hide in the other.

`write` (a survey on disk) of a `scene` (what is on the sky, and what goes wrong), by `sky` and `camera`; `truth` is
what `judge` compares with; `detections` are those of years, without images.

Tests: detections in tests/survey/test_synthetic.py; scene, truth in tests/simulate/test_write.py.
"""

from dbpipe.simulate.write import write_survey

__all__ = ["write_survey"]
