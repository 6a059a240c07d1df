"""Match exposures to one model PSF.

The kernel H that turns a PSF model P into the model G is found in Fourier space with a little damping,
H = (G conj(P) + lambda B) / (|P|^2 + lambda) (Tikhonov; cf. Boucaud et al. 2016 A&A 596 A63, eq. 6; B is what stands
in where P has no light), and forced to unit sum so that flux is kept.  The model is a round Moffat profile with the
wings of the exposures: a Gaussian falls so much faster toward high frequencies that the template would have to be
sharpened there again before it can be subtracted.
Whether the kernel is well conditioned is told by the numbers that are returned with it.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.imaging.noise import frequencies, kernel_transfer

DAMPING = 1e-5
"""lambda relative to the squared sum of P: frequencies where the exposure has less than 0.3% of its light are not
raised; a kernel that did would ring beyond its stamp."""
BETA_RANGE = (2.0, 30.0)
"""Moffat profiles that are told apart from a Gaussian, and from one whose wings hold all its light."""


@dataclass(frozen=True)
class HomogenizationKernel:
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


def moffat_psf(fwhm_pix: float, beta: float | None, size: int) -> np.ndarray:
    """Return a unit-sum Moffat PSF image (Moffat 1969 A&A 3 455, eq. 7), sampled at pixel centers.

    Parameters
    ----------
    fwhm_pix, beta : float; beta None is the limit of a Gaussian
    size : int, odd
    """
    u2 = np.square(np.arange(size) - size // 2)
    half_light = 4.0 * (u2[:, None] + u2[None, :]) / fwhm_pix**2
    psf = 2.0**-half_light if beta is None else (1.0 + half_light * (2.0 ** (1.0 / beta) - 1.0)) ** -beta
    return psf / psf.sum()


def moffat_beta(fwhm_pix: float, effective_area_pix: float) -> float | None:
    """Return the beta of the Moffat profile with this FWHM and effective area (1 / sum of P^2); None for a Gaussian.

    The two are tied by area / FWHM^2 = pi (2 beta - 1) / (4 (beta - 1)^2 (2^(1/beta) - 1)), which falls with beta.
    """
    ratio = effective_area_pix / fwhm_pix**2
    if ratio <= _area_ratio(BETA_RANGE[1]):
        return None
    if ratio >= _area_ratio(BETA_RANGE[0]):
        return BETA_RANGE[0]
    from scipy.optimize import brentq  # loads for a quarter of a second

    return float(brentq(lambda beta: _area_ratio(beta) - ratio, *BETA_RANGE))


def _area_ratio(beta: float) -> float:
    return np.pi * (2.0 * beta - 1.0) / (4.0 * (beta - 1.0) ** 2 * (2.0 ** (1.0 / beta) - 1.0))


def match_psf(psf: np.ndarray, model: np.ndarray, *, kernel_size_pix: int) -> HomogenizationKernel:
    """Fit the kernel that turns one PSF image into another.

    Parameters
    ----------
    psf, model : (n, n) float arrays of unit sum, n odd
    kernel_size_pix : int, odd

    Returns
    -------
    HomogenizationKernel
    """
    size = 2 * (max(psf.shape[0], model.shape[0], kernel_size_pix) // 2 + kernel_size_pix // 2) + 2
    p, g = kernel_transfer(psf, size), kernel_transfer(model, size)
    h = np.fft.ifft2((g * np.conj(p) + DAMPING * _beyond(psf, model, size)) / (np.abs(p) ** 2 + DAMPING)).real
    half = kernel_size_pix // 2
    kernel = np.roll(h, (half, half), axis=(0, 1))[:kernel_size_pix, :kernel_size_pix] * _taper(kernel_size_pix)
    kernel /= kernel.sum()
    achieved = np.fft.ifft2(p * kernel_transfer(kernel, size)).real
    ideal = np.fft.ifft2(g).real
    return HomogenizationKernel(
        kernel=kernel,
        residual=float(np.sqrt(np.mean((achieved - ideal) ** 2) / np.mean(ideal**2))),
        negative=float(-kernel[kernel < 0].sum()),
        noise_gain=float(np.sum(kernel**2)),
    )


def _beyond(psf: np.ndarray, model: np.ndarray, size: int) -> np.ndarray:
    """Transfer function where the PSF has no light: that of Gaussians of these widths, and no more than 1.

    Equal PSFs then need no kernel, and one that sharpens has no sudden end.
    """
    broader = (1.0 / np.sum(np.square(model)) - 1.0 / np.sum(np.square(psf))) / (4.0 * np.pi)
    kx, ky = frequencies(size)
    return np.exp(-0.5 * max(broader, 0.0) * (kx**2 + ky**2))


def _taper(size: int) -> np.ndarray:
    """Smooth window, 1 in the inner three quarters: a kernel cut at its edge would ring."""
    r = np.hypot(*np.meshgrid(np.arange(size) - size // 2, np.arange(size) - size // 2)) / (size / 2)
    return np.where(r < 0.75, 1.0, np.where(r > 1.0, 0.0, np.cos(0.5 * np.pi * (r - 0.75) / 0.25) ** 2))
