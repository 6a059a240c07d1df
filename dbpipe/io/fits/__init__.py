"""The parts of a FITS file, read with distrust.

`hdus`, `cards`, `pixels`, `compressed` (tiles), `checksum`, `quiet` (astropy kept from talking).

Tests: cards, checksum, compressed, hdus, pixels, quiet in tests/io/fits/test_hostile_fits.py.
"""
