"""dbpipe: difference imaging driven by SQL.

>>> import dbpipe
>>> survey = dbpipe.open("my_survey")
>>> survey.sql("SELECT visit, psf_fwhm_pix FROM calexp ORDER BY psf_fwhm_pix").df()

Two images without a survey:

>>> result = dbpipe.subtract("science.fits", "template.fits")
>>> result.sources
"""

import os

TYPE_CHECKING = False  # what typing says too; to load it takes time in which Ctrl-C would print a traceback
if TYPE_CHECKING:
    from typing import Any

    from dbpipe.pair import PairDifference, subtract
    from dbpipe.survey import Survey
else:

    def subtract(science, template, **options):
        """Subtract one image from another, without a survey; see `dbpipe.pair.subtract`."""
        from dbpipe import pair

        return pair.subtract(science, template, **options)


__version__ = "0.3.0.dev0"
__all__ = ["PairDifference", "Survey", "open", "subtract"]


def open(path: str | os.PathLike[str], *, read_only: bool = True, published: bool = True) -> "Survey":
    """Open an existing survey; see `dbpipe.survey.Survey.open`."""
    from dbpipe.survey import Survey  # importing dbpipe alone stays cheap: workers and stages need no database

    return Survey.open(path, read_only=read_only, published=published)


def __getattr__(name: str) -> "Any":
    """Return the classes that the functions give back, which are imported when they are asked for."""
    if name == "Survey":
        from dbpipe.survey import Survey

        return Survey
    if name == "PairDifference":
        from dbpipe.pair import PairDifference

        return PairDifference
    raise AttributeError(f"module 'dbpipe' has no attribute {name!r}")
