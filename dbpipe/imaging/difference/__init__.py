"""The difference of two images.

`subtract` (the whole of it), `decorrelate` (the filters that make its noise white), `score_image` (signal to noise at
every pixel), `wings` and
`star_noise` (what bright stars leave), `registration`, `cells`, `residual_sky`.

Tests: residual_sky in tests/imaging/difference/test_subtract.py.
"""
