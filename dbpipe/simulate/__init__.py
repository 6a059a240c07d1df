"""A simulator of LSST-like exposures whose every source is known.

The pipeline never imports this package, and shares no algorithm with it, so that an error made in one cannot
hide in the other.
"""

from dbpipe.simulate.write import write_survey

__all__ = ["write_survey"]
