"""Mask planes: one bit each, the same in every image of the pipeline."""

import numpy as np

BAD = 1
"""No usable value: dead, NaN, bad value of the instrument."""
SATURATED = 2
"""At full well, its bleed included."""
COSMIC_RAY = 4
NO_DATA = 8
"""Outside the input image, or nothing to average."""
NEAR_SATURATED = 16
"""In the halo of a saturated star."""
DETECTED = 32
"""In the footprint of a source."""
REJECTED = 64
"""An input of the template was rejected here."""

STREAK = 128
"""Under the light of a satellite."""
BLEED = 256
"""Charge that left a saturated star, along a row or column; SATURATED as well."""

UNUSABLE = BAD | SATURATED | COSMIC_RAY | NO_DATA
"""Pixels whose value means nothing."""
UNFIT = UNUSABLE | STREAK
"""Pixels whose value is not the sky's alone: they make no PSF, no zero point and no template."""

NAMES = {
    "BAD": BAD,
    "SATURATED": SATURATED,
    "COSMIC_RAY": COSMIC_RAY,
    "NO_DATA": NO_DATA,
    "NEAR_SATURATED": NEAR_SATURATED,
    "DETECTED": DETECTED,
    "REJECTED": REJECTED,
    "STREAK": STREAK,
    "BLEED": BLEED,
}


def grow_bits(mask: np.ndarray, radius_pix: int, *, bits: int = UNUSABLE) -> np.ndarray:
    """Return a copy whose given bits are grown by a square of this half side; the other bits stay."""
    wide = np.asarray(mask & np.uint16(bits), np.uint16)
    if not wide.any():
        return np.array(mask, np.uint16)
    for _ in range(2):  # along the rows, then, turned, along the columns
        wide = np.pad(wide.T, ((radius_pix, radius_pix), (0, 0)))
        width, whole = 1, 2 * radius_pix + 1
        while width < whole:  # each pixel holds the bits of the ``width`` pixels from it on
            step = min(width, whole - width)
            wide = wide[:-step] | wide[step:]
            width += step
    return np.asarray(mask | wide, np.uint16)
