"""Noise power of processed images: what interpolation, convolution and averaging make of white noise.

A power spectrum P(k) here is that of a stationary noise field relative to the white noise it came from: white noise
has P = 1 everywhere, and the mean of P over all frequencies is the variance.  The autocovariance is its inverse
Fourier transform; its value at lag 0 is the variance.  A template's noise is carried as that stamp.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy import ndimage, sparse

from dbpipe.imaging.resample import ORDER, lanczos

_TAPS_PER_PIX = 64
_FINE_SIZE = 384
"""Frequency grid between whose points a power is interpolated linearly."""


@dataclass(frozen=True)
class NoiseField:
    """Noise power that changes over an image: in each block a mixture of a few spectra.

    Attributes
    ----------
    powers : (n, size, size) float array in FFT order
    shares : (n_block_y, n_block_x, n) float array, part of a pixel's variance that has each spectrum, all pixels of
        the block counted alike; sums to 1
    power_shares : likewise, pixels counted by their variance
    """

    powers: np.ndarray
    shares: np.ndarray
    power_shares: np.ndarray

    def at(self, row: int, column: int) -> np.ndarray:
        """Return the shape (size, size) of the power in a block, mean 1, of noise over its own deviation."""
        return self._shape(self.shares[row, column])

    def power_at(self, row: int, column: int) -> np.ndarray:
        """Return the shape (size, size) of the mean power in a block, mean 1: above all that of noisy pixels."""
        return self._shape(self.power_shares[row, column])

    @property
    def overall(self) -> np.ndarray:
        """Shape (size, size) of the mean power, mean 1."""
        return self._shape(self.shares.mean(axis=(0, 1)))

    @property
    def level(self) -> np.ndarray:
        """Mean power of each block, (n_block_y, n_block_x)."""
        return self.shares @ self.powers.mean(axis=(1, 2))

    def _shape(self, share: np.ndarray) -> np.ndarray:
        used = share > 0
        power = np.tensordot(share[used], self.powers[used], axes=1)
        return power / power.mean()


def uniform_noise(power: np.ndarray, blocks: tuple[int, ...]) -> NoiseField:
    """Return the `NoiseField` that has one power everywhere; ``blocks`` is (n_block_y, n_block_x)."""
    return NoiseField(power[None], np.ones((*blocks, 1)), np.ones((*blocks, 1)))


def nodes(n_pix: int, n_node: int) -> np.ndarray:
    """Return the places along an axis [pix] for which noise is stored: the centers of equal parts."""
    return (np.arange(n_node) + 0.5) * n_pix / n_node - 0.5


def node_shares(x: np.ndarray, y: np.ndarray, *, shape: tuple[int, int], n_node: int) -> np.ndarray:
    """Return what each node counts at each place, by bilinear interpolation, constant beyond the outer nodes.

    Parameters
    ----------
    x, y : (n,) float arrays [pix]
    shape : (ny, nx) of the window that the nodes divide
    n_node : int, along each axis

    Returns
    -------
    (n_node, n_node, n) float array whose sum over the nodes is 1
    """
    along = []
    for place, n_pix in ((y, shape[0]), (x, shape[1])):
        apart = np.abs(np.clip((place + 0.5) * n_node / n_pix - 0.5, 0.0, n_node - 1.0) - np.arange(n_node)[:, None])
        along.append(np.maximum(1.0 - apart, 0.0))
    return along[0][:, None] * along[1][None, :]


def frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the angular frequencies kx, ky (size, size) [rad/pix] of a discrete Fourier transform."""
    k = 2.0 * np.pi * np.fft.fftfreq(size)
    return np.meshgrid(k, k)


def _lanczos_transfer(k: float | np.ndarray) -> float | np.ndarray:
    """Fourier transform of the normalized Lanczos-3 kernel at angular frequencies ``k`` [rad/pix]."""
    return np.interp(np.abs(k), *_lanczos_table())


