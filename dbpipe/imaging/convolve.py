"""Convolution with a kernel that is constant in square blocks of the image.

A spatially varying kernel changes little over a hundred pixels, so it is evaluated once per block and applied
directly: arithmetic is the bound, and a direct sum over a small kernel beats one FFT of the image per spatial term.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.compiled import njit

_TAPS = 5
"""Columns of a kernel that are summed in one pass; kernels are filled up to a multiple of it."""


@dataclass(frozen=True)
class KernelField:
    """Kernels on a grid of blocks.

    Attributes
    ----------
    kernels : (n_block_y, n_block_x, size, size) float32 array; size is odd, the origin is the central pixel
    block_pix : int, side of a block [pix]; block (j, i) covers rows j*block_pix ... and columns i*block_pix ...
    """

    kernels: np.ndarray
    block_pix: int

    def at(self, x: float, y: float) -> np.ndarray:
        """Return the kernel in force at pixel (x, y); positions outside use the nearest block."""
        n_y, n_x = self.kernels.shape[:2]
        j = min(max(int(y // self.block_pix), 0), n_y - 1)
        i = min(max(int(x // self.block_pix), 0), n_x - 1)
        return self.kernels[j, i]

    def at_many(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the kernel in force at each place, (n, size, size) float32."""
        stamps = np.empty((len(x), *self.kernels.shape[2:]), np.float32)
        for stamp, column, row in zip(stamps, x, y, strict=True):
            stamp[:] = self.at(column, row)
        return stamps


def block_centers(shape: tuple[int, ...], block_pix: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (n_block_x,) and y (n_block_y,) of the block centers [pix] of an image of this shape."""
    ny, nx = shape

    def centers(n: int) -> np.ndarray:
        edges = np.append(np.arange(0, n, block_pix), n)
        return (edges[:-1] + edges[1:] - 1) / 2.0

    return centers(nx), centers(ny)


def core_radius_pix(kernel: np.ndarray) -> int:
    """Return the radius [pix] within which a kernel stamp is above 10% of its peak: what an unusable pixel spoils."""
    u = np.arange(kernel.shape[0]) - kernel.shape[0] // 2
    size = np.abs(kernel)
    return int(np.ceil(np.hypot(*np.meshgrid(u, u))[size > 0.1 * size.max()].max()))


def convolve(image: np.ndarray, field: KernelField) -> np.ndarray:
    """Convolve an image with a field of kernels, zero outside the image.

    Parameters
    ----------
    image : (ny, nx) float array
    field : KernelField that covers the image

    Returns
    -------
    (ny, nx) float32 array, out[y, x] = sum_ji K[j, i] image[y - j, x - i] with K that of the block of (x, y)
    """
    size = field.kernels.shape[-1]
    half, extra = size // 2, -size % _TAPS
    padded = np.pad(np.asarray(image, np.float32), ((half, half), (half, half + extra)))
    flipped = np.zeros((*field.kernels.shape[:2], size, size + extra), np.float32)
    flipped[..., :size] = field.kernels[:, :, ::-1, ::-1]
    out = np.empty(image.shape, np.float32)
    _correlate_blocks(padded, flipped, field.block_pix, out)
    return out


@njit(cache=True, fastmath=True)
def _correlate_blocks(padded, kernels, block_pix, out):
    ny, nx = out.shape
    total = np.zeros(block_pix, np.float32)
    for block_y in range(kernels.shape[0]):
        for block_x in range(kernels.shape[1]):
            x_start = block_x * block_pix
            width = min(block_pix, nx - x_start)
            for y in range(block_y * block_pix, min((block_y + 1) * block_pix, ny)):
                total[:] = 0.0
                _add_row(padded, kernels[block_y, block_x], x_start, y, width, total)
                for x in range(width):
                    out[y, x_start + x] = total[x]


@njit(cache=True, fastmath=True)
def _add_row(padded, kernel, x_start, y, width, total):
    """Add the products of ten taps a pass, of two rows of the kernel: as many as there are registers for.

    Each product needs a load, and a processor does two of both in a cycle: sums that are loaded and stored for few
    products would bound it.
    """
    n = kernel.shape[0]
    for j in range(0, n - 1, 2):
        p, q = padded[y + j, x_start:], padded[y + j + 1, x_start:]
        i = 0
        while i < kernel.shape[1]:
            a, b, c, d, e = kernel[j, i], kernel[j, i + 1], kernel[j, i + 2], kernel[j, i + 3], kernel[j, i + 4]
            k = j + 1
            f, g, h, r, s = kernel[k, i], kernel[k, i + 1], kernel[k, i + 2], kernel[k, i + 3], kernel[k, i + 4]
            for x in range(width):
                u = x + i
                total[x] += (
                    a * p[u] + b * p[u + 1] + c * p[u + 2] + d * p[u + 3] + e * p[u + 4]
                    + f * q[u] + g * q[u + 1] + h * q[u + 2] + r * q[u + 3] + s * q[u + 4]
                )  # fmt: skip
            i += _TAPS
    p = padded[y + n - 1, x_start:]
    i = 0
    while i < kernel.shape[1]:
        k = n - 1
        a, b, c, d, e = kernel[k, i], kernel[k, i + 1], kernel[k, i + 2], kernel[k, i + 3], kernel[k, i + 4]
        for x in range(width):
            u = x + i
            total[x] += a * p[u] + b * p[u + 1] + c * p[u + 2] + d * p[u + 3] + e * p[u + 4]
        i += _TAPS
