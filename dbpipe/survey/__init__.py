"""A survey on disk: `survey` has everything that can be done with it.

`opening` (its folder), `settings`, `discover` (raw files), `reference` (the reference catalog), `synthetic` (made-up
catalogs).
"""

from dbpipe.survey.survey import CATALOG, INSTRUMENT, LOCK, SETTINGS, SNAPSHOT, Survey

__all__ = ["CATALOG", "INSTRUMENT", "LOCK", "SETTINGS", "SNAPSHOT", "Survey"]
