"""Raw images: from any FITS file to electrons with masks, a WCS and what the header says.

Files may be plain, gzip or bzip2 compressed, or tile compressed (``.fz``). Whatever is wrong with one is a `DataError`.
"""

import hashlib
import re
from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from astropy.wcs import WCS

from dbpipe.disk.content import DAMAGED, MAX_FILE_MIB, decompress, read_content
from dbpipe.errors import DataError
from dbpipe.io.fits.cards import missing_card
from dbpipe.io.fits.checksum import check_sums
from dbpipe.io.fits.hdus import Hdu, not_fits, read_hdus
from dbpipe.io.fits.pixels import read_pixels
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.raw.header import HeaderFacts, read_facts
from dbpipe.io.raw.image_choice import choose_image
from dbpipe.io.raw.instrument import Instrument
from dbpipe.io.raw.wcs import read_wcs

_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]", re.ASCII)
_LARGEST_E = 1e18
"""Squared it still is a float32 (3.4e38); larger values, as markers of empty pixels, are no measurements."""


@dataclass(frozen=True, kw_only=True)
class RawImage(HeaderFacts):
    """One raw image, ready for calibration, and the facts of its header."""

    image: np.ndarray
    """(ny, nx) float32 [electron]; unusable pixels hold the median of the others."""
    bad: np.ndarray
    """(ny, nx) bool: no usable value."""
    saturated: np.ndarray
    """(ny, nx) bool: at or above the saturation level; bleeds are not grown."""
    wcs: WCS
    """As in the header: celestial, ICRS or FK5 J2000."""
    sky_e: float
    """Median of the usable pixels [electron]."""
    sha256: str
    """Hash of the file."""
    size_byte: int
    notes: tuple[Any, ...] = ()
    """What is to be told although the file is used: images left out, a header changed after its checksum."""


def read_raw(path: Path, instrument: Instrument, *, max_mib: float = MAX_FILE_MIB) -> RawImage:
    """Read one raw image.

    Parameters
    ----------
    path : str or Path
    instrument : Instrument
    max_mib : float
        Largest size of the file, unpacked, of which no more is ever held [MiB].

    Returns
    -------
    RawImage

    Raises
    ------
    DataError
        The file cannot be read, holds no two-dimensional image, no celestial WCS or no usable pixel, or its header
        does not give what the instrument description says.
    """
    path = Path(path)
    packed = read_content(path, max_mib=max_mib)
    with quiet():
        image = _read_image(packed, path.name, wanted=instrument.hdu, max_mib=max_mib)
        facts = read_facts(image.header, path.name, instrument)
        wcs, pixels, blank = read_wcs(image.own_header, image.pixels.shape), image.pixels, image.blank
        if instrument.trim is not None:
            window = _find_window(pixels.shape, image.header, instrument.trim)
            pixels, wcs, blank = pixels[window], wcs[window], blank if blank is None else blank[window]
        wcs.array_shape = pixels.shape
    electrons, bad, saturated, sky_e = _to_electrons(pixels, blank, facts, instrument)
    return RawImage(
        image=electrons,
        bad=bad,
        saturated=saturated,
        wcs=wcs,
        sky_e=sky_e,
        sha256=hashlib.sha256(packed).hexdigest(),
        size_byte=len(packed),
        notes=image.notes,
        **vars(facts),
    )


@dataclass(frozen=True)
class StoredImage:
    """The image of a file as it is stored."""

    pixels: np.ndarray
    blank: np.ndarray | None
    own_header: Mapping[str, Any]
    header: Mapping[str, Any]
    """Its own cards, then those of the primary HDU."""
    notes: tuple[Any, ...]


def read_image(path: Path, *, wanted: Any | None = None, max_mib: float = MAX_FILE_MIB) -> StoredImage:
    """Read the image of a file as it is stored, whatever camera it is of.

    Parameters
    ----------
    path : path
    wanted : int or str, optional
        Number or name of its HDU; else the first one with an image.

    Returns
    -------
    StoredImage

    Raises
    ------
    DataError
        If the file cannot be read or has no two-dimensional image.
    """
    with quiet():
        return _read_image(read_content(path, max_mib=max_mib), Path(path).name, wanted=wanted, max_mib=max_mib)


def _read_image(packed: bytes, name: str, *, wanted: int | str | None, max_mib: float) -> StoredImage:
    """Find the image of a file and read it; what is wrong with the file names it and its size."""
    try:
        content = _unpack(packed, max_mib)
        hdus, n_more_byte = read_hdus(content)
        hdu, notes = choose_image(hdus, wanted)
        notes += [f"{n_more_byte} bytes after the last HDU were not read"] if n_more_byte else []
        pixels, blank, odd = read_pixels(content, hdu, max_mib=max_mib)
        notes += [note for note in (odd, check_sums(content, hdu)) if note]
        return StoredImage(pixels, blank, hdu.header, _with_primary(hdu, hdus[0]), tuple(notes))
    except DataError as error:
        where = {"file": name, "size_byte": len(packed)}
        raise DataError(error.message, **where | error.numbers) from error


def _unpack(packed: bytes, max_mib: float) -> bytes:
    try:
        return decompress(packed, max_mib=max_mib)
    except DAMAGED as error:
        raise not_fits(f"{type(error).__name__}: {error}") from error


def _with_primary(hdu: Hdu, primary: Hdu) -> Mapping[str, Any]:
    """Return the header of an image, which goes on in the primary one unless it says INHERIT = F."""
    if hdu is primary:
        return hdu.header
    try:
        inherits = hdu.header.get("INHERIT") is not False
    except DataError:
        inherits = True
    return ChainMap(*cast(list[MutableMapping[str, Any]], [hdu.header, primary.header])) if inherits else hdu.header


def _find_window(shape: tuple[int, int], header: Mapping[str, Any], trim: str) -> tuple[slice, slice]:
    """Return the slices of a section ``[x1:x2,y1:y2]`` (first pixel 1, ends included), or of the keyword with it."""
    if not trim.startswith("[") and trim not in header:
        raise missing_card(header, trim)
    section = trim if trim.startswith("[") else str(header[trim])
    match = _SECTION.fullmatch(section.strip())
    x1, x2, y1, y2 = map(int, match.groups()) if match else (0, 0, 0, 0)
    ny, nx = shape
    if not (1 <= x1 <= x2 <= nx and 1 <= y1 <= y2 <= ny):
        raise DataError("trim section is not inside the image", section=section, nx=nx, ny=ny)
    return slice(y1 - 1, y2), slice(x1 - 1, x2)


def _to_electrons(
    pixels: np.ndarray, blank: np.ndarray | None, facts: HeaderFacts, instrument: Instrument
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Return image [electron], bad, saturated and the median; pixel values are compared before they are scaled."""
    scale = facts.gain if instrument.pixel_unit == "adu" else 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        image = pixels.astype(np.float32)
        image *= np.float32(scale)
        bad = ~(np.abs(image) < _LARGEST_E)  # NaN and infinity too
    if blank is not None:
        bad |= blank
    for value in instrument.bad_values:
        bad |= pixels == value
    if instrument.bad_below is not None:
        bad |= pixels < instrument.bad_below
    n_bad = int(np.count_nonzero(bad))
    if n_bad == bad.size:
        raise DataError("no pixel is usable", n_pix=bad.size)
    saturated = (pixels >= facts.saturation_e / scale) & ~bad
    sky_e = float(np.median(image[~bad] if n_bad else image))
    image[bad] = sky_e  # finite everywhere, so that nothing rings before the mask is applied
    return image, bad, saturated, sky_e
