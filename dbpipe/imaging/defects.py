"""Pixels that are not sky: dead lines, charge bleeds, halos of saturated stars, cosmic rays."""

import math

import astroscrappy
import numpy as np
from scipy import ndimage

HALO_LIMIT_PIX = 120
"""Largest halo: beyond it the light is background."""


def find_dead_pixels(image, sky_e, noise_e, *, sigma=6.0, min_length_pix=8):
    """Find pixels far below the sky, and lines of them along rows or columns.

    A single pixel counts if it is ``sigma`` below the sky; on a line of at least ``min_length_pix`` already
    half of that is enough, because noise does not line up.

    Parameters
    ----------
    image : (ny, nx) float array [electron], sky included
    sky_e : (ny, nx) float array [electron]
    noise_e : float [electron], standard deviation of the sky
    sigma : float
    min_length_pix : int

    Returns
    -------
    dead : (ny, nx) bool array
    """
    residual = image - sky_e
    dead = residual < -sigma * noise_e
    low = residual < -0.5 * sigma * noise_e
    for axis in (0, 1):
        dead |= _long_runs(low, axis, min_length_pix)
    return dead


def _long_runs(flag, axis, length):
    """Keep the runs of True along an axis that are at least this long (a one-dimensional opening)."""
    size = [1, 1]
    size[axis] = length
    line = np.ones(size, bool)
    if not flag.any():
        return flag
    return ndimage.binary_opening(flag, line)


def grow_saturated(saturated, direction, *, grow_pix=2, bleed_pix=6):
    """Grow saturated pixels: all round, and further along the direction in which charge bleeds.

    Parameters
    ----------
    saturated : (ny, nx) bool array, pixels at full well
    direction : 'rows', 'columns', 'both' or 'none'
    grow_pix, bleed_pix : int [pix]
    """
    if not saturated.any():
        return saturated.copy()
    grown = _box_grow(saturated, grow_pix, grow_pix)
    if direction in ("rows", "both"):
        grown |= _box_grow(saturated, bleed_pix, 1)
    if direction in ("columns", "both"):
        grown |= _box_grow(saturated, 1, bleed_pix)
    return grown


def _box_grow(flag, grow_x, grow_y):
    return ndimage.maximum_filter(flag, size=(2 * grow_y + 1, 2 * grow_x + 1))


def find_halos(saturated, fwhm_pix, *, halo_scale=1.5):
    """Mark the surroundings of saturated stars, where wings, ghosts and bleeds mislead.

    The radius grows with the saturated area A: 2 FWHM + ``halo_scale`` sqrt(A), a stand-in for the flux that
    can no longer be measured.

    Returns
    -------
    near : (ny, nx) bool array, the saturated pixels included
    """
    near = saturated.copy()
    labels, _ = ndimage.label(saturated, structure=np.ones((3, 3)))
    area = np.bincount(labels.ravel())
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        radius = min(2.0 * fwhm_pix + halo_scale * math.sqrt(area[number]), HALO_LIMIT_PIX)
        _mark_around(near, labels, number, box, radius)
    return near


def _mark_around(near, labels, number, box, radius):
    """Set pixels within ``radius`` of one labelled region."""
    pad = math.ceil(radius)
    window = tuple(
        slice(max(0, side.start - pad), min(n, side.stop + pad)) for side, n in zip(box, near.shape, strict=True)
    )
    near[window] |= ndimage.distance_transform_edt(labels[window] != number) <= radius


def find_cosmic_rays(image, unusable, *, sky_e, read_noise_e, sigma=5.0, object_contrast=5.0, n_iteration=1):
    """Find cosmic rays by Laplacian edge detection (van Dokkum 2001 PASP 113 1420), as in astroscrappy.

    Its noise model is the median-filtered image: a variance plane would hold the cosmic rays' own counts. Tried with
    FWHM 2.6 pix and wider: no star up to 3e5 electrons loses a pixel.

    Parameters
    ----------
    image : (ny, nx) float array [electron], background subtracted
    unusable : (ny, nx) bool array, left out of the search
    sky_e : float or (ny, nx) array [electron], the background that was subtracted
    read_noise_e : float [electron]
    sigma : float, threshold in standard deviations
    object_contrast : float, smallest contrast between the Laplacian and the fine structure of stars

    Returns
    -------
    hit : (ny, nx) bool array
    """
    hit, _ = astroscrappy.detect_cosmics(
        np.ascontiguousarray(image + sky_e, np.float32), inmask=np.ascontiguousarray(unusable),
        sigclip=sigma, sigfrac=0.3, objlim=object_contrast, gain=1.0, readnoise=read_noise_e, satlevel=1e30,
        niter=n_iteration, sepmed=True, cleantype="medmask", fsmode="median",
    )  # fmt: skip
    return hit & ~unusable
