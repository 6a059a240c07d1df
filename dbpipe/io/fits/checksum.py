"""The checksums of FITS files (FITS 4.0, section 4.4.2.7 and appendix J): whether pixels or header were changed."""

from typing import Any

import numpy as np

from dbpipe.errors import DataError
from dbpipe.io.fits.cards import Header
from dbpipe.io.fits.hdus import BLOCK_BYTE, Hdu

_MAX_DIGIT = 10
"""Of a sum of 32 bits."""
_ALL_ONES = 0xFFFFFFFF
"""Minus zero in ones' complement: what CHECKSUM makes the sum of header and data."""


def check_sums(content: bytes, hdu: Hdu) -> str | None:
    """Compare the data of an HDU with its DATASUM and all of it with its CHECKSUM, where it has them.

    Programs that copy a header to other pixels leave sums that belong to none of them. They change more in the header
    than that, so its own part of CHECKSUM tells such a file from one whose pixels were damaged on the way.

    Returns
    -------
    str or None
        What is to be told of a header that was changed after its sums were written.

    Raises
    ------
    DataError
        If the data are not those of which DATASUM was written, although the header is as it was, as far as it says.
    """
    view = memoryview(content)
    end = hdu.data_start + -(-hdu.data_byte // BLOCK_BYTE) * BLOCK_BYTE
    sum_of_data = ones_complement_sum(view[hdu.data_start : end])
    wanted, checksum = _read(hdu.header, "DATASUM"), _read(hdu.header, "CHECKSUM")
    promised = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) <= _MAX_DIGIT else None
    sum_of_data_then = sum_of_data if promised is None else promised
    total = ones_complement_sum(view[hdu.start : hdu.data_start], sum_of_data_then)
    is_header_as_then = not checksum or total in (_ALL_ONES, 0)
    if promised not in (None, sum_of_data):
        if is_header_as_then:
            raise DataError(
                "file is damaged: its DATASUM is not that of its data", hdu=str(hdu), DATASUM=wanted,
                found=str(sum_of_data),
            )  # fmt: skip
        return f"neither DATASUM nor CHECKSUM of HDU {hdu} fits: pixels and header were changed since"
    if is_header_as_then:
        return None
    what = "header or pixels were changed since, and there is no DATASUM"
    return f"CHECKSUM of HDU {hdu} does not fit: {what if promised is None else 'the header was changed since'}"


def ones_complement_sum(data: Any, start: int = 0) -> int:
    """Return the sum of big-endian 32-bit words with the carry brought around, from a sum of earlier words."""
    words = np.frombuffer(data, ">u4", count=len(data) // 4)
    total = int(words.sum(dtype=np.uint64)) + start
    tail = len(data) % 4
    if tail:
        total += int.from_bytes(bytes(data[-tail:]).ljust(4, b"\0"), "big")
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total


def _read(header: Header, keyword: str) -> str:
    """Return a card as text; one that is not there or cannot be read says nothing."""
    try:
        return str(header.get(keyword, "")).strip()
    except DataError:
        return ""
