"""The smooth background that two sky-subtracted images leave in their difference."""

import numpy as np
from scipy import ndimage

from dbpipe.imaging import mask as planes
from dbpipe.imaging.clean.background import block_medians, smooth_level
from dbpipe.imaging.clean.sky_structure import follow_structure, structure_image

SKY_BIN_PIX = 64
WIDE_BIN_PIX = 32
"""Where a source fills more than half of a sky bin, a nebula or the wings of a bright mover, the residual's level is
its median in bins of this side, source and all."""


def residual_sky(residual: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the smooth background (ny, nx) float32 of a residual.

    Both sides had their own sky subtracted, each with its own error; a star's stamp is too small to see that.
    What is left shifts every score: at 1% of the sky noise per pixel, by a tenth of a sigma.
    """
    unfit, detected = (mask & planes.UNFIT) != 0, (mask & planes.DETECTED) != 0
    if (unfit | detected).all():
        return np.zeros(residual.shape, np.float32)
    sky = smooth_level(residual.astype(np.float32), ~(unfit | detected), SKY_BIN_PIX)
    nodes = follow_structure(residual - sky, ~unfit)
    if nodes.any():
        sky += structure_image(nodes, residual.shape)
    fills = ndimage.uniform_filter(detected.astype(np.float32), SKY_BIN_PIX, mode="nearest") > 0.5
    if fills.any():
        sky += np.where(fills, block_medians(residual - sky, unfit, WIDE_BIN_PIX, wanted=fills), np.float32(0.0))
    return sky
