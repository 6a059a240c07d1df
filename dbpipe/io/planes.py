"""Named image planes in one FITS file: how warps, coadds and difference images are stored.

Bytes depend on the content only: no date, no version, nothing that changes when the same unit is done again.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.image import BITPIX2DTYPE
from astropy.wcs import WCS

from dbpipe.errors import DataError
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.wcs_text import wcs_cards, wcs_from_header


@dataclass(frozen=True)
class Planes:
    """Arrays by name, with one WCS."""

    arrays: dict[str, Any]
    """Name (8 capital letters at most) -> array; the first is an image and every array of its shape gets the WCS."""
    wcs: WCS
    metadata: dict[str, Any]
    """Keyword (8 characters at most) -> value, for the primary header."""

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file."""
        shape = next(iter(self.arrays.values())).shape
        hdus = [fits.PrimaryHDU(header=fits.Header(list(self.metadata.items())))]
        for name, array in self.arrays.items():
            header = fits.Header(wcs_cards(self.wcs)) if array.shape == shape else None
            hdus.append(fits.ImageHDU(array, name=name, header=header))
        fits.HDUList(hdus).writeto(path, overwrite=True)


def read_planes(path: str | os.PathLike[str], names: Sequence[str]) -> Planes:
    """Read planes by name, in native byte order.

    Raises
    ------
    DataError
        If the file cannot be read or lacks a plane.
    """
    try:
        with quiet(), fits.open(path, memmap=False) as hdus:
            arrays = {name: _native(hdus[name].data) for name in names}
            wcs = wcs_from_header(hdus[1].header)
            return Planes(arrays, wcs, dict(hdus[0].header))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError("image cannot be read", path=str(path), problem=f"{type(error).__name__}: {error}") from error


def read_window(
    path: str | os.PathLike[str], names: Sequence[str], window: tuple[slice, slice]
) -> dict[str, np.ndarray]:
    """Read a window (a pair of slices) of planes whose last two axes are the image; returns a dict of arrays.

    Of a file that `Planes.write` made: a memory map reads the pages of the window and no others.

    Raises
    ------
    DataError
        If the file cannot be read or lacks a plane.
    """
    try:
        with quiet(), fits.open(path, memmap=False) as hdus:
            return {name: _window_of(path, hdus[name], window) for name in names}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise DataError("image cannot be read", path=str(path), problem=f"{type(error).__name__}: {error}") from error


def _window_of(path: str | os.PathLike[str], hdu: fits.ImageHDU, window: tuple[slice, slice]) -> np.ndarray:
    stored = np.dtype(BITPIX2DTYPE[hdu.header["BITPIX"]]).newbyteorder(">")
    mapped = np.memmap(path, stored, mode="r", offset=hdu.fileinfo()["datLoc"], shape=hdu.shape)
    part = _native(mapped[(Ellipsis, *window)])
    # FITS has no unsigned numbers but bytes: they are stored less half their range
    zero = hdu.header.get("BZERO", 0)
    if not zero:
        return part
    unsigned = np.dtype(f"u{part.dtype.itemsize}")
    return part.view(unsigned) ^ unsigned.type(zero)


def _native(data: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
