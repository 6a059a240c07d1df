"""The parts of a FITS file: their headers, and where their data are, without touching these.

Sizes are taken from the header only as far as the file really goes, so that no card can ask for more memory or time
than the file is worth (FITS 4.0, sections 3, 4.4.1 and 7).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from dbpipe.errors import DataError
from dbpipe.io.fits.cards import CARD_BYTE, Header, is_end

BLOCK_BYTE = 2880
"""FITS 4.0, section 3.1"""
MAX_CARD, MAX_HDU = 100_000, 10_000
"""More than any file has: simulators write some thousands of cards, mosaics some hundreds of parts."""
_BITPIX = (8, 16, 32, 64, -32, -64)


@dataclass(frozen=True)
class Hdu:
    """One part of a FITS file."""

    number: int
    header: Header
    start: int
    """First byte of the header in the file."""
    data_start: int
    data_byte: int
    """Size of the data without padding [byte]."""

    @cached_property
    def name(self) -> str:
        """EXTNAME in capitals, or nothing."""
        try:
            return str(self.header.get("EXTNAME", "")).strip().upper()
        except DataError:
            return ""

    @cached_property
    def is_compressed(self) -> bool:
        """Whether this is a table that holds the tiles of an image."""
        return _kind(self.header) == "BINTABLE" and self.header.get("ZIMAGE") is True

    @cached_property
    def axes(self) -> tuple[int, ...]:
        """Lengths of the axes of the image, the fastest first; nothing where there is no image."""
        if self.is_compressed:
            return tuple(read_size(self.header, f"ZNAXIS{k}") for k in range(1, read_size(self.header, "ZNAXIS") + 1))
        if _kind(self.header) not in ("IMAGE", "IUEIMAGE"):
            return ()
        return _lengths(self.header)

    @property
    def shape(self) -> tuple[int, int] | None:
        """(ny, nx) of a two-dimensional image, further axes of length 1 left out; None for anything else."""
        if len(self.axes) < 2 or min(self.axes) < 1 or any(length > 1 for length in self.axes[2:]):
            return None
        return self.axes[1], self.axes[0]

    def __str__(self) -> str:
        size = " x ".join(map(str, self.axes)) or "no image"
        return f"{self.number} {self.name} ({size})" if self.name else f"{self.number} ({size})"


def not_fits(problem: str, **numbers: Sequence[int] | int | str) -> DataError:
    """Return the verdict on a file whose structure cannot be followed."""
    return DataError("file is not readable FITS", problem=problem, **numbers)


def read_hdus(content: bytes) -> tuple[list[Hdu], int]:
    """Find the parts of a file.

    Returns
    -------
    (list of Hdu, int)
        And how many bytes follow the last of them that belong to none, zeros and blanks not counted.

    Raises
    ------
    DataError
        If the file does not begin like FITS, is cut short, or a card of its structure cannot be.
    """
    if not content.startswith(b"SIMPLE  ="):
        raise not_fits("it does not begin with SIMPLE", begins=repr(bytes(content[:16])))
    hdus: list[Hdu] = []
    start = 0
    while start < len(content) and (not hdus or content[start : start + 8] == b"XTENSION"):
        if len(hdus) == MAX_HDU:
            raise not_fits(f"it has more than {MAX_HDU} parts")
        hdu = _read_hdu(content, start, len(hdus))
        hdus.append(hdu)
        start = hdu.data_start + -(-hdu.data_byte // BLOCK_BYTE) * BLOCK_BYTE
    end = hdus[-1].data_start + hdus[-1].data_byte
    return hdus, len(bytes(content[end:]).strip(b"\0 "))


def read_size(header: Header, keyword: str) -> int:
    """Return a card that counts something: a whole number, not negative and not as text."""
    try:
        value = header[keyword]
    except KeyError:
        raise not_fits(f"{keyword} is missing", missing=keyword) from None
    except DataError as error:
        raise not_fits(error.message, **error.numbers) from error
    if type(value) is not int or value < 0:
        raise not_fits(f"{keyword} must be a whole number, 0 or more", **{keyword: str(value)})
    return value


def read_bitpix(header: Header, keyword: str = "BITPIX") -> int:
    """Return the kind of the stored numbers: bits, negative for floats."""
    try:
        value = header.get(keyword)
    except DataError as error:
        raise not_fits(error.message, **error.numbers) from error
    if type(value) is not int or value not in _BITPIX:
        raise not_fits(f"{keyword} must be one of {', '.join(map(str, _BITPIX))}", **{keyword: str(value)})
    return value


def _read_hdu(content: bytes, start: int, number: int) -> Hdu:
    data_start = _find_data(content, start, number)
    header = Header.from_bytes(content[start:data_start])
    n_byte = _count_byte(header)
    if data_start + n_byte > len(content):
        raise not_fits(
            "the file is cut short, or a size in its header is wrong", hdu=number, axes=list(_lengths(header)),
            needed_byte=data_start + n_byte, found_byte=len(content),
        )  # fmt: skip
    return Hdu(number, header, start, data_start, n_byte)


def _find_data(content: bytes, start: int, number: int) -> int:
    """Return where the header that begins at ``start`` ends."""
    for at in range(start, min(len(content), start + MAX_CARD * CARD_BYTE), CARD_BYTE):
        if is_end(content[at : at + CARD_BYTE]):
            return start + -(-(at + CARD_BYTE - start) // BLOCK_BYTE) * BLOCK_BYTE
    raise not_fits("a header has no END", hdu=number, n_card_read=min(MAX_CARD, (len(content) - start) // CARD_BYTE))


def _kind(header: Header) -> str:
    """Return the kind of an HDU, ``IMAGE`` for a primary one that keeps the standard."""
    try:
        if "XTENSION" in header:
            return str(header["XTENSION"]).strip().upper()
        return "IMAGE" if header.get("SIMPLE") is True and header.get("GROUPS") is not True else "OTHER"
    except DataError as error:
        raise not_fits(error.message, **error.numbers) from error


def _lengths(header: Header) -> tuple[int, ...]:
    n_axis = read_size(header, "NAXIS")
    if n_axis > 999:
        raise not_fits("NAXIS must not exceed 999", NAXIS=n_axis)
    return tuple(read_size(header, f"NAXIS{k}") for k in range(1, n_axis + 1))


def _count_byte(header: Header) -> int:
    """Return the size of the data of an HDU [byte] (FITS 4.0, equations 1 and 2)."""
    lengths = _lengths(header)
    if not lengths:
        return 0
    if lengths[0] == 0 and header.get("GROUPS") is True:
        lengths = lengths[1:]
    n_group = read_size(header, "GCOUNT") if "GCOUNT" in header else 1
    n_more = read_size(header, "PCOUNT") if "PCOUNT" in header else 0
    return abs(read_bitpix(header)) // 8 * n_group * (n_more + math.prod(lengths))
