"""The six filters of the simulated camera."""

NAMES = ("u", "g", "r", "i", "z", "y")
"""In the order of phosim's filter numbers 0 to 5."""
ZERO_POINT_1S_MAG = {"u": 26.99, "g": 28.38, "r": 28.40, "i": 27.94, "z": 27.51, "y": 26.73}
"""AB magnitude of one electron a second at airmass 1, about that of LSST (Ivezic et al. 2019 ApJ 873 111)."""
EXTINCTION_MAG = {"u": 0.40, "g": 0.18, "r": 0.10, "i": 0.07, "z": 0.05, "y": 0.06}
"""Extinction for each airmass above 1."""
SKY_E_PER_S = {"u": 5.0, "g": 14.0, "r": 23.0, "i": 32.0, "z": 45.0, "y": 60.0}
"""Dark sky in a 0.2" pixel [electron/s], rounded."""


def filter_number(band: str) -> int:
    """Return phosim's number of a filter."""
    return NAMES.index(band)
