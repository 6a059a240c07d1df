"""From raw pixels to sky-subtracted ones with variance and mask."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.errors import DataError
from dbpipe.imaging import mask as bits
from dbpipe.imaging.clean.background import fit_background
from dbpipe.imaging.clean.cosmic_rays import find_cosmic_rays
from dbpipe.imaging.clean.defects import find_bleeds, find_dead_pixels, find_halos, grow_saturated
from dbpipe.imaging.clean.plateau import Plateau, find_plateau
from dbpipe.imaging.clean.streaks import Streak, find_streaks, streak_mask
from dbpipe.imaging.clean.variance import measure_white_noise, model_variance
from dbpipe.imaging.measure.characterize import StarCandidates, find_star_candidates
from dbpipe.imaging.measure.detection import Detections
from dbpipe.imaging.psf.stars import StellarLocus

if TYPE_CHECKING:
    from dbpipe.stages.contracts.calibrate import CalibrateConfig

NOISE_TOLERANCE = 1.05
"""Measured over expected variance up to which the description of the instrument is believed."""


MIN_STAR_FWHM_PIX = 1.9
"""Smallest width of the stars, pixels included, with which a PSF can be measured. Moffat stars of FWHM 1.5 pix and less
come out as 1.86 and narrower, and their PSF diverges; those of 1.6 pix come out as 1.93."""


class RawPixels(Protocol):
    """What cleaning needs of an image in electrons."""

    @property
    def image(self) -> np.ndarray:
        """(ny, nx) float32 [electron]."""

    @property
    def bad(self) -> np.ndarray:
        """(ny, nx) bool."""

    @property
    def saturated(self) -> np.ndarray:
        """(ny, nx) bool."""

    @property
    def read_noise_e(self) -> float:
        """[electron]."""


@dataclass(frozen=True)
class CleanPixels:
    """A calibrated image on its way."""

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    sky_e: np.ndarray
    median_sky_e: float
    noise_e: float
    read_noise_e: float
    streaks: tuple[Streak, ...] = ()
    plateau: Plateau | None = None
    """Where stars are cut off below the described saturation level, if they are."""

    @property
    def is_bad(self) -> np.ndarray:
        """Dead pixels; unlike `unusable` without the saturated ones, whose stars are found but not measured."""
        return (self.mask & bits.BAD) != 0

    @property
    def unusable(self) -> np.ndarray:
        return (self.mask & bits.UNFIT) != 0


def clean_pixels(raw: RawPixels, bleed: str, config: "CalibrateConfig") -> CleanPixels:
    """Subtract the sky, model the variance and mask what no detection is needed for.

    Where the tops of stars are flat below the described saturation level, pixels of that level are saturated too.
    """
    saturated = grow_saturated(raw.saturated, bleed)
    sky = fit_background(raw.image, raw.bad | saturated, bin_pix=config.background_bin_pix)
    plateau = find_plateau(raw.image, raw.bad | saturated, sky_e=sky.median_e, noise_e=sky.noise_e)
    if plateau is not None:
        cut_off = raw.saturated | ((raw.image >= plateau.lowest_e) & ~raw.bad)
        saturated = grow_saturated(cut_off, bleed)
        sky = fit_background(raw.image, raw.bad | saturated, bin_pix=config.background_bin_pix)
    bad = raw.bad | find_dead_pixels(raw.image, sky.level, sky.noise_e)
    if (bad & ~raw.bad).any():
        sky = fit_background(raw.image, bad | saturated, bin_pix=config.background_bin_pix)
    image = np.where(bad, np.float32(0), raw.image - sky.level)
    read_noise_e = _effective_read_noise(raw, image, bad | saturated, sky.median_e)
    variance = model_variance(image, sky.level, read_noise_e)
    mask = np.uint16(bits.BAD) * bad + np.uint16(bits.SATURATED) * saturated
    mask += np.uint16(bits.BLEED) * find_bleeds(saturated)
    return CleanPixels(image, variance, mask, sky.level, sky.median_e, sky.noise_e, read_noise_e, plateau=plateau)


def _effective_read_noise(raw: RawPixels, image: np.ndarray, unusable: np.ndarray, sky_e: float) -> float:
    """Return the read noise, or what it must be where the image is noisier than sky and read noise explain.

    A bias frame or a dark that was subtracted adds its noise, and descriptions of instruments err.
    """
    expected = max(sky_e, 0.0) + raw.read_noise_e**2
    measured = measure_white_noise(image, unusable) ** 2
    return raw.read_noise_e if measured < NOISE_TOLERANCE * expected else float(np.sqrt(measured - max(sky_e, 0.0)))


def flag_after_detection(
    pixels: CleanPixels, detections: Detections, config: "CalibrateConfig"
) -> tuple[CleanPixels, StarCandidates]:
    """Add footprints, halos, streaks and cosmic rays to the mask, which need the seeing, and find the stars.

    Raises
    ------
    DataError
        If there are too few stars, or they are too narrow.
    """

    def candidates_of(unusable: np.ndarray) -> StarCandidates:
        return find_star_candidates(
            pixels.image, pixels.variance, unusable, detections=detections, noise_e=pixels.noise_e
        )

    candidates = candidates_of(pixels.unusable)
    fwhm_pix = FWHM_PER_SIGMA * candidates.locus.sigma_pix
    mask = pixels.mask.copy()
    mask[detections.footprints] |= bits.DETECTED
    mask[find_halos((mask & bits.SATURATED) != 0, fwhm_pix, halo_scale=config.halo_scale)] |= bits.NEAR_SATURATED
    streaks: tuple[Streak, ...] = ()
    if config.find_streaks:
        doubtful = (mask & (bits.UNUSABLE | bits.NEAR_SATURATED)) != 0
        streaks = tuple(find_streaks(pixels.image, pixels.variance, doubtful, fwhm_pix=fwhm_pix))
        mask[streak_mask(mask.shape, streaks)] |= bits.STREAK
    if config.find_cosmic_rays:
        # edges of bleeds look like cosmic rays, and halos are flagged anyway
        hit = find_cosmic_rays(
            pixels.image, (mask & (bits.UNFIT | bits.NEAR_SATURATED)) != 0,
            sky_e=pixels.sky_e, read_noise_e=pixels.read_noise_e,
            psf_sigma_pix=candidates.locus.sigma_pix, sigma=config.cosmic_ray_sigma,
        )  # fmt: skip
        mask[hit] |= bits.COSMIC_RAY
    if (mask & (bits.COSMIC_RAY | bits.STREAK)).any():
        try:
            candidates = candidates_of((mask & bits.UNFIT) != 0)
        except DataError:
            _check_sampling(candidates.locus)  # the cores of narrow stars were taken for cosmic rays
            raise
    _check_sampling(candidates.locus)
    return replace(pixels, mask=mask, streaks=streaks), candidates


def _check_sampling(locus: StellarLocus) -> None:
    """Refuse stars that are too narrow for their pixels; later they would pass for trailed, or match nothing."""
    fwhm_pix = FWHM_PER_SIGMA * locus.sigma_pix
    if fwhm_pix < MIN_STAR_FWHM_PIX:
        raise DataError(
            "the stars are undersampled, narrower than a PSF can be measured, or they are cosmic rays",
            star_fwhm_pix=fwhm_pix, required_fwhm_pix=MIN_STAR_FWHM_PIX, n_star=locus.n_star,
        )  # fmt: skip
