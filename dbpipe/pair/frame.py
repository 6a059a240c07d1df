"""One image from anywhere: its pixels in electrons, and what had to be assumed of its noise."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from scipy import ndimage

from dbpipe.errors import ConfigError, DataError
from dbpipe.io.fits.cards import read_number
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.raw.image import read_image
from dbpipe.io.raw.wcs import read_wcs
from dbpipe.pair.blank_sky import BlankSky, measure_blank_sky

GAIN_CARDS = ("EGAIN", "GAIN", "CCDGAIN", "GAINEFF")
READ_NOISE_CARDS = ("RDNOISE", "READNOIS", "RON", "ENOISE")
SATURATION_CARDS = ("SATURATE", "SATLEVEL", "SATURAT")
QUIETER = 0.9
"""Measured over expected variance below which an image is an average, and not one exposure."""
MIN_SKY_SIGMA = 5.0
"""A sky below this many times its own noise has been subtracted, and tells nothing of the gain."""
SUPPOSED_SKY_E = 1000.0
"""Of an image without sky and gain: what hangs from it is how much noisier than the sky its bright stars are."""
FLAT_PIX = 5
"""Side of a square of one value: noise does not make it."""
MAX_ZERO_FRACTION = 1e-4
"""Of pixels that are exactly zero in an image of floating-point numbers: more of them are no measurements."""


@dataclass(frozen=True)
class Frame:
    """One image in electrons, and what is known of its noise.

    Attributes
    ----------
    image : (ny, nx) float32 [electron]; unusable pixels hold the median of the others
    bad, saturated : (ny, nx) bool
    gain : float [electron per unit of the pixels]; of an average, that of one exposure with the same noise
    read_noise_e : float
    power : (FFT_SIZE, FFT_SIZE) float64 in FFT order, mean 1: shape of the noise power; None if it is white
    wcs : WCS, or None without one
    notes : what was assumed, in words
    """

    image: np.ndarray
    bad: np.ndarray
    saturated: np.ndarray
    gain: float
    read_noise_e: float
    power: np.ndarray | None
    wcs: WCS | None
    notes: tuple[str, ...]


def read_frame(
    source: object,
    *,
    name: str,
    gain: float | None = None,
    read_noise_e: float | None = None,
    saturation: float | None = None,
    hdu: int | str | None = None,
    wcs: WCS | None = None,
) -> Frame:
    """Read an image and find out what its noise is.

    Parameters
    ----------
    source : path of a FITS file, (ny, nx) array, or an object with ``data`` and, if it has them, ``header`` (or
        ``meta``), ``wcs`` and ``mask``: an HDU or a CCDData of astropy
    name : "science" or "template", for messages
    gain : [electron per unit of the pixels]; from the header, else from the noise of the sky
    read_noise_e : [electron]; from the header, else 0: what sky and read noise do not explain is measured anyway
    saturation : [unit of the pixels]; from the header, else found where the tops of stars are flat
    hdu : number or name of the image in the file; else the first image
    wcs : of an array

    Raises
    ------
    ConfigError
        If ``source`` is no image, or a number is not positive.
    DataError
        If the file cannot be read, or has no usable pixel.
    """
    for what, value in (("gain", gain), ("read noise", read_noise_e), ("saturation", saturation)):
        if value is not None and not (np.isfinite(value) and value >= (what == "read noise" or 1e-12)):
            raise ConfigError(f"{what} of the {name} = {value}: must be a positive number")
    with quiet():  # astropy's comments on a header are of no use here
        pixels, bad, header, own_wcs, notes = _pixels_of(source, name, hdu)
    gain, notes = _or_card(gain, header, GAIN_CARDS, "gain", "electron per unit", notes)
    read_noise_e, notes = _or_card(read_noise_e, header, READ_NOISE_CARDS, "read noise", "electron", notes)
    saturation, notes = _or_card(saturation, header, SATURATION_CARDS, "saturation level", "", notes)
    sky = measure_blank_sky(pixels, bad)
    if sky.power is not None:
        notes += ("its noise is correlated, as resampling leaves it: the correlation was measured on blank sky",)
    gain, note = _gain(gain, read_noise_e or 0.0, sky)
    saturated = (pixels >= saturation) & ~bad if saturation is not None else np.zeros(bad.shape, bool)
    image = np.where(bad, np.float32(sky.level), pixels) * np.float32(gain)
    return Frame(
        image=np.ascontiguousarray(image, np.float32),
        bad=bad,
        saturated=saturated,
        gain=gain,
        read_noise_e=read_noise_e or 0.0,
        power=sky.power,
        wcs=own_wcs if wcs is None else wcs,
        notes=(*notes, note) if note else notes,
    )


def _pixels_of(
    source: object, name: str, hdu: int | str | None
) -> tuple[np.ndarray, np.ndarray, Mapping[str, Any], WCS | None, tuple[str, ...]]:
    """Return pixels (ny, nx) float32, which are bad, header, WCS and notes."""
    wcs: WCS | None = None
    blank: Any = None
    notes: tuple[str, ...] = ()
    data: Any = getattr(source, "data", None)
    if isinstance(source, str | os.PathLike):
        found = read_image(Path(source), wanted=hdu)
        data, blank, header, notes = found.pixels, found.blank, found.header, tuple(found.notes)
        wcs, notes = _wcs_of(found.own_header, data.shape, notes)
    elif isinstance(source, np.ndarray):
        data, header = source, {}
    elif data is not None:
        data, blank = np.asarray(data), getattr(source, "mask", None)
        header = getattr(source, "header", None) or getattr(source, "meta", None) or {}
        wcs = getattr(source, "wcs", None)
        if wcs is None:
            wcs, notes = _wcs_of(header, data.shape, notes)
    else:
        raise ConfigError(f"the {name} is a {type(source).__name__}: give the path of a FITS file, an array or an HDU")
    if data.ndim != 2 or min(data.shape) < 64 or data.dtype.kind not in "iuf":
        raise ConfigError(
            f"the {name} has shape {data.shape} and type {data.dtype}: needed are 64 x 64 numbers at least"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        pixels = data.astype(np.float32)
        bad = ~(np.abs(pixels) < 1e18)  # NaN, infinity, and markers of what is empty
    bad = bad if blank is None else bad | np.asarray(blank, bool)
    zero = pixels == 0
    if data.dtype.kind == "f" and MAX_ZERO_FRACTION < zero.mean() < 1:
        bad |= zero
        notes += (f"{100 * zero.mean():.1f} % of its pixels are exactly 0 and were left out as empty",)
    flat = _is_flat(pixels) & ~bad
    if flat.any():
        bad |= flat
        notes += (f"{100 * flat.mean():.1f} % of its pixels stand in areas of one value and were left out as empty",)
    if bad.mean() > 0.99:
        raise DataError(f"the {name} has hardly a usable pixel", n_usable_pix=int((~bad).sum()), n_pix=bad.size)
    pixels[bad] = 0.0
    return pixels, bad, header, wcs, notes


def _is_flat(pixels: np.ndarray) -> np.ndarray:
    """Return which pixels stand in an area of one low value, as outside a round field; high ones are saturated."""
    same = ndimage.minimum_filter(pixels, FLAT_PIX) == ndimage.maximum_filter(pixels, FLAT_PIX)
    same &= pixels < np.median(pixels[::7, ::7])
    return ndimage.binary_dilation(same, np.ones((FLAT_PIX, FLAT_PIX), bool))


def _wcs_of(
    header: Mapping[str, Any], shape: tuple[int, ...], notes: tuple[str, ...]
) -> tuple[WCS | None, tuple[str, ...]]:
    if "CTYPE1" not in header:
        return None, notes
    try:
        return read_wcs(header, shape), notes
    except DataError as error:
        return None, (*notes, f"its WCS was left aside: {error}")


def _or_card(
    given: float | None, header: Mapping[str, Any], cards: tuple[str, ...], what: str, unit: str, notes: tuple[str, ...]
) -> tuple[float | None, tuple[str, ...]]:
    """Return a number as it was given, or that of the first card that has a positive one."""
    if given is not None:
        return float(given), notes
    for card in cards:
        try:
            value = read_number(header, card) if card in header else None
        except DataError:
            continue
        if value is not None and np.isfinite(value) and value > 0:
            return float(value), (*notes, f"{what} {value:g} {unit}".rstrip() + f" from its card {card}")
    return None, notes


def _gain(gain: float | None, read_noise_e: float, sky: BlankSky) -> tuple[float, str]:
    """Return the gain with which sky and read noise explain the noise that was measured, and what to say of it."""
    noise = float(np.sqrt(sky.variance))
    has_sky = sky.level > MIN_SKY_SIGMA * noise
    # V = S / g + (r / g)^2, solved for g
    explained = (sky.level + np.sqrt(sky.level**2 + 4.0 * sky.variance * read_noise_e**2)) / (2.0 * sky.variance)
    if gain is None and has_sky:
        return float(explained), f"gain {explained:.3g} electron per unit by the noise of its sky"
    if gain is None:
        gain = SUPPOSED_SKY_E**0.5 / noise
        return float(gain), (
            f"it shows neither sky nor gain: noise of stars as over a sky of {SUPPOSED_SKY_E:g} electron, "
            f"{gain:.3g} electron per unit"
        )
    expected = max(sky.level, 0.0) / gain + (read_noise_e / gain) ** 2
    if has_sky and sky.variance < QUIETER * expected:
        return float(explained), (
            f"quieter than one exposure of gain {gain:g} (noise {noise:.3g}, expected {np.sqrt(expected):.3g}): "
            f"taken as an average, effective gain {explained:.3g}"
        )
    return gain, ""
