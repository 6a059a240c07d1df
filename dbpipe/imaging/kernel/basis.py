"""The Alard-Lupton matching kernel: its basis and its variation over the image.

Alard & Lupton 1998 ApJ 503 325, eq. 1..3: I ~ R * K + background, K(u, v; x, y) a sum of Gaussians times polynomials
in (u, v) whose coefficients are polynomials in (x, y) (Alard 2000 A&AS 144 363, eq. 4..8).  Here they correct a start:
the kernel K0 that the PSF models give (`start_kernel`), K = K0 * sum_i a_i B_i.  The first function is a single pixel;
all others are made zero-sum (Alard 2000, sect. 2.3), so that the first one alone carries the flux ratio and its
spatial variation can be chosen apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len

from dbpipe.imaging.convolve import KernelField, block_centers
from dbpipe.imaging.kernel.start import StartKernel
from dbpipe.imaging.polynomial import term_count, terms


@dataclass(frozen=True)
class KernelBasis:
    """A pixel, and Gaussians times polynomials.

    Attributes
    ----------
    sigma_pix, degree : tuples of one Gaussian each
    functions : (n_basis, size, size) float array; the first is one pixel of 1, the others have zero sum
    """

    sigma_pix: tuple[float, ...]
    degree: tuple[int, ...]
    functions: np.ndarray


@dataclass(frozen=True)
class KernelModel:
    """A spatially varying matching kernel.

    Attributes
    ----------
    start : StartKernel, K0
    basis : KernelBasis
    coefficients : (n_basis, n_spatial) float array; rows beyond their own degree hold zeros
    background : (n_background,) float array, coefficients of the differential background [image units]
    shape : (ny, nx) of the image
    kernel_order, background_order : int, polynomial degrees
    """

    start: StartKernel
    basis: KernelBasis
    coefficients: np.ndarray
    background: np.ndarray
    shape: tuple[int, ...]
    kernel_order: int
    background_order: int

    def kernels_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the kernels (n, size, size) at positions (n,) [pix]."""
        from scipy.signal import fftconvolve  # loads for half a second, which who only asks for settings need not wait

        coefficients = terms(x, y, self.shape, self.kernel_order) @ self.coefficients.T
        start = self.start.at_many(x, y)
        corrected = fftconvolve(
            start, np.tensordot(coefficients, self.basis.functions, axes=1), mode="same", axes=(1, 2)
        )
        return corrected + (coefficients[:, 0] - corrected.sum(axis=(1, 2)))[:, None, None] * start

    def field(self, block_pix: int) -> KernelField:
        """Return the kernel as a `KernelField`."""
        x, y = block_centers(self.shape, block_pix)
        grid_x, grid_y = np.meshgrid(x, y)
        kernels = self.kernels_at(grid_x.ravel(), grid_y.ravel())
        size = kernels.shape[-1]
        return KernelField(kernels.reshape(len(y), len(x), size, size).astype(np.float32), block_pix)

    def background_image(self) -> np.ndarray:
        """Return the differential background (ny, nx) float32."""
        ny, nx = self.shape
        u_terms = terms(np.arange(nx), np.zeros(nx), (1, nx), self.background_order)
        out = np.zeros(self.shape)
        v = (2.0 * np.arange(ny) - (ny - 1)) / ny
        k = 0
        for total in range(self.background_order + 1):
            for j in range(total + 1):
                u_column = term_count(total - j) - (total - j) - 1
                out += self.background[k] * np.outer(v**j, u_terms[:, u_column])
                k += 1
        return out.astype(np.float32)


def make_basis(sigma_pix: Sequence[float], degree: Sequence[int], size: int) -> KernelBasis:
    """Build the basis.

    Parameters
    ----------
    sigma_pix : sequence of Gaussian widths [pix]
    degree : sequence of polynomial degrees, one per Gaussian
    size : int, odd, side of the kernel [pix]
    """
    u = np.arange(size) - size // 2
    pixel = np.outer(u == 0, u == 0).astype(float)
    functions = [pixel]
    for sigma, d in zip(sigma_pix, degree, strict=True):
        g = np.exp(-0.5 * (u / sigma) ** 2)
        for total in range(d + 1):
            for j in range(total + 1):
                f = np.outer(g * (u / sigma) ** j, g * (u / sigma) ** (total - j))
                # parity makes odd functions zero-sum by themselves; the even ones give their flux back to the pixel
                f /= f.sum() if total == 0 else np.sqrt(np.sum(f**2))
                functions.append(f - f.sum() * pixel)
    return KernelBasis(tuple(map(float, sigma_pix)), tuple(map(int, degree)), np.array(functions))


def corrections(start: np.ndarray, basis: KernelBasis) -> np.ndarray:
    """Return the kernels (n_basis, size, size) that the basis makes of one start kernel of unit sum.

    The kernel has an end: what a convolution puts beyond it is lost, and given back to the start kernel, so that the
    first function alone carries the flux ratio here too.
    """
    kernels = products(np.fft.rfft2(basis.functions, s=full_shape(basis)), start, basis)
    kernels[0] = start
    kernels[1:] -= kernels[1:].sum(axis=(1, 2))[:, None, None] * start
    return kernels


def full_shape(basis: KernelBasis) -> tuple[int, int]:
    """Return a size that holds a start kernel's convolution with a basis function."""
    return fast_shape(2 * basis.functions.shape[-1] - 1)


def fast_shape(size: int) -> tuple[int, int]:
    """Return the next shape whose Fourier transform is quick."""
    return (next_fast_len(size, real=True),) * 2


def products(transfer: np.ndarray, start: np.ndarray, basis: KernelBasis) -> np.ndarray:
    """Return a start kernel convolved with each function, cut at its edge, (n_basis, size, size).

    ``transfer`` is the Fourier transform of the functions in `full_shape`.
    """
    n = start.shape[0]
    kernels = np.fft.irfft2(transfer * np.fft.rfft2(start, s=full_shape(basis)), s=full_shape(basis))
    return kernels[:, n // 2 : n // 2 + n, n // 2 : n // 2 + n]


class Transfers:
    """Fourier transforms of the `corrections` at any place of the image.

    The start kernel is linear between its nodes, and so are its products with the basis: the transform of the products
    is made once for each node that has a star near. What is given back to the start kernel is done at the place.
    """

    def __init__(self, start: StartKernel, basis: KernelBasis, shape: tuple[int, int]) -> None:
        self._start, self._basis, self._shape = start, basis, shape
        self._functions = np.fft.rfft2(basis.functions, s=full_shape(basis))
        self._known: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}

    def at(self, x: float, y: float) -> np.ndarray:
        """Return the transforms (n_basis, n, n // 2 + 1) at a place [pix]; the first is that of the start kernel."""
        found = np.zeros(1)
        lost = np.zeros(len(self._basis.functions))
        for node, share in self._start.shares(x, y):
            transforms, sums = self._of_node(node)
            found = found + share * transforms
            lost += share * sums
        found[1:] -= lost[1:, None, None] * found[0]
        return found

    def _of_node(self, node: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the transforms of a node's products and their sums; the first function is a pixel: the node itself."""
        if node not in self._known:
            kernels = products(self._functions, self._start.nodes[node], self._basis)
            self._known[node] = np.fft.rfft2(kernels, s=self._shape), kernels.sum(axis=(1, 2))
        return self._known[node]
