"""Raw images: from any FITS file to electrons with masks, a WCS and what the header says.

Files may be plain, gzip or bzip2 compressed, or tile compressed (``.fz``). Whatever is wrong with one is a `DataError`.
"""

import bz2
import contextlib
import gzip
import hashlib
import io
import math
import re
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import astropy
import numpy as np
from astropy.io import fits
from astropy.io.fits.hdu.compressed._compression import CfitsioException  # nowhere public, and no kin of OSError
from astropy.wcs import WCS, NoConvergence, WcsError

from dbpipe.errors import DataError
from dbpipe.io.header import HeaderFacts, read_facts
from dbpipe.io.names import nearest
from dbpipe.units import ARCSEC_PER_DEG

_UNREADABLE = (
    OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, IndexError, fits.VerifyError, CfitsioException,
)  # fmt: skip
"""What Python and astropy raise for files that are missing, cut short, damaged or no FITS at all."""
_SMALLEST_PIXEL_ARCSEC, _LARGEST_PIXEL_ARCSEC = 1e-3, 600.0
"""From interferometers to all-sky cameras; a WCS without a scale has pixels of one degree by default."""
_SECTION = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]")


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


def read_raw(path, instrument):
    """Read one raw image.

    Parameters
    ----------
    path : str or Path
    instrument : Instrument

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
    with quiet():
        content = _read_bytes(path)
        header, cards, pixels = _read_image(content, instrument.hdu, path.name)
        facts = read_facts(header, path.name, instrument)
        wcs = _celestial_wcs(cards)
        if instrument.trim is not None:
            pixels, wcs = _trim(pixels, wcs, header, instrument.trim)
        wcs.array_shape = pixels.shape
    image, bad, saturated, sky_e = _to_electrons(pixels, facts, instrument)
    return RawImage(
        image=image,
        bad=bad,
        saturated=saturated,
        wcs=wcs,
        sky_e=sky_e,
        sha256=hashlib.sha256(content).hexdigest(),
        size_byte=len(content),
        **vars(facts),
    )


@contextlib.contextmanager
def quiet():
    """Keep astropy from printing: old headers make it talk on every file, and what matters is checked here."""
    level = astropy.log.level
    astropy.log.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        astropy.log.setLevel(level)


def _read_bytes(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError("file cannot be read", problem=str(error)) from error


def decompress(content):
    """Undo gzip or bzip2; unlike astropy this reads to the end, so the checksum is checked too."""
    if content.startswith(b"\x1f\x8b"):
        return gzip.decompress(content)
    if content.startswith(b"BZh"):
        return bz2.decompress(content)
    return content


def _read_image(content, wanted, name):
    """Return header values (the image's, then the primary's), the image's header and its pixels."""
    try:
        with fits.open(io.BytesIO(decompress(content)), memmap=False) as hdus:
            hdu = _find_image(hdus, wanted)
            header = {**_header_values(hdus[0].header), **_header_values(hdu.header)}
            return header, hdu.header.copy(), np.asarray(hdu.data)
    except _UNREADABLE as error:
        problem = f"{type(error).__name__}: {error}"
        raise DataError("file is not readable FITS", file=name, size_byte=len(content), problem=problem) from error


def _find_image(hdus, wanted):
    """Return the HDU that the description names, or the first with a two-dimensional image."""
    images = {k: hdu for k, hdu in enumerate(hdus) if hdu.is_image and hdu.header.get("NAXIS") == 2}
    found = [f"{k} {hdu.name}".strip() for k, hdu in images.items()]
    if wanted is None:
        if not images:
            raise DataError("file has no two-dimensional image", hdus=[hdu.name for hdu in hdus])
        return next(iter(images.values()))
    for k, hdu in images.items():
        if wanted == k or wanted == hdu.name:
            return hdu
    raise DataError(f"file has no two-dimensional image in HDU {wanted}", images=found)


def _header_values(header):
    """Return keyword -> value without comments and undefined values; the first of repeated cards counts."""
    values = {}
    for card in header.cards:
        if card.keyword not in ("", "COMMENT", "HISTORY") and not isinstance(card.value, fits.card.Undefined):
            values.setdefault(card.keyword, card.value)
    return values


