"""The celestial WCS of a header: its cards are checked one by one before wcslib, which believes much, sees them.

Papers: Greisen & Calabretta 2002, A&A 395, 1061; Calabretta & Greisen 2002, A&A 395, 1077; SIP: Shupe et al. 2005.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, NoConvergence, WcsError

from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.errors import DataError
from dbpipe.io.fits.cards import exact_number
from dbpipe.names import nearest

_SMALLEST_PIXEL_ARCSEC, _LARGEST_PIXEL_ARCSEC = 1e-3, 600.0
"""From interferometers to all-sky cameras; a WCS without a scale has pixels of one degree by default."""
_TEXT = re.compile(r"CTYPE[12]|CUNIT[12]|RADESYS|RADECSYS")
_NUMBER = re.compile(
    r"CRVAL[12]|CRPIX[12]|CDELT[12]|CROTA[12]|(?:CD|PC)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE|EQUINOX|EPOCH"
    r"|[AB]P?_(?:ORDER|DMAX|\d_\d)"
)
_OF_WCSLIB = re.compile(r"ERROR \d+ in \w+\(\) at line \d+ of file \S+:\s*")
"""Where in its own source wcslib found an error: nothing that a user could use."""
_TABLE = re.compile(r"CPDIS[12]|D2IMDIS[12]|CQDIS[12]")
_MATRICES = {"CD": "CD1_1 CD1_2 CD2_1 CD2_2", "PC": "PC1_1 PC1_2 PC2_1 PC2_2", "CROTA": "CROTA1 CROTA2"}
_MAX_SIP_ORDER = 9
"""Terms are written with one digit each."""
_PROJECTIONS = (
    "AZP", "SZP", "TAN", "STG", "SIN", "ARC", "ZPN", "ZEA", "AIR", "CYP", "CEA", "CAR", "MER", "SFL", "PAR", "MOL",
    "AIT", "COP", "COE", "COD", "COO", "BON", "PCO", "TSC", "CSC", "QSC", "HPX", "XPH", "TPV", "TPD", "TPU",
)  # fmt: skip
"""What wcslib knows of celestial projections."""
_OF_IRAF = {"TNX": "TAN", "ZPX": "ZPN"}


def read_wcs(header: Mapping[str, Any], shape: tuple[int, ...]) -> WCS:
    """Return the celestial WCS of an image.

    Parameters
    ----------
    header : Header
        That of the image alone.
    shape : (ny, nx)

    Raises
    ------
    DataError
        If it has none, a card that it needs cannot be used, it is another frame than ICRS or FK5 J2000, or its scale
        is absurd.
    """
    if "CTYPE1" not in header:
        raise DataError("header has no WCS", missing="CTYPE1", similar=nearest("CTYPE1", header))
    cards = _checked_cards(header)
    cards |= {"NAXIS": 2, "NAXIS1": shape[1], "NAXIS2": shape[0]}
    types: dict[str, Any] = {key: cards[key] for key in ("CTYPE1", "CTYPE2") if key in cards}
    ny, nx = shape
    places = [[(nx - 1) / 2, (ny - 1) / 2], [-0.5, -0.5], [nx - 0.5, -0.5], [nx - 0.5, ny - 0.5], [-0.5, ny - 0.5]]
    try:
        wcs = WCS(fits.Header(list(cards.items())))
        usable = wcs.naxis == 2 and wcs.has_celestial
        sky = wcs.all_pix2world(places, 0) if usable else np.array([np.nan])
    except (WcsError, NoConvergence, ValueError, TypeError, KeyError, ArithmeticError, MemoryError) as error:
        shown: dict[str, Any] = {key: cards[key] for key in cards if _TEXT.fullmatch(key)}
        problem = _OF_WCSLIB.sub("", str(error)).strip()
        raise DataError("WCS of the header cannot be used", problem=problem, **shown) from error
    if not np.all(np.isfinite(sky[0])):
        raise DataError("header has no usable celestial WCS", **types)
    _check_place(*map(float, wcs.wcs.crval))
    _check_scale(wcs, cards)
    _check_frame(wcs, types)
    return wcs


def _checked_cards(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cards of the first two axes that describe the sky, each one of the kind that it must be."""
    cards: dict[str, Any] = {}
    has_cd = any(keyword in header for keyword in _MATRICES["CD"].split())
    is_icrs = _text_of(header, "RADESYS") == "ICRS" or _text_of(header, "RADECSYS") == "ICRS"
    for keyword in header:
        if _TABLE.fullmatch(keyword) and keyword in header:
            raise DataError(f"WCS has a distortion in a table ({keyword}), which is not read", needed="SIP or TPV")
        if not (_TEXT.fullmatch(keyword) or _NUMBER.fullmatch(keyword)) or keyword not in header:
            continue
        if has_cd and keyword.startswith(("CDELT", "CROTA")):
            continue  # they say the same in an older way, and CD goes before them (Greisen & Calabretta 2002, 2.1.2)
        if keyword in ("EQUINOX", "EPOCH") and (is_icrs or keyword == "EPOCH" and "EQUINOX" in header):
            number = _equinox(header, keyword, is_needed=False)
            cards |= {keyword: number} if number is not None else {}
        elif keyword in ("EQUINOX", "EPOCH"):
            cards[keyword] = _equinox(header, keyword, is_needed=True)
        else:
            cards[keyword] = _text(header, keyword) if _TEXT.fullmatch(keyword) else _wcs_number(header, keyword)
    _check_together(cards)
    return cards


