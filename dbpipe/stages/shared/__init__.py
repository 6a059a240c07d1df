"""What more than one stage does or has, so that none reaches into another.

`subtraction` (with the `template` as one exposure sees it) makes a difference image, `detection` its sources and
`columns` their rows.

Tests: columns, detection in tests/stages/test_detect.py; subtraction, template in tests/stages/test_difference.py.
"""