def _celestial_wcs(cards):
    """Return the WCS of a header, or say why it has none."""
    if "CTYPE1" not in cards:
        raise DataError("header has no WCS", missing="CTYPE1", similar=nearest("CTYPE1", cards))
    try:
        wcs = WCS(cards)
        usable = wcs.naxis == 2 and wcs.has_celestial
        ny, nx = cards["NAXIS2"], cards["NAXIS1"]
        centre = wcs.all_pix2world([[(nx - 1) / 2, (ny - 1) / 2]], 0) if usable else np.array([np.nan])
    except (WcsError, NoConvergence, ValueError, TypeError, KeyError) as error:
        raise DataError("WCS of the header cannot be used", problem=str(error)) from error
    if not np.all(np.isfinite(centre)):
        types = {key: str(cards[key]) for key in ("CTYPE1", "CTYPE2") if key in cards}
        raise DataError("header has no usable celestial WCS", **types)
    largest, smallest = np.linalg.svd(wcs.pixel_scale_matrix, compute_uv=False) * ARCSEC_PER_DEG
    if not _SMALLEST_PIXEL_ARCSEC <= smallest <= largest <= _LARGEST_PIXEL_ARCSEC:
        raise DataError(
            "pixel scale of the header WCS is absurd", width_arcsec=float(smallest), length_arcsec=float(largest)
        )
    if wcs.wcs.lng != 0:
        raise DataError("WCS axes are swapped: the first must be right ascension", CTYPE1=str(cards["CTYPE1"]))
    frame, equinox = wcs.wcs.radesys, float(wcs.wcs.equinox)
    old_equinox = frame == "FK5" and math.isfinite(equinox) and equinox != 2000.0
    if wcs.wcs.lngtyp != "RA" or frame not in ("", "ICRS", "FK5") or old_equinox:
        # FK5 J2000 and ICRS agree to 0.03 arcsec, far inside the error of any header WCS; others do not
        raise DataError("WCS is neither ICRS nor FK5 J2000", frame=frame, equinox=str(equinox), axis=wcs.wcs.lngtyp)
    return wcs


def _trim(pixels, wcs, header, trim):
    """Cut out the section ``[x1:x2,y1:y2]`` (first pixel 1, ends included), or the one that a keyword holds."""
    if not trim.startswith("[") and trim not in header:
        raise DataError(f"keyword {trim} is missing", missing=trim, similar=nearest(trim, header))
    section = trim if trim.startswith("[") else str(header[trim])
    match = _SECTION.fullmatch(section.strip())
    x1, x2, y1, y2 = map(int, match.groups()) if match else (0, 0, 0, 0)
    ny, nx = pixels.shape
    if not (1 <= x1 <= x2 <= nx and 1 <= y1 <= y2 <= ny):
        raise DataError("trim section is not inside the image", section=section, nx=nx, ny=ny)
    window = slice(y1 - 1, y2), slice(x1 - 1, x2)
    return pixels[window], wcs[window]


def _to_electrons(pixels, facts, instrument):
    """Return image [electron], bad, saturated and the median; pixel values are compared before they are scaled."""
    with np.errstate(over="ignore", invalid="ignore"):
        image = pixels.astype(np.float32)
    bad = ~np.isfinite(image)
    for value in instrument.bad_values:
        bad |= pixels == value
    if instrument.bad_below is not None:
        bad |= pixels < instrument.bad_below
    n_bad = int(np.count_nonzero(bad))
    if n_bad == bad.size:
        raise DataError("no pixel is usable", n_pix=bad.size)
    scale = facts.gain if instrument.pixel_unit == "adu" else 1.0
    saturated = (pixels >= facts.saturation_e / scale) & ~bad
    image *= np.float32(scale)
    sky_e = float(np.median(image[~bad] if n_bad else image))
    image[bad] = sky_e  # finite everywhere, so that nothing rings before the mask is applied
    return image, bad, saturated, sky_e
