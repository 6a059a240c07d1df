"""The point spread function.

`model`, `fit` (to stars), `spline` (moving it), `stars` (which sources are stars), `centroids`, `shapes`, `rings`
(around bright stars), `growth` (light beyond the stamp), `homogenize` (to one model PSF).
"""
