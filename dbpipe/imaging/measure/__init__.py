"""The sources of one exposure.

`detection`, `characterize` (stars, PSF and fluxes, again and again), `photometry`, `trends`.
"""
