"""A survey on disk: `survey` has everything that can be done with it.

`opening` (its folder), `settings`, `discover` (raw files), `reference` (the reference catalogue), `synthetic` (made-up
catalogues).
"""

from dbpipe.survey.survey import CATALOG, INSTRUMENT, LOCK, SETTINGS, SNAPSHOT, Survey

__all__ = ["CATALOG", "INSTRUMENT", "LOCK", "SETTINGS", "SNAPSHOT", "Survey"]
