"""What the blank sky of an image tells, whoever has resampled or averaged it."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dbpipe.constants import robust_sigma
from dbpipe.errors import DataError
from dbpipe.imaging.clean.background import fit_background
from dbpipe.imaging.difference.decorrelate import FFT_SIZE
from dbpipe.imaging.noise import frequencies, measure_power, power_of

BIN_PIX = 64
SMOOTHING_PIX, SOURCE_SIGMA, GROWTH_PIX = 2.0, 4.0, 8
"""What stands out by so much after so much smoothing is a source, and so are its surroundings. Much less would take
what is high by chance from the noise."""
MIN_BLANK_PIX = 1000
MAX_LAG_PIX = 5
"""What is correlated over a longer way is sky, not noise."""
TAPER_PIX = 16
"""Lags that tell white noise from other noise."""
MIDDLE, HIGH = (0.7 * np.pi, 0.85 * np.pi), (0.9 * np.pi, 1.1 * np.pi)
"""Rings of frequencies above those of stars [rad/pix]."""
MIN_WHITE = 0.8
"""Noise power in the high ring over that in the middle one: resampling takes it from high frequencies, whereas sources
too faint to be seen add to low ones. Crowded raw frames of the SAAO have 0.82 to 0.97, resampled ones of GOTO 0.65 and
0.78, raw ones of the Nickel 1.02."""


@dataclass(frozen=True)
class BlankSky:
    """Level and noise between the sources.

    Attributes
    ----------
    level : float [unit of the image]
    variance : float, of single pixels
    power : (FFT_SIZE, FFT_SIZE) float64 in FFT order, mean 1: shape of the noise power; None if the noise is white
    """

    level: float
    variance: float
    power: np.ndarray | None


def measure_blank_sky(pixels: np.ndarray, bad: np.ndarray) -> BlankSky:
    """Measure the sky of an image.

    In a crowded field sources too faint to be seen look like noise of low frequencies. They are no noise of the image,
    for the other image has them too: where the noise is white above their frequencies it is called white.

    Parameters
    ----------
    pixels : (ny, nx) float array
    bad : (ny, nx) bool array of pixels to leave out

    Raises
    ------
    DataError
        If there is no blank sky, or it has no noise.
    """
    pixels = np.ascontiguousarray(pixels, np.float32)
    sky = fit_background(pixels, bad, bin_pix=BIN_PIX)
    flat = np.where(bad, np.float32(0), pixels - sky.level)
    smooth = ndimage.gaussian_filter(flat, SMOOTHING_PIX)
    width = robust_sigma(smooth[~bad], dtype=np.float32)
    blank = ~ndimage.binary_dilation(smooth > SOURCE_SIGMA * width, iterations=GROWTH_PIX) & ~bad
    if blank.sum() < MIN_BLANK_PIX:
        raise DataError("no blank sky to measure the noise on", n_blank_pix=int(blank.sum()), n_required=MIN_BLANK_PIX)
    variance = float(robust_sigma(flat[blank])) ** 2
    if not variance > 0:
        raise DataError("the sky has no noise, so nothing can be said of the noise of a difference", variance=variance)
    blank &= np.abs(flat) < 5.0 * np.sqrt(variance)  # cosmic rays would be taken for correlation
    middle, high = _ring_powers(flat, blank)
    if high >= MIN_WHITE * middle:
        return BlankSky(float(sky.median_e), variance * min(1.0, 0.5 * (middle + high)), None)
    power = measure_power(flat, blank, half=MAX_LAG_PIX, size=FFT_SIZE)
    return BlankSky(float(sky.median_e), variance, power)


def _ring_powers(flat: np.ndarray, blank: np.ndarray) -> tuple[float, float]:
    """Return the noise power in the two rings, relative to that of white noise of the same variance."""
    padded = [n + TAPER_PIX for n in flat.shape]
    field = np.where(blank, flat - np.mean(flat[blank]), 0.0)
    products, pairs = (np.fft.irfft2(np.abs(np.fft.rfft2(a, padded)) ** 2, padded) for a in (field, blank))
    lag = np.arange(-TAPER_PIX, TAPER_PIX + 1)
    box = np.ix_(lag, lag)
    covariance = products[box] / np.maximum(pairs[box], 1.0)
    taper = (
        np.cos(0.5 * np.pi * lag / (TAPER_PIX + 1)) ** 2
    )  # without it the long lags of a crowd ring at all frequencies
    stamp = covariance * np.outer(taper, taper) / covariance[TAPER_PIX, TAPER_PIX]
    kx, ky = frequencies(FFT_SIZE)
    power, k = power_of(stamp)(kx, ky), np.hypot(kx, ky)
    middle, high = (float(power[(k >= low) & (k <= up)].mean()) for low, up in (MIDDLE, HIGH))
    return middle, high


def noise_of_power(power: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """Return an image (ny, nx) of noise with unit variance and this shape of its power; the same every time."""
    white = np.random.default_rng(0).normal(size=shape)
    if power is None:
        return white.astype(np.float32)
    ky, kx = (2.0 * np.pi * np.fft.fftfreq(n) for n in shape)
    step = 2.0 * np.pi / FFT_SIZE
    places = np.stack(np.broadcast_arrays(ky[:, None], kx[None, :])) / step
    transfer = np.sqrt(np.maximum(ndimage.map_coordinates(power, places, order=1, mode="grid-wrap"), 0.0))
    noise = np.fft.ifft2(np.fft.fft2(white) * transfer).real
    return (noise / noise.std()).astype(np.float32)
