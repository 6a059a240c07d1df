"""Pixels that are not sky: dead lines, charge bleeds, surroundings of saturated stars."""

import math

import numpy as np
from scipy import ndimage

MIN_LENGTH_PIX = 8
"""Shorter runs of low pixels may be noise."""
DEAD_SIGMA = 6.0
"""Below the sky by so many of its standard deviations."""

DARK_CELL_PIX = 16
"""Side of the squares in which half of the pixels are dark only if the sky level is wrong there."""
HALO_LIMIT_PIX = 120
"""Largest halo: beyond it the light is background."""


def find_dead_pixels(image: np.ndarray, sky_e: np.ndarray, noise_e: float) -> np.ndarray:
    """Find pixels far below the sky, and lines of them along rows or columns.

    A single pixel counts if it is `DEAD_SIGMA` below the sky; on a line of at least `MIN_LENGTH_PIX` already
    half of that is enough, because noise does not line up.

    Parameters
    ----------
    image : (ny, nx) float array [electron], sky included
    sky_e : (ny, nx) float array [electron]
    noise_e : float [electron], standard deviation of the sky

    Returns
    -------
    dead : (ny, nx) bool array
    """
    residual = image - _level_beneath(image, sky_e, noise_e)
    dead = residual < -DEAD_SIGMA * noise_e
    low = residual < -0.5 * DEAD_SIGMA * noise_e
    for axis in (0, 1):
        dead |= _long_runs(low, axis, MIN_LENGTH_PIX)
    return dead


def _level_beneath(image: np.ndarray, sky_e: np.ndarray, noise_e: float) -> np.ndarray:
    """Return the sky level, or what half of the pixels around have where that is less.

    Beside a nebula a level that is smooth over the bins is too high.  What is below half of the image's sky is dead, as
    are the corners that a stop cuts off, and what is dark from there on is the edge of its shadow, not less of a sky.
    """
    ny, nx = image.shape
    darkness = np.median(_dark_cells(image - sky_e), axis=-1)
    dead = np.median(_dark_cells(image), axis=-1) < 0.5 * np.median(sky_e)
    shadow = ndimage.binary_propagation(dead, np.ones((3, 3)), mask=dead | (darkness < -noise_e))
    # the darkest of the squares around: the level falls within a square, too
    dark = ndimage.minimum_filter(np.where(shadow, 0.0, np.minimum(darkness, 0.0)), 3)
    dark[shadow] = 0.0
    wide = np.repeat(np.repeat(dark, DARK_CELL_PIX, axis=0), DARK_CELL_PIX, axis=1)[:ny, :nx]
    return sky_e + wide.astype(np.float32)


def _dark_cells(image: np.ndarray) -> np.ndarray:
    """Arrange an image by squares: (n_y, n_x, pixels of a square)."""
    padded = np.pad(image, [(0, -n % DARK_CELL_PIX) for n in image.shape], mode="reflect")
    n_y, n_x = (n // DARK_CELL_PIX for n in padded.shape)
    return padded.reshape(n_y, DARK_CELL_PIX, n_x, DARK_CELL_PIX).swapaxes(1, 2).reshape(n_y, n_x, -1)


def _long_runs(flag: np.ndarray, axis: int, length: int) -> np.ndarray:
    """Keep the runs of True along an axis that are at least this long (a one-dimensional opening)."""
    size = [1, 1]
    size[axis] = length
    line = np.ones(size, bool)
    if not flag.any():
        return flag
    return ndimage.binary_opening(flag, line)


def grow_saturated(saturated: np.ndarray, direction: str, *, grow_pix: int = 2, bleed_pix: int = 6) -> np.ndarray:
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


def _box_grow(flag: np.ndarray, grow_x: int, grow_y: int) -> np.ndarray:
    """Set a box around every True pixel; there are few of them, which makes it faster than a filter of the image."""
    grown = flag.copy()
    ny, nx = flag.shape
    rows, columns = np.nonzero(flag)
    for dy in range(-grow_y, grow_y + 1):
        for dx in range(-grow_x, grow_x + 1):
            grown[np.clip(rows + dy, 0, ny - 1), np.clip(columns + dx, 0, nx - 1)] = True
    return grown


def find_bleeds(saturated: np.ndarray) -> np.ndarray:
    """Return which saturated pixels are charge that left its star, whatever the direction.

    The star is the largest disk that fits into a connected saturated area; what is further away than twice its radius
    is bleed.

    Parameters
    ----------
    saturated : (ny, nx) bool array

    Returns
    -------
    (ny, nx) bool array
    """
    bleed = np.zeros(saturated.shape, bool)
    labels, _ = ndimage.label(saturated, structure=np.ones((3, 3)))
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        area = labels[box] == number
        depth = ndimage.distance_transform_edt(np.pad(area, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(np.argmax(depth), depth.shape)
        rows, columns = np.ogrid[: area.shape[0], : area.shape[1]]
        bleed[box] |= area & (np.hypot(rows - row, columns - column) > 2.0 * depth[row, column])
    return bleed


def find_halos(saturated: np.ndarray, fwhm_pix: float, *, halo_scale: float = 0.75) -> np.ndarray:
    """Mark the surroundings of saturated stars, where wings and ghosts mislead.

    A disk about the middle of the saturated area A, of radius 2 FWHM + ``halo_scale`` sqrt(A): the area stands in for
    the flux that can no longer be measured. Light is round about the star; a bleed that leaves the disk has no halo.

    Returns
    -------
    near : (ny, nx) bool array, the saturated pixels included
    """
    near = saturated.copy()
    labels, _ = ndimage.label(saturated, structure=np.ones((3, 3)))
    rows, columns = np.nonzero(saturated)  # few: sums over them, not over the image
    number = labels[rows, columns] - 1
    area = np.bincount(number)
    for y, x, n_pix in zip(np.bincount(number, rows) / area, np.bincount(number, columns) / area, area, strict=True):
        radius = min(2.0 * fwhm_pix + halo_scale * math.sqrt(n_pix), HALO_LIMIT_PIX)
        _mark_disk(near, x, y, radius)
    return near


def _mark_disk(near: np.ndarray, x: float, y: float, radius: float) -> None:
    """Set pixels within ``radius`` of a position."""
    x0, y0 = max(0, math.floor(x - radius)), max(0, math.floor(y - radius))
    window = near[y0 : math.ceil(y + radius) + 1, x0 : math.ceil(x + radius) + 1]
    rows, columns = np.ogrid[: window.shape[0], : window.shape[1]]
    window |= np.hypot(columns + x0 - x, rows + y0 - y) <= radius
