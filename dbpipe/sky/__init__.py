"""Geometry of the sky, without pixels.

`sphere`, `wcs`, `healpix`, `skymap`, `window`, `matching`, `zenith`, `hats_tiles`, `settings`; the rooms are
`astrometry` (fitting a WCS) and `linking` (which detections are one object).

Tests: settings in tests/test_ranges.py.
"""
