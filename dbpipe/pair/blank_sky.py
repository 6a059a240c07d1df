"""What the blank sky of an image tells, whoever has resampled or averaged it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dbpipe.constants import robust_sigma
from dbpipe.errors import DataError
from dbpipe.imaging.clean.background import fit_background
from dbpipe.imaging.difference.decorrelate import FFT_SIZE
from dbpipe.imaging.noise import measure_power

SMOOTHING_PIX, SOURCE_SIGMA, GROWTH_PIX = 2.0, 4.0, 8
"""What stands out by so much after so much smoothing is a source, and so are its surroundings."""
MAX_LAG_PIX = 5
"""What is correlated over a longer way is sky, not noise."""
MIN_BLANK_PIX = 1000


@dataclass(frozen=True)
class BlankSky:
    """Level, noise and correlation between the sources.

    Attributes
    ----------
    level : float [unit of the image]
    variance : float, of single pixels
    power : (FFT_SIZE, FFT_SIZE) float64 in FFT order, mean 1
    """

    level: float
    variance: float
    power: np.ndarray


def measure_blank_sky(pixels: np.ndarray, bad: np.ndarray, *, bin_pix: int = 64) -> BlankSky:
    """Measure the sky of an image (ny, nx), pixels ``bad`` left out.

    Raises
    ------
    DataError
        If there is no blank sky, or it has no noise.
    """
    pixels = np.ascontiguousarray(pixels, np.float32)
    sky = fit_background(pixels, bad, bin_pix=bin_pix)
    flat = np.where(bad, np.float32(0), pixels - sky.level)
    smooth = ndimage.gaussian_filter(flat, SMOOTHING_PIX)
    width = robust_sigma(smooth[~bad], dtype=np.float32)
    blank = ~ndimage.binary_dilation(smooth > SOURCE_SIGMA * width, iterations=GROWTH_PIX) & ~bad
    if blank.sum() < MIN_BLANK_PIX:
        raise DataError("no blank sky to measure the noise on", n_blank_pix=int(blank.sum()), n_required=MIN_BLANK_PIX)
    variance = float(robust_sigma(flat[blank])) ** 2
    if not variance > 0:
        raise DataError("the sky has no noise, so nothing can be said of the noise of a difference", variance=variance)
    clipped = blank & (np.abs(flat) < 5.0 * np.sqrt(variance))  # cosmic rays would be taken for correlation
    return BlankSky(float(sky.median_e), variance, measure_power(flat, clipped, half=MAX_LAG_PIX, size=FFT_SIZE))
