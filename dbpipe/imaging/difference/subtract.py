"""Subtract a matched template from one exposure and whiten what remains."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from dbpipe.errors import DataError
from dbpipe.imaging import mask as planes
from dbpipe.imaging.clean.sky_structure import follow_structure, structure_image
from dbpipe.imaging.convolve import KernelField, block_centers, convolve, core_radius_pix
from dbpipe.imaging.difference.decorrelate import FFT_SIZE, Whitening, spread, whiten_field
from dbpipe.imaging.difference.residual_sky import residual_sky
from dbpipe.imaging.difference.wings import MAX_STARS, flux_from_wings, measure_wings, subtract_wings
from dbpipe.imaging.kernel.fit import KernelFit
from dbpipe.imaging.kernel.match import Plane, choose_direction, fit_match
from dbpipe.imaging.noise import NoiseField
from dbpipe.imaging.psf.model import Psf
from dbpipe.imaging.psf.rings import Profile, Stars
from dbpipe.imaging.resample import fill_bleeds, fill_gaps
from dbpipe.imaging.settings import KernelSettings

BLOCK_PIX = 128
FILTER_SIZE_PIX = 31


@dataclass(frozen=True)
class Subtraction:
    """A whitened difference image.

    Attributes
    ----------
    difference, variance : (ny, nx) float32
    mask : (ny, nx) uint16, of both sides
    matched_template : (ny, nx) float32, the template as it was subtracted, in science flux
    whitening : Whitening
    fit : KernelFit
    convolved : "template" or "science"
    wings : Profile, what stars had left beyond the reach of the kernel, per flux; it is taken out
    bright : Stars, brightest first
    science_noise, template_noise : float, sky noise of the two sides before convolution [flux units of the science]
    """

    difference: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    matched_template: np.ndarray
    whitening: Whitening
    fit: KernelFit
    convolved: str
    wings: Profile
    bright: Stars
    science_noise: float
    template_noise: float


def subtract(
    science: Plane,
    template: Plane,
    *,
    template_noise: NoiseField,
    star_x: np.ndarray,
    star_y: np.ndarray,
    bright: Stars,
    settings: KernelSettings,
    science_power: float | np.ndarray = 1.0,
) -> Subtraction:
    """Match, subtract and whiten.

    Parameters
    ----------
    science, template : Plane, on one pixel grid
    template_noise : NoiseField, shape of the template's noise power per block of BLOCK_PIX
    star_x, star_y : (n,) positions of isolated stars, brightest first [pix]
    bright : Stars, those whose wings may matter, flux NaN where the star is saturated
    settings : KernelSettings
    science_power : (FFT_SIZE, FFT_SIZE) float array in FFT order, mean 1: shape of the science image's noise power; or
        1, since the noise of an image that was not resampled is white

    Returns
    -------
    Subtraction

    Raises
    ------
    DataError
        If too few stars are usable.
    """
    unusable = ((science.mask | template.mask) & planes.UNUSABLE) != 0
    if unusable.all():
        raise DataError("no pixel has both science and template", n_pix=int(unusable.size))
    template = _with_sky_of(science, template, unusable)
    convolved, basis, start = choose_direction(science, template, settings=settings)
    reference, target = (template, science) if convolved == "template" else (science, template)
    power = template_noise.overall if convolved == "template" else science_power * np.ones((FFT_SIZE, FFT_SIZE))
    stars: dict[str, Any] = {"star_x": star_x, "star_y": star_y}
    fit = fit_match(reference, target, unusable, **stars, basis=basis, start=start, power=power, settings=settings)
    pair = (_convolve_template if convolved == "template" else _convolve_science)(science, template, fit)
    unusable = (pair.mask & planes.UNUSABLE) != 0
    bright = _with_fluxes(bright, science, science.psf)
    wings, light = _wings(pair.residual, science.variance + pair.template.variance, unusable, bright, science.fwhm_pix)
    residual = pair.residual - light
    sky = residual_sky(residual, pair.mask)
    residual -= sky
    levels = [_block_levels(side.variance, unusable, BLOCK_PIX) for side in (science, pair.template)]
    whitening = whiten_field(
        pair.field.kernels,
        _psf_blocks(science.psf, unusable.shape),
        science_variance=levels[0],
        template_variance=levels[1],
        template_noise=template_noise,
        science_power=science_power,
        convolved=convolved,
        filter_size_pix=FILTER_SIZE_PIX,
        block_pix=BLOCK_PIX,
    )
    whole = _without_edges(residual, pair.mask, science.mask | template.mask)
    return Subtraction(
        difference=convolve(whole, whitening.filter),
        variance=_whitened_variance(science, pair, whitening, convolved),
        mask=pair.mask,
        matched_template=pair.subtracted + (light + sky) if convolved == "template" else pair.subtracted,
        whitening=whitening,
        fit=fit,
        convolved=convolved,
        wings=wings,
        bright=bright,
        science_noise=float(np.sqrt(np.median(levels[0]))),
        template_noise=float(np.sqrt(np.median(levels[1]))),
    )


@dataclass(frozen=True)
class _Matched:
    """Both sides after one was convolved, in science flux.

    Attributes
    ----------
    residual : (ny, nx) float32, science less template
    subtracted : (ny, nx) float32, the template as it was subtracted
    mask : (ny, nx) uint16, of both sides, that of the convolved one grown
    field : KernelField
    template : Plane, before convolution
    """

    residual: np.ndarray
    subtracted: np.ndarray
    mask: np.ndarray
    field: KernelField
    template: Plane


def _convolve_template(science: Plane, template: Plane, fit: KernelFit) -> _Matched:
    field = fit.model.field(BLOCK_PIX)
    matched = convolve(template.image, field)
    matched += fit.model.background_image()
    mask = science.mask | planes.grow_bits(template.mask, core_radius_pix(_middle(field)))
    return _Matched(science.image - matched, matched, mask, field, template)


def _convolve_science(science: Plane, template: Plane, fit: KernelFit) -> _Matched:
    field = fit.model.field(BLOCK_PIX)
    matched = convolve(_filled(science), field)
    matched += fit.model.background_image()
    mask = planes.grow_bits(science.mask, core_radius_pix(_middle(field))) | template.mask
    # the flux ratio is taken out of the kernel, so that fluxes are the science image's
    ratio = np.float32(_kernel_sum(fit))
    residual = (matched - template.image) / ratio
    scaled = replace(template, image=template.image / ratio, variance=template.variance / ratio**2)
    return _Matched(residual, scaled.image, mask, KernelField(field.kernels / ratio, field.block_pix), scaled)


def _whitened_variance(science: Plane, pair: _Matched, whitening: Whitening, convolved: str) -> np.ndarray:
    """Return the variance (ny, nx) of the whitened difference, each side's followed where it goes."""
    of_science, of_template = science.variance, pair.template.variance
    if convolved == "template":
        of_template = _spread_variance(of_template, pair.field)
    else:
        of_science = _spread_variance(of_science, pair.field)
    gains = (spread(gain, of_science.shape, BLOCK_PIX) for gain in (whitening.science_gain, whitening.template_gain))
    return of_science * next(gains) + of_template * next(gains)


