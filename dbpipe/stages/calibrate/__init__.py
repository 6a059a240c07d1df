"""Calibrate one exposure: `stage`, by `pixels` (cleaned), `rows` (what is written) and `residuals`.

`selfref` makes a reference catalog of one exposure.

Tests: pixels, residuals, rows, selfref, stage in tests/stages/test_calibrate.py.
"""
