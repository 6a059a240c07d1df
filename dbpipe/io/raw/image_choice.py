"""Which of the images in a file is the exposure.

The description says it with ``hdu``. Where it does not: maps of weight, noise, masks and the like, known by their
names, are never taken; of what is left, the one with the name of a science image, else the one in the primary HDU,
else the only one. Images of equal standing are nobody's guess: the file is refused. What is left out is told.
"""

import re
from collections.abc import Sequence
from typing import Any

from dbpipe.errors import DataError
from dbpipe.io.fits.hdus import Hdu
from dbpipe.names import nearest

_SCIENCE = {"SCI", "SCIENCE", "IMAGE", "DATA"}
"""EXTNAMEs of the image itself: HST, LCO and ESO pipelines, LSST, the CCD Data Model of astropy."""
_AUXILIARY = re.compile(
    r"(?:(?:.*[^A-Z])?(?:WHT|WGT|WT|WEIGHTS?|WEIGHTMAP|VAR|VARIANCE|IVAR|ERR|ERRORS?|SIGMA|RMS|STD|UNC|UNCERT|UNCERTAINTY"
    r"|NOISE|MASKS?|MSK|DQ|DATAQUALITY|QUALITY|FLAGS?|BPM|BADPIX|CTX|CON|CONTEXT|EXPMAP|TIME|COVERAGE|CONFIDENCE|CONF"
    r"|BKG|BACKGROUND|SKY|PSF|BIAS|DARK|FLAT|OVERSCAN|THUMBNAIL|PREVIEW)(?:[^A-Z].*)?)"
)
"""EXTNAMEs of what goes with an image: the word stands alone, or set off by digits and signs."""


def choose_image(hdus: Sequence[Hdu], wanted: Any | None) -> tuple[Hdu, list[Any]]:
    """Find the image of a file.

    Parameters
    ----------
    hdus : list of Hdu
    wanted : int, str or None
        Number or name, as in the description.

    Returns
    -------
    (Hdu, list of str)
        The image, and what is to be told about the others.

    Raises
    ------
    DataError
        If there is none, or several of equal standing.
    """
    images = [hdu for hdu in hdus if hdu.shape is not None]
    if wanted is not None:
        return _named(images, wanted)
    if not images:
        raise DataError("file has no two-dimensional image", hdus=[str(hdu) for hdu in hdus])
    candidates = [hdu for hdu in images if not _AUXILIARY.fullmatch(hdu.name)]
    science = [hdu for hdu in candidates if hdu.name in _SCIENCE]
    primary = [hdu for hdu in candidates if hdu.number == 0]
    found = science or primary or candidates
    if not found:
        raise DataError(
            "file has only images that go with another, by their names", images=[str(hdu) for hdu in images],
            needed="the number or name of the image as hdu in instrument.toml",
        )  # fmt: skip
    if len(found) > 1:
        raise DataError(
            "file has several images of equal standing", hdus=[str(hdu) for hdu in found],
            needed="the number or name of one of them as hdu in instrument.toml",
        )  # fmt: skip
    return found[0], _left_out(images, found[0])


def _named(images: Sequence[Hdu], wanted: str) -> tuple[Hdu, list[str]]:
    """Return the image that the description names, and others of that name."""
    text = wanted.strip().upper() if isinstance(wanted, str) else None
    found = [hdu for hdu in images if (hdu.number == wanted if text is None else _name(hdu) == text)]
    if not found:
        raise DataError(
            f"file has no two-dimensional image in HDU {wanted}", images=[str(hdu) for hdu in images],
            similar=nearest(str(wanted), [_name(hdu) for hdu in images]),
        )  # fmt: skip
    return found[0], _left_out(found, found[0])


def _name(hdu: Hdu) -> str:
    """Return the name that a description may use: the primary HDU has one without EXTNAME."""
    return hdu.name or ("PRIMARY" if hdu.number == 0 else "")


def _left_out(images: Sequence[Hdu], chosen: Hdu) -> list[Any]:
    return [f"HDU {chosen} is used, HDU {hdu} was left out" for hdu in images if hdu is not chosen]
