"""Whiten the noise of a difference image and say which PSF and variance belong to the result.

The noise of S - K * T has power N(k) = P_S(k) + |K(k)|^2 P_T(k); that of K * S - T, |K(k)|^2 P_S(k) + P_T(k).  The
filter psi(k) = sqrt(c / N(k)) makes it white (Reiss & Lupton, DMTN-021, eq. 2, with the real noise power P_T of the
template, and P_S of a science image that was resampled, in the place of white ones).  What a point source of flux 1
becomes is PSF_S [* K] * psi; the filter is scaled so that this has unit sum, hence fluxes of the result are fluxes.

Convolving the science image can push the noise at high frequencies below any use; the filter stops at a floor there
and the result is white only where the PSF has power.  The variance claimed is therefore the noise power weighted by
the power of the PSF, which is what the error of a PSF flux needs; where the noise is white the two are the same.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.noise import NoiseField, kernel_transfer

FFT_SIZE = 96
"""Side of the frequency grid [pix]: holds PSF, kernel and filter without wrapping what matters."""
POWER_FLOOR = 3e-5
"""Noise power, relative to its largest value, that is added before the root: a hard floor would make psi ring.

What it leaves colored grows with it: a template 1.5 times as wide as the exposure leaves adjacent pixels correlated by
0.013 at 3e-4, 0.003 at 3e-5. Below, nothing is won on uniform sky, and a block in which the number of inputs changes,
whose parts differ from its mean power, gets noise that the variance does not know."""


@dataclass(frozen=True)
class Whitening:
    """The filter of every block and what goes with it.

    Attributes
    ----------
    filter : KernelField, psi
    psf : KernelField of unit sum, PSF of the whitened difference
    science_gain, template_gain : (n_block_y, n_block_x) float arrays; the variance of the result is
        science_gain * var_S + template_gain * var_T
    """

    filter: KernelField
    psf: KernelField
    science_gain: np.ndarray
    template_gain: np.ndarray


def whiten_field(
    kernel: np.ndarray,
    psfs: np.ndarray,
    *,
    science_variance: np.ndarray,
    template_variance: np.ndarray,
    template_noise: NoiseField,
    convolved: str,
    filter_size_pix: int,
    block_pix: int,
    science_power: float | np.ndarray = 1.0,
) -> Whitening:
    """Make the whitening filter of each block.

    Parameters
    ----------
    kernel : (n_y, n_x, k, k) float array, matching kernel per block
    psfs : (n_y, n_x, p, p) float array, science PSF per block
    science_variance, template_variance : (n_y, n_x) float arrays, sky noise per block, science flux units squared,
        the template before convolution
    template_noise : NoiseField of FFT_SIZE: shape of the template's noise power per block
    convolved : "template" or "science", the side that the kernel is applied to
    filter_size_pix : int, odd
    block_pix : int
    science_power : like template_power, or 1 for white noise

    Returns
    -------
    Whitening
    """
    n_y, n_x, size = kernel.shape[0], kernel.shape[1], psfs.shape[-1]
    filters = np.empty((n_y, n_x, filter_size_pix, filter_size_pix), np.float32)
    psf_out = np.empty((n_y, n_x, size, size), np.float32)
    gains = np.empty((2, n_y, n_x))
    for j in range(n_y):
        for i in range(n_x):
            k = kernel_transfer(kernel[j, i], FFT_SIZE)
            # the mean power is to be made white; a score is over the deviation of its own place
            mean_power, on_template = template_noise.power_at(j, i), template_noise.at(j, i)
            on_science = science_power * np.ones_like(on_template)
            point = kernel_transfer(psfs[j, i], FFT_SIZE)
            if convolved == "template":
                mean_power, on_template = (np.abs(k) ** 2 * power for power in (mean_power, on_template))
            else:
                on_science, point = np.abs(k) ** 2 * on_science, point * k
            noise = science_variance[j, i] * on_science + template_variance[j, i] * mean_power
            stamp = _centered(1.0 / np.sqrt(noise + POWER_FLOOR * noise.max()), filter_size_pix)
            psi = kernel_transfer(stamp, FFT_SIZE)
            # only what lies on the stamp can be measured: its sum is the flux scale
            whitened = _centered(point * psi, size)
            scale = whitened.sum()
            filters[j, i] = stamp / scale
            psf_out[j, i] = whitened / scale
            share = np.abs(point * psi) ** 2
            psi2 = np.abs(psi / scale) ** 2 * share / share.sum()
            gains[:, j, i] = np.sum(psi2 * on_science), np.sum(psi2 * on_template)
    return Whitening(
        filter=KernelField(filters, block_pix),
        psf=KernelField(psf_out, block_pix),
        science_gain=gains[0],
        template_gain=gains[1],
    )


def _centered(transfer: np.ndarray, size: int) -> np.ndarray:
    """Return the central (size, size) stamp of a transfer function in FFT order."""
    half = size // 2
    image = np.fft.ifft2(transfer).real
    return np.roll(image, (half, half), axis=(0, 1))[:size, :size]


def spread(blocks: np.ndarray, shape: tuple[int, int], block_pix: int) -> np.ndarray:
    """Return an image (ny, nx) float32 that holds each block's value."""
    ny, nx = shape
    rows, columns = np.arange(ny) // block_pix, np.arange(nx) // block_pix
    return np.asarray(blocks, np.float32)[rows][:, columns]
