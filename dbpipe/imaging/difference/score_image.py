"""The score image: signal to noise of a point source at every pixel.

Matched filter with the image's own PSF and pixel variances (Zackay, Ofek & Gal-Yam 2016 ApJ 830 27, sect. 2;
for white noise it is the maximum-likelihood flux over its error).  Unusable pixels have no weight.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.convolve import KernelField, convolve

_POWER_LEFT_OUT = 1e-4
"""Part of the power of the PSF that may lie outside the box over which the variance is averaged."""


@dataclass(frozen=True)
class Score:
    """Matched-filter images.

    Attributes
    ----------
    score : (ny, nx) float32, flux over its error; 0 where less than a tenth of the PSF can be seen
    flux_err : (ny, nx) float32, error of the flux of a point source at that pixel; 0 where there is no score
    """

    score: np.ndarray
    flux_err: np.ndarray


def score_image(
    difference: np.ndarray, variance: np.ndarray, unusable: np.ndarray, psf: KernelField, *, size_pix: int = 25
) -> Score:
    """Compute the score image.

    Parameters
    ----------
    difference, variance : (ny, nx) float arrays with white noise
    unusable : (ny, nx) bool
    psf : KernelField of unit sum
    size_pix : int, odd; the filter is the PSF's core of this side: linear, so the flux stays unbiased

    Returns
    -------
    Score
    """
    core = _center(psf.kernels[:, :, ::-1, ::-1], size_pix)
    squared = KernelField(_power_core(core), psf.block_pix)
    usable = ~unusable & (variance > 0)
    weight = np.divide(1.0, variance, out=np.zeros(variance.shape, np.float32), where=usable)
    signal = convolve(np.where(usable, difference, 0.0) * weight, KernelField(core, psf.block_pix))
    power = convolve(weight, squared)
    # how much of the PSF's power is seen: the same sum without weights
    seen = convolve(usable.astype(np.float32), squared)
    _divide(signal, power, seen, squared.kernels.sum(axis=(2, 3)), psf.block_pix)
    return Score(score=signal, flux_err=power)


@njit(cache=True)
def _divide(signal, power, seen, total, block_pix):
    """Turn signal and power into score and error, in place; 0 where less than a tenth of the PSF is seen."""
    ny, nx = signal.shape
    for y in range(ny):
        for x in range(nx):
            if seen[y, x] > np.float32(0.1) * total[y // block_pix, x // block_pix]:
                flux_err = np.float32(1.0) / np.sqrt(max(power[y, x], np.float32(1e-30)))
                signal[y, x] *= flux_err
                power[y, x] = flux_err
            else:
                signal[y, x], power[y, x] = np.float32(0.0), np.float32(0.0)


def _center(kernels: np.ndarray, size: int) -> np.ndarray:
    """Return the central (size, size) of kernels, or all of smaller ones."""
    cut = max(0, (kernels.shape[-1] - size) // 2)
    return np.ascontiguousarray(kernels[:, :, cut : kernels.shape[-2] - cut, cut : kernels.shape[-1] - cut])


def _power_core(core: np.ndarray) -> np.ndarray:
    """Square kernels and cut them to the smallest box that holds their power, scaled to the whole of it.

    The square of a PSF is narrow, and what is averaged with it, the variance, is smooth.
    """
    power = np.square(core)
    total = power.sum(axis=(2, 3), keepdims=True)
    for size in range(3, core.shape[-1], 2):
        cut = _center(power, size)
        inside = cut.sum(axis=(2, 3), keepdims=True)
        if (inside >= (1.0 - _POWER_LEFT_OUT) * total).all():
            return cut * (total / inside)
    return power


def blank_statistics(score: np.ndarray, difference: np.ndarray, blank: np.ndarray) -> tuple[float, float]:
    """Measure the noise on blank sky.

    Parameters
    ----------
    score, difference : (ny, nx) arrays
    blank : (ny, nx) bool, pixels without source and usable

    Returns
    -------
    score_std : float, standard deviation of the score within 4.5 sigma (a Gaussian loses nothing by that)
    lag1 : float, mean correlation of horizontally and vertically adjacent pixels of the difference
    """
    values = score[blank & (np.abs(score) < 4.5) & (score != 0)]
    std = float(np.std(values, dtype=float)) if values.size else 0.0
    difference, blank = np.ascontiguousarray(difference), np.ascontiguousarray(blank)  # compiled for this alone
    across, down = _pair_correlation(difference, blank, 0, 1), _pair_correlation(difference, blank, 1, 0)
    return std, 0.5 * (across + down)


@njit(cache=True)
def _pair_correlation(image, blank, dy, dx):
    """Return the correlation of blank pixels with their blank neighbors at (dy, dx), about a mean of zero."""
    ny, nx = image.shape
    product, first, second = 0.0, 0.0, 0.0
    for y in range(ny - dy):
        for x in range(nx - dx):
            if blank[y, x] and blank[y + dy, x + dx]:
                a, b = np.float64(image[y, x]), np.float64(image[y + dy, x + dx])
                product, first, second = product + a * b, first + a * a, second + b * b
    return product / np.sqrt(first * second) if first * second > 0.0 else 0.0
