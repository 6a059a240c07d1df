"""Sources of a difference image.

`peaks` (by `peak_height` between the pixels), `point_fit` and `blend_fit`, `deblend` (companions), `significance`,
`dipole`, `trail` and `trail_fit`, `minimize` (least squares, for all of these), `forced_fit` (at known places) and
`verdicts` (from peaks to
sources with a score, and what each one is; of a trail `trail` makes the score).

Tests: significance in tests/imaging/sources/test_deblend.py; trail_fit in
tests/imaging/sources/test_trail.py.
"""
