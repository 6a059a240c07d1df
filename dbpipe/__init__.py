"""dbpipe: difference imaging driven by SQL.

>>> import dbpipe
>>> survey = dbpipe.open("my_survey")
>>> survey.sql("SELECT visit, psf_fwhm_pix FROM calexp ORDER BY psf_fwhm_pix").df()
"""

__version__ = "0.3.0.dev0"


def open(path, *, read_only=True, published=True):
    """Open an existing survey; see `dbpipe.survey.Survey.open`."""
    from dbpipe.survey import Survey  # importing dbpipe alone stays cheap: workers and stages need no database

    return Survey.open(path, read_only=read_only, published=published)