def _with_sky_of(science: Plane, template: Plane, unusable: np.ndarray) -> Plane:
    """Return the template with the structure of the sky that was left in the science image, or taken from it.

    Before anything is fitted: on a nebula the kernel and the wings of stars would be bent by what the two skies took of
    it.
    """
    unfit = unusable | (((science.mask | template.mask) & planes.STREAK) != 0)
    halo = ((science.mask | template.mask) & planes.NEAR_SATURATED) != 0
    nodes = follow_structure(science.image - template.image, ~unfit, halo)
    if not nodes.any():
        return template
    return replace(template, image=template.image + structure_image(nodes, template.image.shape))


def _filled(side: Plane) -> np.ndarray:
    """Return the image with what is not its light made up, so that the kernel does not spread it."""
    return fill_gaps(fill_bleeds(side.image, side.mask), side.mask)


def _with_fluxes(stars: Stars, science: Plane, psf: Psf) -> Stars:
    """Fill in the fluxes of saturated stars, drop what has none, and order by brightness."""
    unusable = (science.mask & planes.UNUSABLE) != 0
    unknown = ~np.isfinite(stars.flux)
    flux = np.array(stars.flux, float)
    flux[unknown] = flux_from_wings(
        science.image, science.variance, unusable, psf, x=stars.x[unknown], y=stars.y[unknown]
    )
    known = np.flatnonzero(flux > 0)
    return Stars(stars.x, stars.y, flux).take(known[np.argsort(-flux[known], kind="stable")])


