"""Small FITS files for tests: a phosim-like eimage whose header can be changed card by card."""

import gzip
import io

import numpy as np
from astropy.io import fits

NAME = "lsst_e_1234_f2_R22_S11_E000.fits"


def header(**changes):
    """Return the cards of a good eimage; a change to None takes the card away, ``__`` stands for a dash."""
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 32.0, "CRPIX2": 24.0, "CRVAL1": 53.0, "CRVAL2": -27.4,
        "CD1_1": -5.5e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 5.5e-5, "RADESYS": "ICRS", "EQUINOX": 2000.0,
        "OBSID": 1234, "TAI": 59580.25, "MJD-OBS": 59580.24963, "EXPTIME": 30.0, "FILTER": "r", "FILTNM": 2,
        "AIRMASS": 1.2, "CHIPID": "R22_S11",
    }  # fmt: skip
    cards |= {key.replace("__", "-"): value for key, value in changes.items()}
    return fits.Header([(key, value) for key, value in cards.items() if value is not None])


def sky_image(*, shape=(48, 64), level=500.0, seed=1):
    """Return an image of blank sky [electron]."""
    return np.random.default_rng(seed).poisson(level, shape).astype(np.float32)


def write_eimage(folder, *, name=NAME, image=None, **changes):
    """Write an eimage and return its path; a name that ends in .gz is compressed."""
    hdu = fits.PrimaryHDU(sky_image() if image is None else image, header(**changes))
    buffer = io.BytesIO()
    hdu.writeto(buffer)
    content = buffer.getvalue()
    path = folder / name
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    return path
