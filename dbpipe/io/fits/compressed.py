"""Images whose tiles are compressed in a table (``.fz``, FITS 4.0, section 10), unpacked by astropy.

Astropy is shown the cards that this takes and no others, after they and the tiles have been found to fit the image.
"""

import io
import math
import re
import zlib
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._compression import CfitsioException  # nowhere public, and no kin of OSError

from dbpipe.errors import DataError
from dbpipe.io.fits.hdus import BLOCK_BYTE, Hdu, not_fits, read_bitpix, read_size

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


_MAX_COLUMN = 999
"""FITS 4.0, section 7.3.1"""
_WIDEST_BYTE = 8
"""Of a pixel in a tile: wider than any that FITS has a name for."""
_IS_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def unpack_tiles(content: bytes, hdu: Hdu, max_mib: float) -> np.ndarray:
    """Return the stored numbers of a tile-compressed image, (ny, nx), not yet scaled by BSCALE and BZERO.

    Raises
    ------
    DataError
        If tiles and header do not fit, tiles are damaged, or the image is larger than the limit [MiB].
    """
    tile_shape = _check_tiles(hdu, max_mib)
    table = bytes(memoryview(content)[hdu.data_start : hdu.data_start + hdu.data_byte])
    keys = [key for key in hdu.header if _TABLE.fullmatch(key) and hdu.header.get(key) is not None]
    cards = b"".join(map(hdu.header.first_card, keys)) + b"END"
    primary = fits.PrimaryHDU().header.tostring().encode()
    packed = b"".join([primary, _fill(cards, b" "), _fill(table, b"\0")])
    try:
        with fits.open(io.BytesIO(packed), memmap=False, disable_image_compression=True) as hdus:
            _check_heap(hdus[1].data, hdu, math.prod(tile_shape) * _WIDEST_BYTE)
        with fits.open(io.BytesIO(packed), memmap=False, do_not_scale_image_data=True) as hdus:
            return np.asarray(hdus[1].data).reshape(hdu.shape)
    except _UNREADABLE as error:
        raise not_fits(f"compressed tiles are damaged: {type(error).__name__}: {error}", hdu=hdu.number) from error


def _fill(data: bytes, with_byte: bytes) -> bytes:
    """Return data filled up to whole blocks."""
    return data.ljust(-(-len(data) // BLOCK_BYTE) * BLOCK_BYTE, with_byte)


def _check_tiles(hdu: Hdu, max_mib: float) -> list[int]:
    """Return the sides of a tile, if the table has as many as its header says and the image is not too large."""
    size_byte = math.prod(hdu.shape or ()) * abs(read_bitpix(hdu.header, "ZBITPIX")) // 8
    if size_byte > max_mib * 2**20:
        raise DataError(
            "unpacked image is too large", axes=list(hdu.axes), unpacked_mib=round(size_byte / 2**20, 1),
            max_file_mib=max_mib,
        )  # fmt: skip
    if not 1 <= (n_column := read_size(hdu.header, "TFIELDS")) <= _MAX_COLUMN:
        raise not_fits(f"TFIELDS must be 1 to {_MAX_COLUMN}", TFIELDS=n_column)
    n_tile, sides = 1, []
    for axis, length in enumerate(hdu.axes, 1):
        default = length if axis == 1 else 1
        side = read_size(hdu.header, f"ZTILE{axis}") if f"ZTILE{axis}" in hdu.header else default
        if not 1 <= side <= max(length, 1):
            raise not_fits(f"ZTILE{axis} must be 1 to {length}", **{f"ZTILE{axis}": side})
        n_tile *= -(-length // side)
        sides.append(side)
    n_row = read_size(hdu.header, "NAXIS2")
    if n_row != n_tile:
        raise not_fits("the number of tiles is not that of the table", n_tile=n_tile, NAXIS2=n_row)
    return sides


def _check_heap(rows: Any, hdu: Hdu, tile_byte: int) -> None:
    """Raise DataError if tiles share bytes of the file, or a gzip tile unpacks to more than it has pixels for."""
    for name in rows.names:
        where = rows.view(np.ndarray)[name]  # (length, offset) of what is stored apart
        if "COMPRESSED_DATA" not in name or where.ndim != 2:
            continue
        if where.min(initial=0) < 0 or int(where[:, 0].sum()) > hdu.data_byte:
            raise not_fits("compressed tiles are longer than the file", hdu=hdu.number, column=name)
        if not name.startswith("GZIP") and not str(hdu.header.get("ZCMPTYPE", "")).startswith("GZIP"):
            continue
        for k in np.flatnonzero(where[:, 0]):
            unpacked = zlib.decompressobj(_IS_GZIP_OR_ZLIB).decompress(rows[name][k].tobytes(), tile_byte + 1)
            if len(unpacked) > tile_byte:
                raise not_fits(
                    "a tile unpacks to more than its pixels", hdu=hdu.number, tile=int(k), limit_byte=tile_byte
                )
