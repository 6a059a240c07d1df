"""The pixels of an image in a FITS file, as the values that they stand for, and those that stand for nothing."""

import io
import math
import re
import zlib

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._compression import CfitsioException  # nowhere public, and no kin of OSError

from dbpipe.errors import DataError
from dbpipe.io.cards import read_number
from dbpipe.io.hdus import BLOCK_BYTE, not_fits, read_bitpix, read_size

_TABLE = re.compile(
    r"XTENSION|BITPIX|NAXIS[12]?|PCOUNT|GCOUNT|TFIELDS|THEAP|T(TYPE|FORM)\d+"
    r"|ZIMAGE|ZBITPIX|ZNAXIS\d*|ZTILE\d+|ZCMPTYPE|Z(NAME|VAL)\d+|ZQUANTIZ|ZDITHER0|ZBLANK|ZSCALE|ZZERO|ZMASKCMP"
)
"""What it takes to undo tile compression (FITS 4.0, section 10.1), and nothing else."""
_UNREADABLE = (
    OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError,
    RuntimeError, MemoryError, fits.VerifyError, CfitsioException,
)  # fmt: skip
"""What astropy and the decoders raise for damaged tiles."""


def read_pixels(content, hdu, *, max_mib):
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
    stored = _unpack_tiles(content, hdu, max_mib) if hdu.is_compressed else _view(content, hdu)
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


def _view(content, hdu):
    """Return the stored numbers of an uncompressed image."""
    bitpix = read_bitpix(hdu.header)
    kind = ("u" if bitpix == 8 else "i") if bitpix > 0 else "f"
    dtype = np.dtype(f">{kind}{abs(bitpix) // 8}")
    return np.frombuffer(content, dtype, count=math.prod(hdu.shape), offset=hdu.data_start).reshape(hdu.shape)


def _scale(stored, header):
    """Return the values that stored numbers stand for."""
    scale = read_number(header, "BSCALE") if "BSCALE" in header else 1.0
    zero = read_number(header, "BZERO") if "BZERO" in header else 0.0
    if scale == 0.0:
        raise DataError("BSCALE is 0: all pixels would have one value", BSCALE=scale)
    if (scale, zero) == (1.0, 0.0):
        return stored
    narrow = stored.dtype.itemsize < 4 or stored.dtype == np.dtype(">f4")
    values = stored.astype(np.float32 if narrow else np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        values *= values.dtype.type(scale)
        values += values.dtype.type(zero)
    return values


def _holds(dtype, value):
    limits = np.iinfo(dtype)
    return limits.min <= value <= limits.max


def _unpack_tiles(content, hdu, max_mib):
    """Return the stored numbers of a tile-compressed image."""
    _check_tiles(hdu, max_mib)
    table = memoryview(content)[hdu.data_start : hdu.data_start + hdu.data_byte]
    keys = [key for key in hdu.header if _TABLE.fullmatch(key) and hdu.header.get(key) is not None]
    cards = b"".join(map(hdu.header.first_card, keys)) + b"END"
    primary = fits.PrimaryHDU().header.tostring().encode()
    packed = b"".join([primary, cards.ljust(-(-len(cards) // BLOCK_BYTE) * BLOCK_BYTE), table])
    try:
        with fits.open(io.BytesIO(packed), memmap=False, do_not_scale_image_data=True) as hdus:
            return np.asarray(hdus[1].data).reshape(hdu.shape)
    except _UNREADABLE as error:
        raise not_fits(f"compressed tiles are damaged: {type(error).__name__}: {error}", hdu=hdu.number) from error


def _check_tiles(hdu, max_mib):
    """Raise DataError unless the table has the tiles that its header speaks of, and the image is within the limit."""
    size_byte = math.prod(hdu.shape) * abs(read_bitpix(hdu.header, "ZBITPIX")) // 8
    if size_byte > max_mib * 2**20:
        raise DataError(
            "unpacked image is too large", axes=list(hdu.axes), unpacked_mib=round(size_byte / 2**20, 1),
            limit_mib=max_mib, needed="a smaller image, or a larger max_file_mib in [ingest]",
        )  # fmt: skip
    n_tile = 1
    for axis, length in enumerate(hdu.axes, 1):
        default = length if axis == 1 else 1
        side = read_size(hdu.header, f"ZTILE{axis}") if f"ZTILE{axis}" in hdu.header else default
        if not 1 <= side <= max(length, 1):
            raise not_fits(f"ZTILE{axis} must be 1 to {length}", **{f"ZTILE{axis}": side})
        n_tile *= -(-length // side)
    n_row = read_size(hdu.header, "NAXIS2")
    if n_row != n_tile:
        raise not_fits("the number of tiles is not that of the table", n_tile=n_tile, NAXIS2=n_row)
