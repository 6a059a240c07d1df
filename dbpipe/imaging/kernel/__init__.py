"""The matching kernel (Alard & Lupton 1998 ApJ 503 325): `match` is the way in.

`basis` (what it is made of), `start` (from the two PSF models), `equations`, `solve`, `residuals`, `fit` (clipping
stars), `choice` (its degree and bases, by stars that the fit has not seen).

Tests: basis, choice, equations, fit, residuals, solve in tests/imaging/kernel/test_kernel.py; match in
tests/imaging/difference/test_subtract.py.
"""
