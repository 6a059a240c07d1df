"""Point sources with a Gaussian, pixel-integrated PSF: exact, and independent of the splines that fit them."""

import numpy as np
from scipy.special import erf


def gaussian_psf(size, fwhm_pix, dx=0.0, dy=0.0):
    """Return a unit-flux Gaussian, integrated over (size, size) pixels, (dx, dy) off the central pixel."""
    sigma = fwhm_pix / 2.3548200450309493
    edges = np.arange(size + 1) - size // 2 - 0.5

    def profile(shift):
        return np.diff(0.5 * (1 + erf((edges - shift) / (sigma * np.sqrt(2)))))

    return np.outer(profile(dy), profile(dx))


def add_source(image, x, y, flux, fwhm_pix, size=31):
    """Add a point source to an image, in place; it must be inside."""
    column, row, half = int(round(x)), int(round(y)), size // 2
    stamp = flux * gaussian_psf(size, fwhm_pix, x - column, y - row)
    image[row - half : row + half + 1, column - half : column + half + 1] += stamp.astype(image.dtype)


def noise_image(rng, shape, sigma):
    """Return image, variance and an empty mask with white noise."""
    image = rng.normal(0.0, sigma, shape).astype(np.float32)
    return image, np.full(shape, sigma**2, np.float32), np.zeros(shape, np.uint16)


def grid_positions(rng, shape, step):
    """Return x, y of sources on a grid, each off by up to half a pixel."""
    y, x = np.mgrid[step : shape[0] - step : step, step : shape[1] - step : step].reshape(2, -1)
    return x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, x.size)


def flux_of_snr(snr, sigma, fwhm_pix):
    """Return the flux of a point source of this signal to noise in white noise."""
    return snr * sigma / np.sqrt(np.sum(gaussian_psf(31, fwhm_pix) ** 2))
