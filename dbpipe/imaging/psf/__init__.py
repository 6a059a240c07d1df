"""The point spread function.

`model`, `fit` (to stars), `spline` (moving it), `stars` (which sources are stars), `centroids`, `shapes`, `rings`
(around bright stars), `growth` (light beyond the stamp), `homogenize` (to one model PSF).

Tests: centroids, stars in tests/imaging/measure/test_characterize.py; fit in tests/imaging/psf/test_model.py; rings in
tests/imaging/psf/test_growth.py.
"""
