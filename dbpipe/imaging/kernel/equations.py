"""Least squares of the matching kernel on stamps of stars: the normal equations of each star, and what a model leaves.

The image that is convolved has noise of its own.  In plain least squares it counts as signal: the normal matrix is too
large by its covariance and the kernel too small where the noise rivals the stars, at high frequencies, so that every
star keeps its core (attenuation; Fuller 1987, Measurement Error Models, sect. 1.1).  The expected covariance is known
and is kept apart, to be taken out.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.imaging.kernel.basis import KernelBasis, Transfers, corrections, fast_shape
from dbpipe.imaging.kernel.start import StartKernel
from dbpipe.imaging.noise import kernel_transfer


@dataclass(frozen=True)
class StarEquations:
    """The least-squares problem of each star, reduced to its normal equations.

    Attributes
    ----------
    matrix : (n_star, n_p, n_p); n_p = n_basis + 1, the last parameter is the local background
    noise : (n_star, n_p, n_p), what the reference's noise adds to the matrix on average
    vector : (n_star, n_p)
    chi2_zero : (n_star,) sum of w I^2
    target_noise : (n_star,) what the target's noise adds to it on average
    n_pix : (n_star,)
    x, y : (n_star,) positions [pix]
    """

    matrix: np.ndarray
    noise: np.ndarray
    vector: np.ndarray
    chi2_zero: np.ndarray
    target_noise: np.ndarray
    n_pix: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def take(self, index: np.ndarray) -> "StarEquations":
        """Return the equations of some of the stars."""
        return StarEquations(*(getattr(self, f)[index] for f in self.__dataclass_fields__))


def basis_covariance(kernels: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Return the covariance (n_basis, n_basis) of kernels applied to noise of unit variance.

    Parameters
    ----------
    kernels : (n_basis, size, size) float array
    power : (n, n) float array in FFT order, mean 1: the shape of the noise power
    """
    transfer = np.array([kernel_transfer(k, power.shape[0]).ravel() for k in kernels])
    return ((transfer * power.ravel()) @ transfer.conj().T).real / power.size


def star_equations(
    reference: np.ndarray,
    target: np.ndarray,
    usable: np.ndarray,
    *,
    reference_variance: np.ndarray,
    target_variance: np.ndarray,
    reference_power: np.ndarray,
    model_error: float,
    x: np.ndarray,
    y: np.ndarray,
    start: StartKernel,
    basis: KernelBasis,
    half: int,
) -> StarEquations:
    """Set up the normal equations of stars.

    All pixels of a star have one weight, by the mean of the variance over its light: then the part of the reference's
    noise is what its power says, whereas weights that avoid the core would meet the core's noise spread by the kernel.

    Parameters
    ----------
    reference : (ny, nx), image to be convolved
    target : (ny, nx), image to be matched
    usable : (ny, nx) bool
    reference_variance, target_variance : (ny, nx), of their pixels
    reference_power : (n, n) float array in FFT order, mean 1: shape of the reference's noise power
    model_error : float, error of a bright star's model as a fraction of its flux
    x, y : (n,) positions of the stars, whole stamps inside the image [pix]
    start : StartKernel
    basis : KernelBasis
    half : int, half side of the fitted stamps [pix]

    Returns
    -------
    StarEquations
    """
    kernel_half = basis.functions.shape[-1] // 2
    outer = half + kernel_half
    size = 2 * outer + 1
    padded = fast_shape(size)
    n_basis = len(basis.functions)
    transfers = Transfers(start, basis, padded)
    covariance = np.zeros((n_basis + 1, n_basis + 1))
    covariance[:-1, :-1] = basis_covariance(corrections(start.middle, basis), reference_power)
    matrix, noise = np.empty((2, len(x), n_basis + 1, n_basis + 1))
    vector = np.empty((len(x), n_basis + 1))
    chi2_zero, target_noise = np.empty((2, len(x)))
    n_pix = np.empty(len(x), int)
    for k, (cx, cy) in enumerate(zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True)):
        wide = np.s_[cy - outer : cy + outer + 1, cx - outer : cx + outer + 1]
        inner = np.s_[cy - half : cy + half + 1, cx - half : cx + half + 1]
        kernels = transfers.at(x[k], y[k])
        convolved = np.fft.irfft2(np.fft.rfft2(reference[wide], s=padded) * kernels, s=padded)
        columns = np.empty((n_basis + 1, (2 * half + 1) ** 2))
        columns[:-1] = convolved[:, 2 * kernel_half : size, 2 * kernel_half : size].reshape(n_basis, -1)
        columns[-1] = 1.0
        value, seen = target[inner].ravel().astype(float), usable[inner].ravel()
        noise_of = [variance[inner].ravel().astype(float) for variance in (reference_variance, target_variance)]
        w = seen * _weight(value * seen, sum(noise_of) + np.square(model_error * value))
        weighted = columns * w
        matrix[k] = weighted @ columns.T
        noise[k] = np.sum(w * noise_of[0]) * covariance
        vector[k] = weighted @ value
        chi2_zero[k] = np.sum(w * value**2)
        target_noise[k] = np.sum(w * noise_of[1])
        n_pix[k] = np.count_nonzero(w)
    return StarEquations(
        matrix, noise, vector, chi2_zero, target_noise, n_pix, np.asarray(x, float), np.asarray(y, float)
    )


def _weight(value: np.ndarray, variance: np.ndarray) -> float:
    """Return the inverse of the variance, averaged over the square of the light."""
    light = np.square(value)
    return light.sum() / max(np.sum(light * variance), 1e-300)
