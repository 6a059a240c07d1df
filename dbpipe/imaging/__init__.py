"""Pixels: arrays in, arrays out; no files, rows, logs or clocks.

Here is what all rooms stand on: `mask`, `mask_near` (a mask around a place), `polynomial`, `convolve`, `resample`,
`noise`, and `settings` (what a user may set of all this, apart from it). The rooms, in the order in which an image goes
through them: `clean` (sky, defects, variance), `psf`, `measure` (sources and fluxes of one exposure), `stack` (the
template), `kernel` (matching two images), `difference` (subtracting them), `sources` (what is found there) and
`injection` (what would have been found).

Tests: mask in tests/imaging/test_resample.py; mask_near in tests/imaging/sources/test_verdicts.py; polynomial in
tests/imaging/kernel/test_kernel.py; settings in tests/test_ranges.py.
"""
