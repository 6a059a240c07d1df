"""What more than one stage does or has, so that none reaches into another.

`units` are the work rows. `subtraction` (with the `template` as one exposure sees it) makes a difference image,
`detection` its sources and `columns` their rows.
"""
