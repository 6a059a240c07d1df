"""The checksums of FITS files (FITS 4.0, section 4.4.2.7 and appendix J): whether pixels or header were changed."""

import numpy as np

from dbpipe.errors import DataError
from dbpipe.io.hdus import BLOCK_BYTE

_ALL_ONES = 0xFFFFFFFF
"""Minus zero in ones' complement: what CHECKSUM makes the sum of header and data."""


def check_sums(content, hdu):
    """Compare the data of an HDU with its DATASUM and all of it with its CHECKSUM, where it has them.

    Returns
    -------
    str or None
        What is to be told of a header that was changed after its CHECKSUM was written.

    Raises
    ------
    DataError
        If the data are not those of which DATASUM was written.
    """
    content = memoryview(content)
    end = hdu.data_start + -(-hdu.data_byte // BLOCK_BYTE) * BLOCK_BYTE
    sum_of_data = ones_complement_sum(content[hdu.data_start : end])
    wanted = _read(hdu.header, "DATASUM")
    has_sum = wanted is not None and wanted.isascii() and wanted.isdigit()
    if has_sum and int(wanted[:20]) != sum_of_data:
        raise DataError(
            "file is damaged: its DATASUM is not that of its data", hdu=str(hdu), DATASUM=wanted, found=str(sum_of_data)
        )
    if not _read(hdu.header, "CHECKSUM"):
        return None
    if ones_complement_sum(content[hdu.start : hdu.data_start], sum_of_data) in (_ALL_ONES, 0):
        return None
    what = "the header was changed since" if has_sum else "header or pixels were changed since, and there is no DATASUM"
    return f"CHECKSUM of HDU {hdu} does not fit: {what}"


def ones_complement_sum(data, start=0):
    """Return the sum of big-endian 32-bit words with the carry brought around, from a sum of earlier words."""
    words = np.frombuffer(data, ">u4", count=len(data) // 4)
    total = int(words.sum(dtype=np.uint64)) + start
    tail = len(data) % 4
    if tail:
        total += int.from_bytes(bytes(data[-tail:]).ljust(4, b"\0"), "big")
    while total > _ALL_ONES:
        total = (total & _ALL_ONES) + (total >> 32)
    return total


def _read(header, keyword):
    """Return a card as text; one that cannot be read sums up nothing."""
    try:
        value = header.get(keyword)
    except DataError:
        return None
    return None if value is None else str(value).strip()
