"""Two images without a survey: `subtract` is the way in, from Python as `dbpipe.subtract`.

`frame` (an image from anywhere, its noise by `blank_sky`), `side` (calibrated), `align` (one on the other),
`subtraction`, and `result` (what comes of it). What stages compute too is computed by their own steps.

Tests: align, blank_sky, frame, result, side, subtraction in tests/pair/test_pair.py.
"""

from dbpipe.pair.result import IMAGE_FILE, SOURCE_FILE, PairDifference
from dbpipe.pair.subtraction import subtract

__all__ = ["IMAGE_FILE", "SOURCE_FILE", "PairDifference", "subtract"]