def _check_together(cards: Mapping[str, Any]) -> None:
    """Raise DataError for cards that are missing or contradict each other."""
    for keyword in ("CTYPE2", "CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"):
        if keyword not in cards:
            raise DataError(f"header WCS has no {keyword}", missing=keyword, similar=nearest(keyword, cards))
    if all(cards.get(f"CUNIT{axis}", "deg").strip().lower() in ("", "deg") for axis in (1, 2)):
        _check_place(cards["CRVAL1"], cards["CRVAL2"])
    given = [name for name, keys in _MATRICES.items() if any(key in cards for key in keys.split())]
    if "PC" in given and len(given) > 1:
        raise DataError(f"header WCS has both {given[0]} and {given[1]} cards, which exclude each other", found=given)
    for axis in (1, 2):
        _check_projection(f"CTYPE{axis}", cards[f"CTYPE{axis}"])


def _check_place(ra_deg: float, dec_deg: float) -> None:
    """Raise DataError for what wcslib would take for a place, or stumble over."""
    if not (abs(ra_deg) <= 720.0 and abs(dec_deg) <= 90.0):
        raise DataError(
            "header WCS points to no place on the sky", CRVAL1_deg=ra_deg, CRVAL2_deg=dec_deg,
            needed="right ascension, and declination within -90 and 90 degrees, in the unit of CUNIT1 and CUNIT2",
        )  # fmt: skip


def _check_projection(keyword: str, ctype: str) -> None:
    code = ctype[5:8] if ctype[4:5] == "-" else ""
    if code in _OF_IRAF:
        raise DataError(
            f"{code} is a projection of IRAF with its distortion in WAT cards, which wcslib does not know",
            needed=f"a WCS with TPV, SIP or {_OF_IRAF[code]}: convert the header or solve it again", **{keyword: ctype},
        )  # fmt: skip
    if code and ctype[:4] in ("RA--", "DEC-", "GLON", "GLAT", "ELON", "ELAT") and code not in _PROJECTIONS:
        raise DataError(f"wcslib knows no projection {code}", similar=nearest(code, _PROJECTIONS), **{keyword: ctype})


def _check_scale(wcs: WCS, cards: Mapping[str, Any]) -> None:
    """Raise DataError if the pixels have a size that no camera's have."""
    matrix = wcs.pixel_scale_matrix
    if np.all(np.isfinite(matrix)):
        largest, smallest = np.linalg.svd(matrix, compute_uv=False) * ARCSEC_PER_DEG
        if _SMALLEST_PIXEL_ARCSEC <= smallest <= largest <= _LARGEST_PIXEL_ARCSEC:
            return
    else:
        largest = smallest = math.inf
    found = {key: value for key, value in cards.items() if re.match(r"CD|PC\d", key)}
    raise DataError(
        "pixel scale of the header WCS is absurd", width_arcsec=float(smallest), length_arcsec=float(largest),
        cards=found or "it has none of CD, PC and CDELT",
        needed=f"{_SMALLEST_PIXEL_ARCSEC:g} to {_LARGEST_PIXEL_ARCSEC:g} arcsec",
    )  # fmt: skip


def _check_frame(wcs: WCS, types: Mapping[str, str]) -> None:
    if wcs.wcs.lng != 0:
        raise DataError("WCS axes are swapped: the first must be right ascension", **types)
    frame, equinox = wcs.wcs.radesys, float(wcs.wcs.equinox)
    old_equinox = frame == "FK5" and math.isfinite(equinox) and equinox != 2000.0
    if wcs.wcs.lngtyp != "RA" or frame not in ("", "ICRS", "FK5") or old_equinox:
        # FK5 J2000 and ICRS agree to 0.03 arcsec, far inside the error of any header WCS; others do not
        raise DataError("WCS is neither ICRS nor FK5 J2000", frame=frame, equinox=str(equinox), axis=wcs.wcs.lngtyp)


def _wcs_number(header: Mapping[str, Any], keyword: str) -> float:
    value = header[keyword]
    number = exact_number(value)
    if number is None:
        raise DataError(f"WCS card {keyword} is not a number", value=str(value), needed="degrees or pixels")
    if keyword.endswith("_ORDER"):
        if number != int(number) or not 0 <= number <= _MAX_SIP_ORDER:
            raise DataError(f"{keyword} must be a whole number from 0 to {_MAX_SIP_ORDER}", value=str(value))
        return int(number)
    return number


def _text(header: Mapping[str, Any], keyword: str) -> str:
    value = header[keyword]
    if not isinstance(value, str):
        raise DataError(f"WCS card {keyword} must be text", value=str(value), needed="text in single quotes")
    return value


def _text_of(header: Mapping[str, Any], keyword: str) -> str:
    """Return a card as text in capitals, for a first look."""
    try:
        return str(header.get(keyword, "")).strip().upper()
    except DataError:
        return ""


def _equinox(header: Mapping[str, Any], keyword: str, *, is_needed: bool) -> float | None:
    """Return the equinox as a year, also where it is written J2000; None for nonsense that nobody needs."""
    try:
        value = header[keyword]
    except DataError:
        if is_needed:
            raise
        return None
    number = exact_number(re.sub(r"^\s*J", "", value) if isinstance(value, str) else value)
    if number is None and is_needed:
        raise DataError(f"{keyword} is not a year", value=str(value), needed="2000.0, or RADESYS = 'ICRS'")
    return number
