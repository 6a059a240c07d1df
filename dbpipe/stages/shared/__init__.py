"""What more than one stage does, so that none reaches into another.

`subtraction` (with the `template` as one exposure sees it) makes a difference image, `detection` its sources and
`columns` their rows.
"""
