"""The parts of a FITS file, read with distrust.

`hdus`, `cards`, `pixels`, `compressed` (tiles), `checksum`, `quiet` (astropy kept from talking).
"""
