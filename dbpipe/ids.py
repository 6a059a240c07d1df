"""Packed 64-bit ids: the same data gives the same id, and an id says where it comes from.

bit 63 | 62 ........... 22 | 21 .... 14 | 13 ... 0
zero   | visit (41 bits)   | detector 8 | number 14
"""

from typing import TypeVar

import numpy as np

from dbpipe.errors import DataError

VISIT_LIMIT = 1 << 41
DETECTOR_LIMIT = 1 << 8
NUMBER_LIMIT = 1 << 14
NONE = -1
"""In an array: the id of nothing, no object, no track."""
_Number = TypeVar("_Number", int, np.ndarray)


def image_number(visit: _Number, detector: _Number) -> _Number:
    """Return one number for a detector image, which is the upper part of the ids of its sources; of arrays too."""
    return visit << 8 | detector


def detector_base(visit: int, detector: int) -> int:
    """Return the id of number 0 of a detector image; add the running number to it."""
    if not 0 <= visit < VISIT_LIMIT:
        raise DataError("visit id does not fit into 41 bits", visit=visit, limit=VISIT_LIMIT)
    if not 0 <= detector < DETECTOR_LIMIT:
        raise DataError("detector number does not fit into 8 bits", detector=detector, limit=DETECTOR_LIMIT)
    return image_number(visit, detector) << 14


def source_ids(visit: int, detector: int, n: int) -> list[int]:
    """Return the ids of ``n`` numbered sources of one image.

    Raises
    ------
    DataError
        If there are more than 16384: the image is not sky.
    """
    if n > NUMBER_LIMIT:
        raise DataError("more sources than an image can have", n_source=n, limit=NUMBER_LIMIT)
    base = detector_base(visit, detector)
    return [base + k for k in range(n)]


def unpack_source_id(source_id: int) -> tuple[int, int, int]:
    """Return (visit, detector, number) of a packed id."""
    return source_id >> 22, source_id >> 14 & (DETECTOR_LIMIT - 1), source_id & (NUMBER_LIMIT - 1)
