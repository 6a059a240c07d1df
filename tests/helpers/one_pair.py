"""One science image and one template without a survey around them: calibrated and subtracted by the stages' own steps.

Nothing here computes anything: it hands arrays from one public function to the next, as the stages do with files.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from dbpipe.constants import robust_sigma
from dbpipe.declared import unflatten
from dbpipe.imaging import mask as bits
from dbpipe.imaging.clean.background import fit_background
from dbpipe.imaging.difference.decorrelate import FFT_SIZE
from dbpipe.imaging.difference.score_image import score_image
from dbpipe.imaging.difference.star_noise import with_star_noise
from dbpipe.imaging.difference.subtract import BLOCK_PIX, Plane, subtract
from dbpipe.imaging.measure.characterize import characterize, is_inside, touches
from dbpipe.imaging.measure.detection import detect_sources
from dbpipe.imaging.noise import measure_power, uniform_noise
from dbpipe.imaging.psf.model import measure_psf
from dbpipe.imaging.psf.rings import Stars
from dbpipe.imaging.settings import KernelSettings
from dbpipe.io.raw.image import RawImage
from dbpipe.stages.calibrate.pixels import clean_pixels, flag_after_detection
from dbpipe.stages.contracts.calibrate import CalibrateConfig


@dataclass(frozen=True)
class Side:
    """One calibrated image of the pair, in electrons."""

    plane: Plane
    star_x: np.ndarray
    """(n,) [pix] stars fit for a matching kernel, brightest first."""
    star_y: np.ndarray
    bright_x: np.ndarray
    """(m,) [pix] stars, saturated ones too, that may leave a residual."""
    bright_y: np.ndarray
    bright_flux: np.ndarray

    @property
    def unusable(self):
        """Pixels without a value, and those in the halo of a saturated star."""
        return (self.plane.mask & (bits.UNUSABLE | bits.NEAR_SATURATED)) != 0


def raw_image(pixels_e, *, read_noise_e, saturation_e, wcs=None, bad=None):
    """Wrap an array of electrons (ny, nx) as what the reader of raw files returns."""
    bad = np.zeros(pixels_e.shape, bool) if bad is None else bad
    return RawImage(
        visit=1, detector=0, detector_name="", band="", midpoint_mjd_tai=60000.0, exposure_s=1.0, airmass=None,
        night=20230225, gain=1.0, read_noise_e=read_noise_e, saturation_e=saturation_e,
        image=np.ascontiguousarray(pixels_e, np.float32), bad=bad, saturated=pixels_e >= saturation_e, wcs=wcs,
        sky_e=float(np.median(pixels_e[~bad])), sha256="", size_byte=0,
    )  # fmt: skip


def calibrate_side(raw, *, bleed="none", n_star_max=400, **settings):
    """Calibrate one image: sky, variance, mask, PSF and stars.

    Parameters
    ----------
    raw : RawImage
    bleed : str, as in an instrument's description
    n_star_max : int
    settings : of `CalibrateConfig`
    """
    config = unflatten(CalibrateConfig, settings)
    pixels = clean_pixels(raw, bleed, config)
    detections = detect_sources(pixels.image, pixels.variance, pixels.is_bad, threshold_sigma=config.detection_sigma)
    pixels, candidates = flag_after_detection(pixels, detections, config)
    measured = characterize(
        pixels.image, pixels.variance, pixels.unusable, candidates=candidates, size=config.psf.size_pix,
        degree_max=config.psf.degree_max, n_star_max=config.psf.star_max,
    )  # fmt: skip
    ny, nx = pixels.image.shape
    fwhm_pix = measure_psf(measured.psf.at((nx - 1) / 2, (ny - 1) / 2)).fwhm_pix
    x, y = measured.shapes.x, measured.shapes.y
    # the conditions of the queries called "stars" and "bright_stars" of the stage difference
    saturated = touches((pixels.mask & bits.SATURATED) != 0, x, y, radius_pix=fwhm_pix)
    spoiled = touches(pixels.unusable, x, y, radius_pix=fwhm_pix) | ~is_inside(
        (ny, nx), x, y, margin_pix=config.psf.size_pix // 2
    )
    snr = np.nan_to_num(measured.psf_flux / measured.psf_flux_err)
    alone = ~(detections.is_deblended | (candidates.share > 0.1))
    good = candidates.is_star & ~spoiled & (snr > 20)
    good &= alone if (candidates.is_star & alone).sum() >= 100 else True
    order = np.flatnonzero(good)[np.argsort(-measured.psf_flux[good])][:n_star_max]
    bright = saturated | (candidates.is_star & (snr > 200))
    return Side(
        Plane(pixels.image, pixels.variance, pixels.mask, fwhm_pix, measured.psf),
        x[order], y[order], x[bright], y[bright], np.where(saturated, np.nan, measured.psf_flux)[bright],
    )  # fmt: skip


@dataclass(frozen=True)
class RegisteredNoise:
    """What the blank sky of a resampled image of unknown history tells."""

    sky: float
    """Its level [image unit]."""
    variance: float
    """Of single pixels."""
    power: np.ndarray
    """(FFT_SIZE, FFT_SIZE) shape of the noise power, mean 1."""


def registered_noise(pixels, *, half=5):
    """Measure sky, noise and noise correlation between the sources of an image that others resampled."""
    pixels = np.ascontiguousarray(pixels, np.float32)
    sky = fit_background(pixels, np.zeros(pixels.shape, bool), bin_pix=64)
    flat = pixels - sky.level
    smooth = ndimage.gaussian_filter(flat, 2.0)
    width = robust_sigma(smooth, dtype=np.float32)
    blank = ~ndimage.binary_dilation(smooth > 2.0 * width, iterations=6)
    power = measure_power(flat, blank, half=half, size=FFT_SIZE)
    return RegisteredNoise(sky.median_e, float(np.var(flat[blank], dtype=float)), power)


def _blocks(plane):
    return tuple(-(-n // BLOCK_PIX) for n in plane.image.shape)


def subtract_sides(science, template, *, stars=slice(None), template_power=None, science_power=1.0, **settings):
    """Subtract one side from the other.

    Parameters
    ----------
    science, template : Side, on one pixel grid; the flux scale of the template is free
    stars : index of the science side's stars that may enter the fit
    template_power, science_power : shapes of the noise power; white if left out
    settings : of `KernelSettings`

    Returns
    -------
    Subtraction, Score, unusable (ny, nx) bool
    """
    power = np.ones((FFT_SIZE, FFT_SIZE)) if template_power is None else template_power
    result = subtract(
        science.plane, template.plane, template_noise=uniform_noise(power, _blocks(science.plane)),
        science_power=science_power,
        star_x=science.star_x[stars], star_y=science.star_y[stars],
        bright=Stars(science.bright_x, science.bright_y, science.bright_flux), settings=KernelSettings(**settings),
    )  # fmt: skip
    unusable = (result.mask & bits.UNUSABLE) != 0
    score = score_image(result.difference, result.variance, unusable, result.whitening.psf)
    plane = science.plane
    result, score, _ = with_star_noise(result, score, plane.psf, fwhm_pix=plane.fwhm_pix, halo_noise=3.0)
    return result, score, unusable
