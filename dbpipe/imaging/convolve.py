"""Convolution with a kernel that is constant in square blocks of the image.

A spatially varying kernel changes little over a hundred pixels, so it is evaluated once per block and applied
directly: arithmetic is the bound, and a direct sum over a small kernel beats one FFT of the image per spatial term.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.compiled import njit


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
    half = field.kernels.shape[-1] // 2
    padded = np.pad(np.asarray(image, np.float32), half)
    flipped = np.ascontiguousarray(field.kernels[:, :, ::-1, ::-1], dtype=np.float32)
    out = np.empty(image.shape, np.float32)
    _correlate_blocks(padded, flipped, field.block_pix, out)
    return out


@njit(cache=True, fastmath=True)
def _correlate_blocks(padded, kernels, block_pix, out):
    ny, nx = out.shape
    size = kernels.shape[2]
    accumulator = np.zeros((4, block_pix), np.float32)
    for block_y in range(kernels.shape[0]):
        y_end = min((block_y + 1) * block_pix, ny)
        for block_x in range(kernels.shape[1]):
            x_start = block_x * block_pix
            width = min(block_pix, nx - x_start)
            kernel = kernels[block_y, block_x]
            for y in range(block_y * block_pix, y_end, 4):
                rows = min(4, y_end - y)
                accumulator[:] = 0.0
                if rows == 4:
                    _four_rows(padded, kernel, x_start, y, width, accumulator)
                else:
                    for r in range(rows):
                        _one_row(padded, kernel, x_start, y + r, width, accumulator[r])
                for r in range(rows):
                    for x in range(width):
                        out[y + r, x_start + x] = accumulator[r, x]
    return size


@njit(cache=True, fastmath=True)
def _four_rows(padded, kernel, x_start, y, width, accumulator):
    """Sum four output rows at once, three taps a pass: each loaded pixel serves several products."""
    size = kernel.shape[0]
    a0, a1, a2, a3 = accumulator[0], accumulator[1], accumulator[2], accumulator[3]
    for j in range(size):
        p0 = padded[y + j, x_start:]
        p1 = padded[y + 1 + j, x_start:]
        p2 = padded[y + 2 + j, x_start:]
        p3 = padded[y + 3 + j, x_start:]
        i = 0
        while i + 3 <= size:
            k0, k1, k2 = kernel[j, i], kernel[j, i + 1], kernel[j, i + 2]
            for x in range(width):
                s = x + i
                a0[x] += k0 * p0[s] + k1 * p0[s + 1] + k2 * p0[s + 2]
                a1[x] += k0 * p1[s] + k1 * p1[s + 1] + k2 * p1[s + 2]
                a2[x] += k0 * p2[s] + k1 * p2[s + 1] + k2 * p2[s + 2]
                a3[x] += k0 * p3[s] + k1 * p3[s + 1] + k2 * p3[s + 2]
            i += 3
        while i < size:
            k0 = kernel[j, i]
            for x in range(width):
                s = x + i
                a0[x] += k0 * p0[s]
                a1[x] += k0 * p1[s]
                a2[x] += k0 * p2[s]
                a3[x] += k0 * p3[s]
            i += 1


@njit(cache=True, fastmath=True)
def _one_row(padded, kernel, x_start, y, width, accumulator):
    for j in range(kernel.shape[0]):
        row = padded[y + j, x_start:]
        for i in range(kernel.shape[1]):
            k = kernel[j, i]
            for x in range(width):
                accumulator[x] += k * row[x + i]
