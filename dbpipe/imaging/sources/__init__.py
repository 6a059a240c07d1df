"""Sources of a difference image: `peaks`, `point_fit`, `deblend` (companions), `significance`, `dipole`, `trail`,
`forced_fit` (at known places) and `verdicts` (what each one is).
"""
