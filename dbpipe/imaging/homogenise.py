"""Match exposures to one Gaussian model PSF.

The kernel H that turns a PSF model P into the model G is found in Fourier space with a little damping,
H = G conj(P) / (|P|^2 + lambda) (Tikhonov; cf. Boucaud et al. 2016 A&A 596 A63, eq. 6), and forced to unit sum so
that flux is kept.  G wider than P keeps it well conditioned; the numbers that say so are returned with it.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.imaging.noise import kernel_transfer
from dbpipe.units import FWHM_PER_SIGMA

DAMPING = 1e-6
"""lambda relative to the squared sum of P: far below any power that the eye or a detection could see."""


@dataclass(frozen=True)
class HomogenisationKernel:
    """A kernel and how well it works.

    Attributes
    ----------
    kernel : (size, size) float array of unit sum
    residual : float, rms of (P * H - G) over rms of G
    negative : float, sum of |negative pixels| over the sum
    noise_gain : float, sum of H^2
    """

    kernel: np.ndarray
    residual: float
    negative: float
    noise_gain: float


def gaussian_psf(fwhm_pix, size):
    """Return a unit-sum Gaussian PSF image, sampled at pixel centres."""
    r2 = np.square(np.arange(size) - size // 2)
    g = np.exp(-0.5 * r2 / (fwhm_pix / FWHM_PER_SIGMA) ** 2)
    g /= g.sum()
    return np.outer(g, g)


def fit_homogenisation_kernel(psf, *, target_fwhm_pix, kernel_size_pix):
    """Fit the kernel that turns a PSF image into a Gaussian.

    Parameters
    ----------
    psf : (n, n) float array of unit sum, n odd
    target_fwhm_pix : float
    kernel_size_pix : int, odd

    Returns
    -------
    HomogenisationKernel
    """
    size = 2 * (max(psf.shape[0], kernel_size_pix) // 2 + kernel_size_pix // 2) + 2
    model = gaussian_psf(target_fwhm_pix, psf.shape[0])
    p, g = kernel_transfer(psf, size), kernel_transfer(model, size)
    h = np.fft.ifft2(g * np.conj(p) / (np.abs(p) ** 2 + DAMPING)).real
    half = kernel_size_pix // 2
    kernel = np.roll(h, (half, half), axis=(0, 1))[:kernel_size_pix, :kernel_size_pix] * _taper(kernel_size_pix)
    kernel /= kernel.sum()
    achieved = np.fft.ifft2(p * kernel_transfer(kernel, size)).real
    ideal = np.fft.ifft2(g).real
    return HomogenisationKernel(
        kernel=kernel,
        residual=float(np.sqrt(np.mean((achieved - ideal) ** 2) / np.mean(ideal**2))),
        negative=float(-kernel[kernel < 0].sum()),
        noise_gain=float(np.sum(kernel**2)),
    )


def _taper(size):
    """Smooth window, 1 in the inner three quarters: a kernel cut at its edge would ring."""
    r = np.hypot(*np.meshgrid(np.arange(size) - size // 2, np.arange(size) - size // 2)) / (size / 2)
    return np.where(r < 0.75, 1.0, np.where(r > 1.0, 0.0, np.cos(0.5 * np.pi * (r - 0.75) / 0.25) ** 2))