def _wings(
    residual: np.ndarray, variance: np.ndarray, unusable: np.ndarray, bright: Stars, fwhm_pix: float
) -> tuple[Profile, np.ndarray]:
    """Return the profile of the wings that the kernel has left, and their light in the image."""
    profile = measure_wings(residual, variance, unusable, bright.take(slice(MAX_STARS)), fwhm_pix=fwhm_pix)
    noise = float(np.sqrt(np.median(variance[~unusable][::7])))
    return profile, subtract_wings(residual, profile, bright, noise=noise, inner_pix=fwhm_pix)


def _without_edges(residual: np.ndarray, mask: np.ndarray, defects: np.ndarray) -> np.ndarray:
    """Return the residual with its unusable pixels made up from their neighbors.

    Where the residual is correlated the filter sharpens, and the edge of a hole would ring. What is unusable only
    because the kernel has spread a defect (BAD, COSMIC_RAY in ``defects``) has been made up before: it stays.
    """
    grown = planes.BAD | planes.COSMIC_RAY
    return fill_gaps(residual, (mask & ~np.uint16(grown)) | (defects & grown), bits=planes.UNUSABLE)


def _kernel_sum(fit: KernelFit) -> float:
    ny, nx = fit.model.shape
    return float(fit.model.kernels_at(np.array([nx / 2]), np.array([ny / 2]))[0].sum())


def _block_levels(variance: np.ndarray, unusable: np.ndarray, block_pix: int) -> np.ndarray:
    """Return the median variance of each block's usable pixels; blocks without any take the image's."""
    x_centers, y_centers = block_centers(variance.shape, block_pix)
    overall = np.median(variance[~unusable][::7])
    levels = np.full((len(y_centers), len(x_centers)), overall, float)
    for j in range(len(y_centers)):
        for i in range(len(x_centers)):
            window = np.s_[j * block_pix : (j + 1) * block_pix : 3, i * block_pix : (i + 1) * block_pix : 3]
            values = variance[window][~unusable[window]]
            if values.size > 50:
                levels[j, i] = np.median(values)
    return levels


def _psf_blocks(psf: Psf, shape: tuple[int, int]) -> np.ndarray:
    x, y = block_centers(shape, BLOCK_PIX)
    grid_x, grid_y = np.meshgrid(x, y)
    stamps = psf.at_many(grid_x.ravel(), grid_y.ravel())
    return stamps.reshape(len(y), len(x), *stamps.shape[1:])


def _middle(field: KernelField) -> np.ndarray:
    n_y, n_x = field.kernels.shape[:2]
    return field.kernels[n_y // 2, n_x // 2].astype(float)


def _spread_variance(variance: np.ndarray, field: KernelField) -> np.ndarray:
    """Smooth a variance plane as the squared kernel does, with a Gaussian of the same second moment."""
    power = _middle(field) ** 2
    u2 = np.square(np.arange(power.shape[0]) - power.shape[0] // 2)
    second = np.sum(power * (u2[:, None] + u2[None, :])) / np.sum(power)
    return ndimage.gaussian_filter(variance, math.sqrt(max(second / 2.0, 0.01)))
