"""Lanczos warp of image, variance and mask onto another pixel grid.

The output value is the input surface brightness interpolated with a Lanczos kernel of order 3 (Turkowski 1990,
Graphics Gems, p. 147), its weights normalized to unit sum, times the ratio of pixel areas: flux is conserved.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dbpipe.compiled import njit
from dbpipe.imaging import mask as planes

ORDER = 3
_N_PHASE = 1024


@dataclass(frozen=True)
class Warped:
    """An image on another grid.

    Attributes
    ----------
    image : (ny, nx) float32
    variance : (ny, nx) float32; of the input pixels below, NOT yet reduced by the interpolation: the factor and the
        correlation that it brings are `noise.interpolation_power`
    mask : (ny, nx) uint16
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray


def lanczos(distance: np.ndarray) -> np.ndarray:
    """Evaluate the Lanczos kernel of order 3 at distances [pix] (any shape)."""
    inside = np.abs(distance) < ORDER
    return np.where(inside, np.sinc(distance) * np.sinc(distance / ORDER), 0.0)


def _phase_table() -> np.ndarray:
    """Return normalized weights (n_phase + 1, 6) of the pixels floor(x) - 2 ... floor(x) + 3."""
    phase = np.arange(_N_PHASE + 1) / _N_PHASE
    offsets = np.arange(-ORDER + 1, ORDER + 1)
    weights = lanczos(offsets[None, :] - phase[:, None])
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


_TABLE = _phase_table()


def warp(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    map_x: np.ndarray,
    map_y: np.ndarray,
    step_pix: int,
    shape: tuple[int, int],
) -> Warped:
    """Warp an exposure.

    Parameters
    ----------
    image, variance : (ny_in, nx_in) float32 arrays; must be finite
    mask : (ny_in, nx_in) uint16
    map_x, map_y : (n_node_y, n_node_x) float64, input pixel position of the output nodes [pix]
    step_pix : int, distance of the nodes [output pix]
    shape : (ny, nx) of the output

    Returns
    -------
    Warped; outside the input the mask is NO_DATA and image and variance are 0
    """
    out = Warped(np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.uint16))
    _warp(
        np.asarray(image, np.float32),
        np.asarray(variance, np.float32),
        np.asarray(mask, np.uint16),
        np.ascontiguousarray(map_x, dtype=np.float64),
        np.ascontiguousarray(map_y, dtype=np.float64),
        step_pix,
        _TABLE,
        out.image,
        out.variance,
        out.mask,
    )
    return out


@njit(cache=True, fastmath=True)
def _warp(image, variance, mask, map_x, map_y, step, table, out_image, out_variance, out_mask):
    ny, nx = image.shape
    n_phase = table.shape[0] - 1
    for cell_y in range(map_x.shape[0] - 1):
        for cell_x in range(map_x.shape[1] - 1):
            x00, x01 = map_x[cell_y, cell_x], map_x[cell_y, cell_x + 1]
            x10, x11 = map_x[cell_y + 1, cell_x], map_x[cell_y + 1, cell_x + 1]
            y00, y01 = map_y[cell_y, cell_x], map_y[cell_y, cell_x + 1]
            y10, y11 = map_y[cell_y + 1, cell_x], map_y[cell_y + 1, cell_x + 1]
            if not np.isfinite(x00 + x01 + x10 + x11 + y00 + y01 + y10 + y11):
                _fill_no_data(out_mask, cell_y * step, cell_x * step, step)
                continue
            area = abs((x01 - x00) * (y10 - y00) - (x10 - x00) * (y01 - y00)) / (step * step)
            for y in range(cell_y * step, min((cell_y + 1) * step, out_image.shape[0])):
                v = (y - cell_y * step) / step
                x_left, x_right = x00 + v * (x10 - x00), x01 + v * (x11 - x01)
                y_left, y_right = y00 + v * (y10 - y00), y01 + v * (y11 - y01)
                for x in range(cell_x * step, min((cell_x + 1) * step, out_image.shape[1])):
                    u = (x - cell_x * step) / step
                    xi = x_left + u * (x_right - x_left)
                    yi = y_left + u * (y_right - y_left)
                    ix, iy = int(math.floor(xi)), int(math.floor(yi))
                    if ix < 2 or iy < 2 or ix > nx - 4 or iy > ny - 4:
                        out_mask[y, x] = 8  # planes.NO_DATA
                        continue
                    wx = table[int((xi - ix) * n_phase + 0.5)]
                    wy = table[int((yi - iy) * n_phase + 0.5)]
                    total = np.float32(0.0)
                    bits = np.uint16(0)
                    for j in range(6):
                        row = np.float32(0.0)
                        for i in range(6):
                            row += wx[i] * image[iy - 2 + j, ix - 2 + i]
                        total += wy[j] * row
                    for j in range(1, 5):
                        for i in range(1, 5):
                            bits |= mask[iy - 2 + j, ix - 2 + i]
                    near_x, near_y = int(xi + 0.5), int(yi + 0.5)
                    out_image[y, x] = total * area
                    out_variance[y, x] = variance[near_y, near_x] * area * area
                    out_mask[y, x] = bits


