"""One image of a pair, calibrated: sky, variance, mask, PSF and stars, by the steps of the stage calibrate."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from astropy.wcs import WCS

from dbpipe.imaging import mask as bits
from dbpipe.imaging.difference.decorrelate import FFT_SIZE
from dbpipe.imaging.kernel.match import Plane
from dbpipe.imaging.mask_near import touches
from dbpipe.imaging.measure.characterize import StarCandidates, characterize, find_star_candidates, is_inside
from dbpipe.imaging.measure.detection import Detections, detect_sources
from dbpipe.imaging.noise import measure_power
from dbpipe.imaging.psf.model import measure_psf
from dbpipe.imaging.resample import fill_bleeds, fill_gaps, warp
from dbpipe.pair.blank_sky import MAX_LAG_PIX, noise_of_power
from dbpipe.pair.frame import Frame
from dbpipe.sky.wcs import PixelMap
from dbpipe.stages.calibrate.pixels import clean_pixels, flag_after_detection
from dbpipe.stages.calibrate.stage import check_psf, check_sources
from dbpipe.stages.contracts.calibrate import CalibrateConfig

MAX_STARS = 400
"""Stars that may enter the matching kernel."""
MIN_SNR, BRIGHT_SNR, RESIDUAL_SNR = 20.0, 200.0, 100.0
"""Of stars for the kernel, of those whose wings may matter, and of those that may leave a residual; as in the queries
of the stages difference and detect."""
MAX_NEIGHBOR_LIGHT = 0.1
MIN_ISOLATED = 100


@dataclass(frozen=True)
class Stars:
    """Stars of one image, brightest first; arrays (n,).

    Attributes
    ----------
    x, y : [pix]
    flux : PSF flux [electron]
    is_good : may enter the matching kernel: isolated, unspoiled, bright enough
    is_bright : may have wings that matter, saturated ones too
    is_saturated : its flux is a lower limit
    leaves_residual : bright enough that what is left of it may pass for a source
    """

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    is_good: np.ndarray
    is_bright: np.ndarray
    is_saturated: np.ndarray
    leaves_residual: np.ndarray

    def take(self, index: np.ndarray) -> "Stars":
        """Return some of them."""
        return Stars(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Side:
    """One calibrated image, in electrons; ``power`` is the shape of its noise power, None if it is white."""

    plane: Plane
    stars: Stars
    power: np.ndarray | None
    wcs: WCS | None


def calibrate_frame(frame: Frame, config: CalibrateConfig) -> Side:
    """Calibrate one image.

    In an image whose noise is correlated no cosmic rays are sought: resampling has given them the shape of the PSF, or
    averaging has removed them.

    Raises
    ------
    DataError
        If there are too few sources, too few stars for a PSF, or it is one that nothing can be subtracted with.
    """
    if frame.power is not None:
        config = replace(config, find_cosmic_rays=False)
    pixels = clean_pixels(frame, "none", config)
    detections = detect_sources(pixels.image, pixels.variance, pixels.is_bad, threshold_sigma=config.detection_sigma)
    check_sources(detections, config)
    pixels, candidates = flag_after_detection(pixels, detections, config)
    return _side(pixels.image, pixels.variance, pixels.mask, detections, candidates, config, frame.power, frame.wcs)


def resampled(side: Side, grid: PixelMap, shape: tuple[int, int], config: CalibrateConfig) -> Side:
    """Lay an image on another pixel grid, where its PSF and its noise are measured anew.

    Parameters
    ----------
    grid : where the nodes of the new grid lie in the image
    shape : (ny, nx) of the new grid
    """
    plane = side.plane
    maps: dict[str, Any] = {"map_x": grid.x, "map_y": grid.y, "step_pix": grid.step_pix, "shape": shape}
    filled = fill_gaps(fill_bleeds(plane.image, plane.mask), plane.mask)
    warped = warp(filled, plane.variance, plane.mask, **maps)
    mask = warped.mask & ~np.uint16(bits.DETECTED)
    unusable = (mask & bits.UNFIT) != 0
    # what the map does to noise is seen on noise, whatever the phases of its pixels
    clear = np.zeros(plane.mask.shape, np.uint16)
    noise = warp(noise_of_power(side.power, plane.image.shape), np.ones_like(plane.image), clear, **maps)
    seen = noise.mask == 0
    factor = np.var(noise.image[seen], dtype=float) / np.mean(noise.variance[seen], dtype=float)
    power = measure_power(noise.image, seen, half=MAX_LAG_PIX, size=FFT_SIZE)
    variance = warped.variance * np.float32(factor)
    noise_e = float(np.sqrt(np.median(variance[~unusable][::7])))
    variance[variance <= 0] = np.float32(noise_e**2)
    detections = detect_sources(warped.image, variance, unusable, threshold_sigma=config.detection_sigma)
    candidates = find_star_candidates(warped.image, variance, unusable, detections=detections, noise_e=noise_e)
    mask[detections.footprints] |= bits.DETECTED
    return _side(warped.image, variance, mask, detections, candidates, config, power, None)


def _side(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    detections: Detections,
    candidates: StarCandidates,
    config: CalibrateConfig,
    power: np.ndarray | None,
    wcs: WCS | None,
) -> Side:
    """Fit the PSF and all fluxes, and sort the stars."""
    unusable = (mask & bits.UNFIT) != 0
    measured = characterize(
        image,
        variance,
        unusable,
        candidates=candidates,
        size=config.psf.size_pix,
        degree_max=config.psf.degree_max,
        n_star_max=config.psf.star_max,
    )
    ny, nx = image.shape
    shape = measure_psf(measured.psf.at((nx - 1) / 2, (ny - 1) / 2))
    check_psf(shape, config)
    fwhm_pix = shape.fwhm_pix
    x, y = measured.shapes.x, measured.shapes.y
    saturated = touches((mask & bits.SATURATED) != 0, x, y, radius_pix=fwhm_pix)
    spoiled = touches(unusable, x, y, radius_pix=fwhm_pix)
    spoiled |= ~is_inside((ny, nx), x, y, margin_pix=config.psf.size_pix // 2)
    snr = np.nan_to_num(measured.psf_flux / measured.psf_flux_err)
    isolated = ~(detections.is_deblended | (candidates.share > MAX_NEIGHBOR_LIGHT))
    good = candidates.is_star & ~spoiled & (snr > MIN_SNR)
    good &= isolated if (good & isolated).sum() >= MIN_ISOLATED else True
    is_star = candidates.is_star | saturated
    stars = Stars(
        x=x,
        y=y,
        flux=np.nan_to_num(measured.psf_flux),
        is_good=good,
        is_bright=saturated | (candidates.is_star & (snr > BRIGHT_SNR)),
        is_saturated=saturated,
        leaves_residual=is_star & (snr > RESIDUAL_SNR),
    )
    order = np.argsort(-stars.flux, kind="stable")
    return Side(Plane(image, variance, mask, fwhm_pix, measured.psf), stars.take(order), power, wcs)
