"""The score image: signal to noise of a point source at every pixel.

Matched filter with the image's own PSF and pixel variances (Zackay, Ofek & Gal-Yam 2016 ApJ 830 27, sect. 2;
for white noise it is the maximum-likelihood flux over its error).  Unusable pixels have no weight.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.imaging.convolve import KernelField, convolve


@dataclass(frozen=True)
class Score:
    """Matched-filter images.

    Attributes
    ----------
    score : (ny, nx) float32, flux over its error; 0 where less than half of the PSF can be seen
    flux_err : (ny, nx) float32, error of the flux of a point source at that pixel; 0 where there is no score
    """

    score: np.ndarray
    flux_err: np.ndarray


def score_image(difference, variance, unusable, psf, *, size_pix=25):
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
    core = psf.kernels[:, :, ::-1, ::-1]
    cut = max(0, (core.shape[-1] - size_pix) // 2)
    core = np.ascontiguousarray(core[:, :, cut : core.shape[-2] - cut, cut : core.shape[-1] - cut])
    usable = ~unusable & (variance > 0)
    weight = np.divide(1.0, variance, out=np.zeros(variance.shape, np.float32), where=usable)
    signal = convolve(np.where(usable, difference, 0.0) * weight, KernelField(core, psf.block_pix))
    power = convolve(weight, KernelField(core**2, psf.block_pix))
    # how much of the PSF's power is seen: the same sum without weights
    seen = convolve(usable.astype(np.float32), KernelField(core**2, psf.block_pix))
    total = np.sum(core**2, axis=(2, 3))
    rows, columns = (np.arange(n) // psf.block_pix for n in difference.shape)
    enough = seen > 0.5 * total[rows][:, columns]
    root = np.sqrt(np.maximum(power, 1e-30))
    return Score(
        score=np.where(enough, signal / root, 0.0).astype(np.float32),
        flux_err=np.where(enough, 1.0 / root, 0.0).astype(np.float32),
    )


def blank_statistics(score, difference, blank):
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
    across, down = _pair_correlation(difference, blank, 1), _pair_correlation(difference, blank, 0)
    return std, 0.5 * (across + down)


def _pair_correlation(image, blank, axis):
    first = tuple(slice(None, -1) if k == axis else slice(None) for k in range(2))
    second = tuple(slice(1, None) if k == axis else slice(None) for k in range(2))
    both = blank[first] & blank[second]
    if not both.any():
        return 0.0
    a, b = image[first][both].astype(float), image[second][both].astype(float)
    return float(np.mean(a * b) / np.sqrt(np.mean(a * a) * np.mean(b * b)))