@njit(cache=True)
def _fill_no_data(out_mask, y0, x0, step):
    for y in range(y0, min(y0 + step, out_mask.shape[0])):
        for x in range(x0, min(x0 + step, out_mask.shape[1])):
            out_mask[y, x] = 8  # planes.NO_DATA


def warp_stamp(stamp: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Warp a PSF stamp about its center by a linear map, as `warp` would warp the image of the star.

    Parameters
    ----------
    stamp : (size, size) float array, size odd
    matrix : (2, 2) array, d(x_in, y_in) / d(x_out, y_out)

    Returns
    -------
    (size, size) float64 array of unit sum if the stamp has unit sum (up to what leaves the stamp)
    """
    size = stamp.shape[0]
    half = size // 2
    step = size - 1
    corners = np.array([[-half, half], [-half, half]], float)
    offset_x, offset_y = corners, corners.T
    # the stamp is padded so that the interpolation kernel never meets its edge
    pad = ORDER + half
    padded = np.pad(np.asarray(stamp, np.float32), pad)
    map_x = matrix[0, 0] * offset_x + matrix[0, 1] * offset_y + half + pad
    map_y = matrix[1, 0] * offset_x + matrix[1, 1] * offset_y + half + pad
    zeros = np.zeros_like(padded)
    nodes_x, nodes_y = _extend_nodes(map_x), _extend_nodes(map_y)
    warped = warp(
        padded, zeros, zeros.astype(np.uint16), map_x=nodes_x, map_y=nodes_y, step_pix=step, shape=(size, size)
    )
    return warped.image.astype(float)


def _extend_nodes(nodes: np.ndarray) -> np.ndarray:
    """Add one row and column of nodes by linear extrapolation, so that the last pixel lies inside a cell."""
    wide = np.concatenate([nodes, 2 * nodes[:, -1:] - nodes[:, -2:-1]], axis=1)
    return np.concatenate([wide, 2 * wide[-1:] - wide[-2:-1]], axis=0)


def fill_gaps(
    image: np.ndarray, mask: np.ndarray, *, bits: int = planes.BAD | planes.COSMIC_RAY, radius_pix: int = 3
) -> np.ndarray:
    """Return a copy whose masked pixels hold a Gaussian-weighted mean of good pixels within ``radius_pix``.

    An interpolation kernel spreads what it reads; a dead pixel's neighbors are a better guess than its value.
    Pixels without a good neighbor become 0.
    """
    bad = (mask & bits) != 0
    filled = np.array(image, np.float32)
    ys, xs = map(np.ascontiguousarray, np.nonzero(bad))  # compiled for this alone
    _fill(filled, bad, ys, xs, radius_pix)
    return filled


def fill_bleeds(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return a copy in which charge that bled holds what the nearest usable pixel holds.

    It is no light of the sky there, and at full well a thousandth of it, which the tail of a kernel carries beyond any
    mask, outshines the sky's noise.  The star itself stays as it is: its light belongs there.
    """
    bleed = (mask & planes.BLEED) != 0
    unusable = bleed | ((mask & planes.UNUSABLE) != 0)
    filled = np.array(image, np.float32)
    if not bleed.any() or unusable.all():
        return filled
    # on the way to the nearest usable pixel all are unusable: it lies at the edge of the region that hangs together
    regions, n_region = ndimage.label(unusable, np.ones((3, 3)))
    has_bleed = np.zeros(n_region + 1, bool)
    has_bleed[regions[bleed]] = True
    regions = np.where(has_bleed, np.cumsum(has_bleed), 0).astype(np.int32)[regions]
    for number, box in enumerate(ndimage.find_objects(regions), start=1):
        wide = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        own = bleed[wide] & (regions[wide] == number)
        rows, columns = ndimage.distance_transform_edt(unusable[wide], return_distances=False, return_indices=True)
        filled[wide][own] = image[wide][rows[own], columns[own]]
    return filled


@njit(cache=True)
def _fill(image, bad, ys, xs, radius):
    ny, nx = image.shape
    values = np.zeros(ys.size, np.float32)
    for n in range(ys.size):
        total, weight = 0.0, 0.0
        for j in range(max(ys[n] - radius, 0), min(ys[n] + radius + 1, ny)):
            for i in range(max(xs[n] - radius, 0), min(xs[n] + radius + 1, nx)):
                if not bad[j, i]:
                    w = math.exp(-((j - ys[n]) ** 2 + (i - xs[n]) ** 2) / 2.0)
                    total += w * image[j, i]
                    weight += w
        if weight > 0.0:
            values[n] = total / weight
    for n in range(ys.size):
        image[ys[n], xs[n]] = values[n]
