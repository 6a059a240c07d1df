"""WCS <-> FITS header text that gives back exactly the same numbers.

``WCS.to_header`` rounds to some 12 digits and astropy's cards cut numbers after 20 characters; here every number is
written with as many digits as a double needs (Greisen & Calabretta 2002; SIP: Shupe et al. 2005).
"""

import math
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from dbpipe.io.fits.quiet import quiet


def exact_card(keyword: str, value: float | str) -> fits.Card:
    """Return a header card whose number is read back bit for bit.

    Raises
    ------
    ValueError
        If ``value`` is None or not finite: FITS headers cannot hold it.
    """
    if value is None:
        raise ValueError(f"a FITS header cannot hold {keyword} = None")
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value):
            raise ValueError(f"a FITS header cannot hold {keyword} = {value}")
        return fits.Card.fromstring(f"{keyword:<8}= {repr(float(value)).upper():>20}".ljust(80))
    if isinstance(value, np.integer):
        value = int(value)
    return fits.Card(keyword, value)


def wcs_cards(wcs: WCS) -> list[fits.Card]:
    """Return the cards of a celestial two-dimensional WCS, SIP and PV terms included.

    Raises
    ------
    ValueError
        If it has a distortion that is neither: the text would describe another sky.
    """
    if wcs.cpdis1 or wcs.cpdis2 or wcs.det2im1 or wcs.det2im2 or _has_hidden_distortion(wcs):
        raise ValueError("a WCS with lookup-table or TPV distortions cannot be written as header text")
    values: dict[str, Any] = {"WCSAXES": 2}
    for axis in (1, 2):
        k = axis - 1
        ctype = str(wcs.wcs.ctype[k])
        # old headers have the terms without the suffix that says so; astropy applies them, other readers do not
        values[f"CTYPE{axis}"] = f"{ctype}-SIP" if wcs.sip is not None and not ctype.endswith("-SIP") else ctype
        values[f"CUNIT{axis}"] = str(wcs.wcs.cunit[k])
        values[f"CRPIX{axis}"] = float(wcs.wcs.crpix[k])
        values[f"CRVAL{axis}"] = float(wcs.wcs.crval[k])
    matrix = wcs.pixel_scale_matrix
    values |= {f"CD{i + 1}_{j + 1}": float(matrix[i, j]) for i in (0, 1) for j in (0, 1)}
    for keyword, value in (("LONPOLE", wcs.wcs.lonpole), ("LATPOLE", wcs.wcs.latpole), ("EQUINOX", wcs.wcs.equinox)):
        if math.isfinite(value):
            values[keyword] = float(value)
    if wcs.wcs.radesys:
        values["RADESYS"] = str(wcs.wcs.radesys)
    values |= {f"PV{axis}_{term}": float(value) for axis, term, value in wcs.wcs.get_pv()}
    values |= _sip_values(wcs.sip)
    return [exact_card(keyword, value) for keyword, value in values.items()]


def _has_hidden_distortion(wcs: WCS) -> bool:
    """Return whether wcslib keeps a distortion (TPV, TPD) that it shows in its own header alone."""
    with quiet():
        shown = wcs.to_header(relax=True)
    return [shown[f"CTYPE{axis}"].removesuffix("-SIP") for axis in (1, 2)] != [
        str(ctype).removesuffix("-SIP") for ctype in wcs.wcs.ctype
    ]


def _sip_values(sip: Any) -> dict[str, Any]:
    """Return the SIP keywords of a WCS, zero coefficients left out."""
    values: dict[str, Any] = {}
    for letters in ("A", "B", "AP", "BP"):
        matrix = getattr(sip, letters.lower()) if sip is not None else None
        if matrix is None:
            continue
        values[f"{letters}_ORDER"] = len(matrix) - 1
        for i, j in zip(*np.nonzero(matrix), strict=True):
            values[f"{letters}_{i}_{j}"] = float(matrix[i, j])
    return values


def wcs_to_text(wcs: WCS) -> str:
    """Return a WCS as FITS header text, one card a line."""
    return "\n".join(str(card).rstrip() for card in wcs_cards(wcs))


def wcs_from_text(text: str) -> WCS:
    """Return the WCS of a text written by `wcs_to_text`; pixel to sky is the same bit for bit."""
    return wcs_from_header(fits.Header.fromstring(text, sep="\n"))


def wcs_from_header(header: fits.Header) -> WCS:
    """Return the WCS of a header, without astropy's comments on it."""
    with quiet():
        return WCS(header)
