"""What more than one stage does or has, so that none reaches into another.

`units` are the work rows. `subtraction` (with the `template` as one exposure sees it) makes a difference image,
`detection` its sources and `columns` their rows.

Tests: columns, detection in tests/stages/test_detect.py; subtraction, template in tests/stages/test_difference.py;
units in tests/stages/test_units.py.
"""
