"""A science image and a template with known PSFs, fluxes and noise, for the tests of subtraction."""

from dataclasses import dataclass

import numpy as np
from point_sources import gaussian_psf
from scipy.signal import fftconvolve

from dbpipe.imaging import noise
from dbpipe.imaging.difference.decorrelate import FFT_SIZE
from dbpipe.imaging.difference.score_image import score_image
from dbpipe.imaging.difference.subtract import BLOCK_PIX, Plane, subtract
from dbpipe.imaging.mask import DETECTED, UNUSABLE
from dbpipe.imaging.psf.homogenize import match_psf, moffat_psf
from dbpipe.imaging.psf.model import UniformPsf
from dbpipe.imaging.psf.rings import Stars
from dbpipe.imaging.settings import KernelSettings

STAMP = 41
NO_STARS = Stars(np.empty(0), np.empty(0), np.empty(0))


@dataclass(frozen=True)
class Pair:
    """Two images of one sky, before subtraction; x, y are the stars, brightest first."""

    science: Plane
    template: Plane
    template_noise: noise.NoiseField
    x: np.ndarray
    y: np.ndarray


def paint(image, x, y, flux, stamp_at):
    """Add stars in place."""
    half = STAMP // 2
    for u, v, f in zip(x, y, flux, strict=True):
        column, row = int(round(u)), int(round(v))
        box = np.s_[row - half : row + half + 1, column - half : column + half + 1]
        image[box] += f * stamp_at(u - column, v - row)


def make_pair(
    science_fwhm_pix,
    template_fwhm_pix,
    *,
    seed=1,
    size=700,
    n_star=60,
    sky=800.0,
    n_input=6,
    flux_ratio=1.0,
    injected=None,
    photon_noise=True,
):
    """Simulate a pair with Gaussian PSFs; the template's noise went through a homogenization kernel, as in a coadd.

    Parameters
    ----------
    injected : (x, y, flux) of point sources that only the science image has
    flux_ratio : float, electrons of the science image per unit of the template
    """
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(45, size - 45, (2, n_star))
    flux = np.sort(10 ** rng.uniform(3.5, 5.3, n_star))[::-1]
    science, template = np.zeros((2, size, size))
    paint(science, x, y, flux * flux_ratio, lambda dx, dy: gaussian_psf(STAMP, science_fwhm_pix, dx, dy))
    paint(template, x, y, flux, lambda dx, dy: gaussian_psf(STAMP, template_fwhm_pix, dx, dy))
    if injected is not None:
        paint(science, *injected, lambda dx, dy: gaussian_psf(STAMP, science_fwhm_pix, dx, dy))
    variance = sky + science if photon_noise else np.full(science.shape, sky)
    science = science + rng.normal(size=science.shape) * np.sqrt(variance)
    # the input is a little sharper than the model PSF that it was given
    model = moffat_psf(template_fwhm_pix, None, STAMP)
    matching = match_psf(moffat_psf(0.85 * template_fwhm_pix, None, STAMP), model, kernel_size_pix=31)
    sky_t = sky / n_input
    white = rng.normal(0.0, np.sqrt(sky_t), (size + 40, size + 40))
    template += fftconvolve(white, matching.kernel, mode="same")[20:-20, 20:-20]
    power = noise.kernel_power(matching.kernel, FFT_SIZE)
    mask = np.zeros(science.shape, np.uint16)
    for u, v in zip(
        *(np.concatenate([a, b]) for a, b in zip((x, y), (injected or ([], []))[:2], strict=True)), strict=True
    ):
        mask[max(0, int(v) - 12) : int(v) + 14, max(0, int(u) - 12) : int(u) + 14] = DETECTED
    blocks = (-(-size // BLOCK_PIX),) * 2
    science_psf, template_psf = (
        UniformPsf(gaussian_psf(STAMP, fwhm) / gaussian_psf(STAMP, fwhm).sum())
        for fwhm in (science_fwhm_pix, template_fwhm_pix)
    )
    return Pair(
        Plane(science.astype(np.float32), variance.astype(np.float32), mask, science_fwhm_pix, science_psf),
        Plane(
            template.astype(np.float32),
            np.full(mask.shape, sky_t * matching.noise_gain, np.float32),
            mask.copy(),
            template_fwhm_pix,
            template_psf,
        ),
        noise.uniform_noise(power / power.mean(), blocks),
        x,
        y,
    )


def subtract_pair(pair, **settings):
    """Return the Subtraction and its Score."""
    result = subtract(
        pair.science,
        pair.template,
        template_noise=pair.template_noise,
        star_x=pair.x,
        star_y=pair.y,
        bright=NO_STARS,
        settings=KernelSettings(**settings),
    )
    unusable = (result.mask & UNUSABLE) != 0
    return result, score_image(result.difference, result.variance, unusable, result.whitening.psf)


def blank_pixels(pair, margin_pix=40, radius_pix=20):
    """Return the pixels (ny, nx) bool that are far from every star and the edge."""
    ny, nx = pair.science.image.shape
    v, u = np.mgrid[:ny, :nx]
    blank = (u >= margin_pix) & (v >= margin_pix) & (u < nx - margin_pix) & (v < ny - margin_pix)
    for x, y in zip(pair.x, pair.y, strict=True):
        row, column = int(max(0, y - radius_pix)), int(max(0, x - radius_pix))
        box = np.s_[row : int(y + radius_pix) + 1, column : int(x + radius_pix) + 1]
        blank[box] &= np.hypot(u[box] - x, v[box] - y) > radius_pix
    return blank