@cache
def _lanczos_table() -> tuple[np.ndarray, np.ndarray]:
    t = (np.arange(2 * ORDER * _TAPS_PER_PIX) + 0.5) / _TAPS_PER_PIX - ORDER
    # as `warp` does it, the weights of each phase have unit sum: at high frequencies that is 1% of the power
    values = lanczos(t).reshape(2 * ORDER, _TAPS_PER_PIX)
    values = (values / values.sum(axis=0)).ravel() / _TAPS_PER_PIX
    # the kernel is even: its transform is real; tabulated once, then interpolated
    table_k = np.linspace(0.0, 6.0 * np.pi, 1201)
    return table_k, np.cos(table_k[:, None] * t[None, :]) @ values


def interpolation_power(size: int, matrix: np.ndarray, *, power: Callable[..., Any] | None = None) -> np.ndarray:
    """Noise power on the output grid of a Lanczos warp, averaged over sub-pixel phases.

    The interpolated field is the input noise times the kernel's transfer function; sampling it on the output grid
    folds the frequencies beyond Nyquist back: P_out(k) = det(A)^2 / |det A| sum_n P_in(k') L(k')^2 with
    k' = A^-T (k + 2 pi n), A = d(in)/d(out), and the factor det(A)^2 of `resample.warp`'s pixel area.

    Parameters
    ----------
    size : int, side of the frequency grid
    matrix : (2, 2) array, A
    power : callable (kx, ky) -> array, noise power of the input at its own frequencies; white if omitted

    Returns
    -------
    (size, size) float array in FFT order, in units of the input variance
    """
    kx, ky = frequencies(size)
    inverse = np.linalg.inv(np.asarray(matrix, float))
    area = abs(np.linalg.det(matrix))
    total = np.zeros((size, size))
    for n_x in (-1, 0, 1):
        for n_y in (-1, 0, 1):
            fx, fy = kx + 2.0 * np.pi * n_x, ky + 2.0 * np.pi * n_y
            in_x = inverse[0, 0] * fx + inverse[1, 0] * fy
            in_y = inverse[0, 1] * fx + inverse[1, 1] * fy
            transfer = _lanczos_transfer(in_x) * _lanczos_transfer(in_y)
            p = 1.0 if power is None else power(in_x, in_y)
            total += p * transfer**2
    # density of input frequencies per output frequency 1/area, pixel area factor area^2
    return total * area


