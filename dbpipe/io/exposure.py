"""Images that the pipeline writes: image, variance, mask, PSF model, WCS and metadata in one FITS file.

    PRIMARY    no pixels; the metadata cards
    IMAGE      float32, with the WCS
    VARIANCE   float32, with the WCS
    MASK       uint16 (BZERO 32768), with the WCS and one card MP_<plane> per bit
    PSF        float64 basis images (n_terms, size, size), only if there is a PSF model

The same exposure gives the same bytes: no dates, no compression. The planes lie in the file as plain big-endian
arrays, so they can be mapped into memory.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from dbpipe.errors import DataError
from dbpipe.imaging import mask as mask_planes
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.wcs_text import exact_card, wcs_cards, wcs_from_header, wcs_from_text, wcs_to_text

__all__ = ["Exposure", "read_exposure", "wcs_from_text", "wcs_to_text"]

_BLOCK = 2880
_STRUCTURAL = ("SIMPLE", "BITPIX", "NAXIS", "EXTEND", "END")
_PLANES = ("image", "variance", "mask")


@dataclass(frozen=True)
class Exposure:
    """An image with everything that belongs to it. Planes that were not asked for are None."""

    image: np.ndarray
    """(ny, nx) float32; its unit is in the metadata."""
    variance: np.ndarray
    """(ny, nx) float32, the square of that unit."""
    mask: np.ndarray
    """(ny, nx) uint16, bits of `dbpipe.imaging.mask`."""
    wcs: WCS
    psf: Any = None
    """PsfModel."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Keyword (up to 8 capital letters, digits, - and _) -> text, whole number, number or bool."""

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file; values are written as they are, NaN included.

        Raises
        ------
        ValueError
            A plane has another shape than the image, or a metadata keyword or value that FITS cannot hold.
        """
        for name in _PLANES:
            if getattr(self, name).shape != self.image.shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, the image {self.image.shape}")
        cards = wcs_cards(self.wcs)
        planes = [fits.Card(f"MP_{name}"[:8], bit) for name, bit in _short_mask_names().items()]
        with open(path, "wb") as file:
            _write_hdu(file, _primary_cards(self.metadata))
            _write_hdu(file, _image_cards("IMAGE", -32, self.image.shape, cards), self.image.astype(">f4"))
            _write_hdu(file, _image_cards("VARIANCE", -32, self.variance.shape, cards), self.variance.astype(">f4"))
            zero = [fits.Card("BSCALE", 1), fits.Card("BZERO", 32768)]
            # unsigned integers are stored with an offset of 2^15, which is the same as turning over the first bit
            stored = (self.mask.astype(np.uint16) ^ np.uint16(0x8000)).astype(">u2")
            _write_hdu(file, _image_cards("MASK", 16, self.mask.shape, zero + planes + cards), stored)
            if self.psf is not None:
                ny, nx = self.psf.shape
                shape = [fits.Card("PSFDEG", self.psf.degree), fits.Card("PSFNX", nx), fits.Card("PSFNY", ny)]
                _write_hdu(file, _image_cards("PSF", -64, self.psf.basis.shape, shape), self.psf.basis.astype(">f8"))


def read_exposure(path: str | os.PathLike[str], *, planes: tuple[str, ...] = _PLANES) -> Exposure:
    """Read a file written by `Exposure.write`.

    Parameters
    ----------
    path : str or Path
    planes : which of image, variance and mask to read; the others are None

    Raises
    ------
    DataError
        If the file cannot be read or is not such a file.
    """
    path = Path(path)
    try:
        with quiet(), fits.open(path, memmap=True, lazy_load_hdus=False) as hdus:
            found = {name: _read_plane(path, hdus[name.upper()]) for name in planes}
            wcs = wcs_from_header(hdus["IMAGE"].header)
            wcs.array_shape = hdus["IMAGE"].shape
            metadata = {key: value for key, value in hdus[0].header.items() if key not in _STRUCTURAL}
            psf = _read_psf(hdus["PSF"]) if "PSF" in hdus else None
    except (OSError, KeyError, ValueError, TypeError, fits.VerifyError) as error:
        raise DataError(
            "exposure cannot be read", path=str(path), problem=f"{type(error).__name__}: {error}"
        ) from error
    image, variance, mask = (cast(np.ndarray, found.get(name)) for name in _PLANES)
    return Exposure(image, variance, mask, wcs=wcs, psf=psf, metadata=metadata)


def _read_plane(path: Path, hdu: fits.ImageHDU) -> np.ndarray:
    """Read the pixels of one plane straight from the file, in the byte order of this machine."""
    dtype = {-32: ">f4", 16: ">u2"}[hdu.header["BITPIX"]]
    ny, nx = hdu.shape
    stored = np.fromfile(path, dtype=dtype, count=ny * nx, offset=hdu.fileinfo()["datLoc"])
    if stored.size != ny * nx:
        raise ValueError(f"{hdu.name} is cut short: {stored.size} of {ny * nx} pixels")
    plane = stored.astype(stored.dtype.newbyteorder("=")).reshape(ny, nx)
    if hdu.header["BITPIX"] == 16:
        plane ^= np.uint16(0x8000)
    return plane


def _read_psf(hdu: fits.ImageHDU) -> PsfModel:
    """Return the PSF model of its HDU."""
    shape = (hdu.header["PSFNY"], hdu.header["PSFNX"])
    return PsfModel(basis=hdu.data.astype(np.float64), shape=shape, degree=hdu.header["PSFDEG"])


def _primary_cards(metadata: Mapping[str, Any]) -> list[fits.Card]:
    """Return the cards of the primary HDU."""
    cards = [fits.Card("SIMPLE", True), fits.Card("BITPIX", 8), fits.Card("NAXIS", 0), fits.Card("EXTEND", True)]
    for key, value in metadata.items():
        if key in _STRUCTURAL or len(key) > 8 or key != key.upper():
            raise ValueError(f"{key} cannot be a metadata keyword: up to 8 capital letters, none of FITS's own")
        cards.append(exact_card(key, value))
    return cards


def _image_cards(name: str, bitpix: int, shape: tuple[int, ...], extra: Sequence[fits.Card]) -> list[fits.Card]:
    """Return the cards of an image HDU."""
    sizes = {f"NAXIS{k + 1}": n for k, n in enumerate(reversed(shape))}
    values = {"XTENSION": "IMAGE", "BITPIX": bitpix, "NAXIS": len(shape), **sizes, "PCOUNT": 0, "GCOUNT": 1}
    return [fits.Card(key, value) for key, value in values.items()] + [fits.Card("EXTNAME", name), *extra]


def _short_mask_names() -> dict[str, int]:
    """Return mask plane names cut to what a keyword can hold -> bit; they stay distinct."""
    return {name.replace("_", "")[:5]: bit for name, bit in mask_planes.NAMES.items()}


def _write_hdu(file: Any, cards: Sequence[fits.Card], data: np.ndarray | None = None) -> None:
    """Append one HDU: header and big-endian data, each padded to whole blocks."""
    file.write(fits.Header(cards).tostring().encode("ascii"))
    if data is not None:
        data.tofile(file)
        file.write(bytes(-data.nbytes % _BLOCK))
