"""The pixels of an image in a FITS file, as the values that they stand for, and those that stand for nothing."""

import math

import numpy as np

from dbpipe.errors import DataError
from dbpipe.io.fits.cards import Header, read_number
from dbpipe.io.fits.compressed import unpack_tiles
from dbpipe.io.fits.hdus import Hdu, read_bitpix


def read_pixels(content: bytes, hdu: Hdu, *, max_mib: float) -> tuple[np.ndarray, np.ndarray | None, str | None]:
    """Read one image.

    Parameters
    ----------
    content : bytes
        The whole file, unpacked.
    hdu : Hdu
        With a two-dimensional image.
    max_mib : float
        Limit of the size of an image whose tiles are compressed.

    Returns
    -------
    pixels : (ny, nx) array
        BZERO + BSCALE * stored value, as float32 or float64 where that is not the stored value itself.
    blank : (ny, nx) bool array or None
        Stored values equal to BLANK, which only whole numbers can have (FITS 4.0, section 4.4.2.5).
    note : str or None
        What is odd about BLANK.
    """
    stored = unpack_tiles(content, hdu, max_mib) if hdu.is_compressed else _view(content, hdu)
    blank, note = None, None
    if stored.dtype.kind in "iu" and "BLANK" in hdu.header:
        value = hdu.header["BLANK"]
        if type(value) is not int:
            raise DataError("BLANK must be a whole number", BLANK=str(value))
        if _holds(stored.dtype, value):
            blank = stored == value
        else:
            note = f"BLANK = {value} is no value that the stored numbers ({8 * stored.dtype.itemsize} bits) can have"
    return _scale(stored, hdu.header), blank, note


def _view(content: bytes, hdu: Hdu) -> np.ndarray:
    """Return the stored numbers of an uncompressed image."""
    bitpix = read_bitpix(hdu.header)
    kind = ("u" if bitpix == 8 else "i") if bitpix > 0 else "f"
    dtype = np.dtype(f">{kind}{abs(bitpix) // 8}")
    shape = hdu.shape or ()
    return np.frombuffer(content, dtype, count=math.prod(shape), offset=hdu.data_start).reshape(shape)


def _scale(stored: np.ndarray, header: Header) -> np.ndarray:
    """Return the values that stored numbers stand for."""
    scale = read_number(header, "BSCALE") if "BSCALE" in header else 1.0
    zero = read_number(header, "BZERO") if "BZERO" in header else 0.0
    if scale == 0.0:
        raise DataError("BSCALE is 0: all pixels would have one value", BSCALE=scale)
    if (scale, zero) == (1.0, 0.0):
        return stored
    narrow = stored.dtype.itemsize < 4 or stored.dtype == np.dtype(">f4")
    values: np.ndarray = stored.astype(np.float32 if narrow else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        values *= values.dtype.type(scale)
        values += values.dtype.type(zero)
    return values


def _holds(dtype: np.dtype, value: int) -> bool:
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max