class PowerOnGrid:
    """`interpolation_power` of many stamps with one geometry, each by the product with one sparse matrix.

    Parameters
    ----------
    size : int, side of the frequency grid
    matrix : (2, 2) array, as for `interpolation_power`
    """

    def __init__(self, size: int, matrix: np.ndarray) -> None:
        self._size, self._area = size, abs(np.linalg.det(matrix))
        inverse = np.linalg.inv(np.asarray(matrix, float))
        kx, ky = frequencies(size)
        rows, columns, weights = [], [], []
        for n_x in (-1, 0, 1):
            for n_y in (-1, 0, 1):
                fx, fy = kx + 2.0 * np.pi * n_x, ky + 2.0 * np.pi * n_y
                in_x = (inverse[0, 0] * fx + inverse[1, 0] * fy).ravel()
                in_y = (inverse[0, 1] * fx + inverse[1, 1] * fy).ravel()
                transfer = np.square(_lanczos_transfer(in_x) * _lanczos_transfer(in_y))
                for place, weight in _bilinear(in_x, in_y):
                    rows.append(np.arange(size * size))
                    columns.append(place)
                    weights.append(weight * transfer)
        self._matrix = sparse.csr_matrix(
            (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))),
            shape=(size * size, _FINE_SIZE * (_FINE_SIZE // 2 + 1)),
        )

    def __call__(self, stamp: np.ndarray) -> np.ndarray:
        """Return the power (size, size) in FFT order that noise of this autocovariance has on the output grid."""
        power = self._matrix @ _fine_power(stamp).ravel()
        return self._area * power.reshape(self._size, self._size)


def _bilinear(kx: np.ndarray, ky: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the four (places in `_fine_power`, weights) that interpolate it at frequencies."""
    x, y = (k * _FINE_SIZE / (2.0 * np.pi) for k in (kx, ky))
    left, low = np.floor(x), np.floor(y)
    for column, of_x in ((left, 1.0 - (x - left)), (left + 1.0, x - left)):
        for row, of_y in ((low, 1.0 - (y - low)), (low + 1.0, y - low)):
            i, j = row.astype(int) % _FINE_SIZE, column.astype(int) % _FINE_SIZE
            mirrored = j > _FINE_SIZE // 2  # the power of -k is that of k
            i, j = np.where(mirrored, -i % _FINE_SIZE, i), np.where(mirrored, _FINE_SIZE - j, j)
            yield i * (_FINE_SIZE // 2 + 1) + j, of_x * of_y


def _fine_power(stamp: np.ndarray) -> np.ndarray:
    """Return the half of the power of an autocovariance stamp that says it all, (ky, kx >= 0) on the fine grid."""
    half = stamp.shape[0] // 2
    cos, sin = _waves(half)
    n_x = _FINE_SIZE // 2 + 1
    return np.maximum(cos @ stamp @ cos[:n_x].T - sin @ stamp @ sin[:n_x].T, 0.0)


@cache
def _waves(half: int) -> tuple[np.ndarray, np.ndarray]:
    phase = 2.0 * np.pi / _FINE_SIZE * np.outer(np.arange(_FINE_SIZE), np.arange(-half, half + 1))
    return np.cos(phase), np.sin(phase)


def kernel_power(kernel: np.ndarray, size: int) -> np.ndarray:
    """Return |K(k)|^2 on a (size, size) FFT grid for a kernel stamp (odd side <= size)."""
    return np.abs(kernel_transfer(kernel, size)) ** 2


def kernel_transfer(kernel: np.ndarray, size: int) -> np.ndarray:
    """Return the complex transfer function K(k) of a kernel whose origin is its central pixel."""
    half = kernel.shape[0] // 2
    padded = np.zeros((size, size))
    padded[: kernel.shape[0], : kernel.shape[1]] = kernel
    return np.fft.fft2(np.roll(padded, (-half, -half), axis=(0, 1)))


def autocovariance(power: np.ndarray, half: int) -> np.ndarray:
    """Return the central (2 half + 1)^2 autocovariance stamp of a power spectrum in FFT order."""
    full = np.fft.fftshift(np.fft.ifft2(power).real)
    center = power.shape[0] // 2
    return full[center - half : center + half + 1, center - half : center + half + 1]


def measure_power(image: np.ndarray, blank: np.ndarray, *, half: int, size: int) -> np.ndarray:
    """Measure the shape of the noise power on blank sky, for an image whose history is not known.

    Parameters
    ----------
    image : (ny, nx) float array
    blank : (ny, nx) bool array, pixels that show nothing but noise
    half : int, largest lag of the correlation [pix]; what is correlated further is sky, not noise
    size : int, side of the frequency grid

    Returns
    -------
    (size, size) float array in FFT order, mean 1
    """
    padded = [n + half for n in image.shape]
    field = np.where(blank, image - np.mean(image[blank]), 0.0)
    products, pairs = (np.fft.irfft2(np.abs(np.fft.rfft2(a, padded)) ** 2, padded) for a in (field, blank))
    along = np.arange(-half, half + 1)
    lags = np.ix_(along, along)
    power = power_of(products[lags] / np.maximum(pairs[lags], 1.0))(*frequencies(size))
    return power / power.mean()


def power_of(stamp: np.ndarray) -> Callable[..., Any]:
    """Return a callable (kx, ky) -> P(k) that evaluates an autocovariance stamp at any frequency.

    P is periodic and never negative; small negative values from truncating the stamp are set to 0.
    """
    fine = np.maximum(kernel_transfer(stamp, _FINE_SIZE).real, 0.0)
    step = 2.0 * np.pi / _FINE_SIZE

    def evaluate(kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        places = np.stack(np.broadcast_arrays(ky, kx)) / step
        return ndimage.map_coordinates(fine, places, order=1, mode="grid-wrap")

    return evaluate
