"""Files with pixels or stars.

`fits` (the format), `raw` (images from elsewhere), `tables` (catalogs from elsewhere) and, here, what dbpipe writes
itself: `exposure`, `difference`, `planes`, `wcs_text`.
"""
