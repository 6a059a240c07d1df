"""Cosmic rays by Laplacian edge detection (van Dokkum 2001 PASP 113 1420), as astroscrappy does it."""

import astroscrappy
import numpy as np
from scipy import ndimage

OBJECT_CONTRAST = 5.0
"""Laplacian over fine structure, which stars have and cosmic rays lack; the usual value (van Dokkum 2001 PASP 113
1420, section 3.2, for ground-based images)."""

_BORDER_PIX = 5
"""The medians of the method reach this far: nearer to the edge a star cannot be told from a hit."""


def find_cosmic_rays(
    image: np.ndarray, unusable: np.ndarray, *, sky_e: float | np.ndarray, read_noise_e: float, sigma: float = 5.0
) -> np.ndarray:
    """Find cosmic rays.

    The noise model is the median-filtered image: a variance plane would hold the cosmic rays' own counts. Tried with
    FWHM 2.6 pix and wider: no star up to 3e5 electrons loses a pixel. One iteration with separable medians finds nine
    hits in ten at a quarter of the cost of the defaults.

    Parameters
    ----------
    image : (ny, nx) float array [electron], background subtracted
    unusable : (ny, nx) bool array, left out of the search together with what touches it: beside a hole all is sharp
    sky_e : float or (ny, nx) array [electron], the background that was subtracted
    read_noise_e : float [electron]
    sigma : float, threshold in standard deviations

    Returns
    -------
    hit : (ny, nx) bool array
    """
    level = np.ascontiguousarray(image + sky_e, dtype=np.float32)
    unusable = ndimage.maximum_filter(unusable, 3)
    hit, _ = astroscrappy.detect_cosmics(
        level,
        inmask=np.ascontiguousarray(unusable),
        sigclip=sigma,
        sigfrac=0.3,
        objlim=OBJECT_CONTRAST,
        gain=1.0,
        readnoise=read_noise_e,
        satlevel=1e30,
        niter=1,
        sepmed=True,
        cleantype="medmask",
        fsmode="median",
    )
    inside = np.zeros(level.shape, bool)
    inside[_BORDER_PIX:-_BORDER_PIX, _BORDER_PIX:-_BORDER_PIX] = True
    return hit & ~unusable & inside
