"""The smooth background that two sky-subtracted images leave in their difference."""

import numpy as np

from dbpipe.imaging import mask as planes
from dbpipe.imaging.background import smooth_level
from dbpipe.imaging.sky_structure import follow_structure, structure_image

SKY_BIN_PIX = 64


def residual_sky(residual, mask):
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
    return sky
