"""Subtract a matched template from one exposure and whiten what remains."""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from dbpipe.errors import DataError
from dbpipe.imaging import mask as planes
from dbpipe.imaging.background import smooth_level
from dbpipe.imaging.convolve import KernelField, block_centres, convolve, core_radius_pix
from dbpipe.imaging.decorrelate import FFT_SIZE, Whitening, spread, whiten_field
from dbpipe.imaging.kernel import KernelFit, fit_kernel, make_basis, star_equations
from dbpipe.imaging.kernel_choice import choose_kernel
from dbpipe.imaging.resample import fill_bleeds, fill_gaps
from dbpipe.imaging.sky_structure import follow_structure, structure_image
from dbpipe.imaging.start_kernel import fit_start_kernel, no_start
from dbpipe.imaging.wings import MAX_STARS, Profile, Stars, flux_from_wings, measure_wings, subtract_wings
from dbpipe.units import FWHM_PER_SIGMA

BLOCK_PIX = 128
FILTER_SIZE_PIX = 31
SKY_BIN_PIX = 64
MAX_MATCH_RESIDUAL = 0.05
"""Error of the PSF match, rms over rms, up to which the template is convolved.  The noise of the result is white then,
and a mild sharpening is as clean as a blurring; what cannot be sharpened so well would ring."""
MAX_START_RESIDUAL = 0.15
"""Error of the PSF match beyond which the kernel is fitted without a start from the PSF models."""


@dataclass(frozen=True)
class Plane:
    """One side of the subtraction: image, variance, mask and PSF.

    Attributes
    ----------
    image, variance : (ny, nx) float32, in flux units of the science image
    mask : (ny, nx) uint16
    fwhm_pix : float
    psf : object with ``at_many(x, y) -> (n, size, size)``
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    fwhm_pix: float
    psf: object


@dataclass(frozen=True)
class KernelSettings:
    """How the matching kernel is made."""

    degree: tuple = (6, 4, 2)
    order: int = 2
    sum_order: int = 0
    background_order: int = 1
    max_size_pix: int = 51
    flux_floor: float = 0.005
    control_fraction: float = 0.2
    convolve: str = "auto"


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


def choose_direction(science, template, *, settings):
    """Choose which side to convolve: the template, unless only the other direction is well conditioned.

    Returns
    -------
    convolved : "template" or "science"
    basis : KernelBasis
    start : StartKernel
    """
    sides = {"template": (template, science), "science": (science, template)}
    if settings.convolve != "auto":
        sides = {settings.convolve: sides[settings.convolve]}
    options = []
    for convolved, (reference, target) in sides.items():
        basis = basis_for(target.fwhm_pix, settings.degree, settings.max_size_pix)
        size = basis.functions.shape[-1]
        start = fit_start_kernel(reference.psf, target.psf, shape=target.image.shape, size_pix=size)
        options.append((convolved, basis, start))
        if start.residual <= MAX_MATCH_RESIDUAL:
            break
    convolved, basis, start = min(options, key=lambda option: max(option[2].residual, MAX_MATCH_RESIDUAL))
    if start.residual > MAX_START_RESIDUAL:
        # PSF models that are this wrong somewhere, at an edge with few stars, say, would mislead the fit there
        start = no_start(start.shape, basis.functions.shape[-1])
    return convolved, basis, start


def basis_for(target_fwhm_pix, degree, max_size_pix):
    """Scale the basis to what it corrects: the PSF models that the start kernel was made from.

    Their errors have the scale of the PSF; half of that follows its core, none narrower than 0.7 pix, where sampling
    ends, and twice that its wings.
    """
    width = target_fwhm_pix / FWHM_PER_SIGMA
    sigma = [max(0.7, 0.5 * width), max(1.0, width), max(2.0, 2.0 * width)]
    half = int(min(max(math.ceil(2.5 * target_fwhm_pix), 10), max_size_pix // 2))
    return make_basis(sigma[: len(degree)], degree, 2 * half + 1)


def subtract(science, template, *, template_noise, star_x, star_y, bright, settings, science_power=1.0):
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
    shape = science.image.shape
    unusable = ((science.mask | template.mask) & planes.UNUSABLE) != 0
    if unusable.all():
        raise DataError("no pixel has both science and template", n_pix=int(unusable.size))
    template = _with_sky_of(science, template, unusable)
    convolved, basis, start = choose_direction(science, template, settings=settings)
    reference, target = (template, science) if convolved == "template" else (science, template)
    power = template_noise.overall if convolved == "template" else science_power * np.ones((FFT_SIZE, FFT_SIZE))
    fit = _fit(reference, target, unusable, star_x, star_y, basis, start, power, settings)
    field = fit.model.field(BLOCK_PIX)
    matched = convolve(reference.image if convolved == "template" else _filled(science), field)
    matched += fit.model.background_image()
    if convolved == "template":
        residual, mask = (
            science.image - matched,
            science.mask | grow_bits(template.mask, core_radius_pix(_middle(field))),
        )
    else:
        # the flux ratio is taken out of the kernel, so that fluxes are the science image's
        ratio = np.float32(_kernel_sum(fit))
        residual = (matched - template.image) / ratio
        mask = grow_bits(science.mask, core_radius_pix(_middle(field))) | template.mask
        field = KernelField(field.kernels / ratio, field.block_pix)
        template = replace(template, image=template.image / ratio, variance=template.variance / ratio**2)
    unusable = (mask & planes.UNUSABLE) != 0
    bright = _with_fluxes(bright, science, science.psf)
    wings, light = _wings(residual, science.variance + template.variance, unusable, bright, science.fwhm_pix)
    residual -= light
    sky = _residual_sky(residual, mask)
    residual -= sky
    light += sky
    if convolved == "template":
        matched += light
    levels = [_block_levels(v, unusable, BLOCK_PIX) for v in (science.variance, template.variance)]
    whitening = whiten_field(
        field.kernels,
        _psf_blocks(science.psf, shape),
        science_variance=levels[0],
        template_variance=levels[1],
        template_noise=template_noise,
        science_power=science_power,
        convolved=convolved,
        filter_size_pix=FILTER_SIZE_PIX,
        block_pix=BLOCK_PIX,
    )
    science_variance, template_variance = science.variance, template.variance
    if convolved == "template":
        template_variance = _spread_variance(template_variance, field)
    else:
        science_variance = _spread_variance(science_variance, field)
    return Subtraction(
        difference=convolve(_without_edges(residual, mask, science.mask | template.mask), whitening.filter),
        variance=science_variance * spread(whitening.science_gain, shape, BLOCK_PIX)
        + template_variance * spread(whitening.template_gain, shape, BLOCK_PIX),
        mask=mask,
        matched_template=matched if convolved == "template" else template.image,
        whitening=whitening,
        fit=fit,
        convolved=convolved,
        wings=wings,
        bright=bright,
        science_noise=float(np.sqrt(np.median(levels[0]))),
        template_noise=float(np.sqrt(np.median(levels[1]))),
    )


def _with_sky_of(science, template, unusable):
    """Return the template with the structure of the sky that was left in the science image, or taken from it.

    Before anything is fitted: on a nebula the kernel and the wings of stars would be bent by what the two skies took of
    it.
    """
    unfit = unusable | (((science.mask | template.mask) & planes.STREAK) != 0)
    nodes = follow_structure(science.image - template.image, ~unfit)
    if not nodes.any():
        return template
    return replace(template, image=template.image + structure_image(nodes, template.image.shape))


def _filled(side):
    """Return the image with what is not its light made up, so that the kernel does not spread it."""
    return fill_gaps(fill_bleeds(side.image, side.mask), side.mask)


def _with_fluxes(stars, science, psf):
    """Fill in the fluxes of saturated stars, drop what has none, and order by brightness."""
    unusable = (science.mask & planes.UNUSABLE) != 0
    unknown = ~np.isfinite(stars.flux)
    flux = np.array(stars.flux, float)
    flux[unknown] = flux_from_wings(
        science.image, science.variance, unusable, psf, x=stars.x[unknown], y=stars.y[unknown]
    )
    known = np.flatnonzero(flux > 0)
    return Stars(stars.x, stars.y, flux).take(known[np.argsort(-flux[known], kind="stable")])


def _wings(residual, variance, unusable, bright, fwhm_pix):
    """Return the profile of the wings that the kernel has left, and their light in the image."""
    profile = measure_wings(residual, variance, unusable, bright.take(slice(MAX_STARS)), fwhm_pix=fwhm_pix)
    noise = float(np.sqrt(np.median(variance[~unusable][::7])))
    return profile, subtract_wings(residual, profile, bright, noise=noise, inner_pix=fwhm_pix)


def _residual_sky(residual, mask):
    """Smooth background of the residual.

    Both sides had their own sky subtracted, each with its own error; a star's stamp is too small to see that.
    What is left shifts every score: at 1% of the sky noise per pixel, by a tenth of a sigma.
    """
    unfit, detected = (mask & planes.UNFIT) != 0, (mask & planes.DETECTED) != 0
    if (unfit | detected).all():
        return np.zeros(residual.shape, np.float32)
    sky = smooth_level(residual.astype(np.float32), ~(unfit | detected), SKY_BIN_PIX)
    nodes = follow_structure(residual - sky, ~unfit)
    if nodes.any():
        sky += structure_image(nodes, residual.shape)
    return sky


def _without_edges(residual, mask, defects):
    """Return the residual with its unusable pixels made up from their neighbours.

    Where the residual is correlated the filter sharpens, and the edge of a hole would ring. What is unusable only
    because the kernel has spread a defect (BAD, COSMIC_RAY in ``defects``) has been made up before: it stays.
    """
    grown = planes.BAD | planes.COSMIC_RAY
    return fill_gaps(residual, (mask & ~np.uint16(grown)) | (defects & grown), bits=planes.UNUSABLE)


def _kernel_sum(fit):
    ny, nx = fit.model.shape
    return float(fit.model.kernels_at(np.array([nx / 2]), np.array([ny / 2]))[0].sum())


def _fit(reference, target, unusable, star_x, star_y, basis, start, power, settings):
    shape = target.image.shape
    half = int(round(2.0 * target.fwhm_pix)) + 3
    outer = half + basis.functions.shape[-1] // 2 + 1
    inside = (star_x >= outer) & (star_x < shape[1] - outer) & (star_y >= outer) & (star_y < shape[0] - outer)
    inside &= _clean_stamps(unusable, star_x, star_y, half, inside)
    if inside.sum() < 3:
        raise DataError("too few stars for a matching kernel", n_star=int(inside.sum()), n_required=3)
    equations = star_equations(
        reference.image,
        target.image,
        ~unusable,
        reference_variance=reference.variance,
        target_variance=target.variance,
        reference_power=power,
        model_error=settings.flux_floor,
        x=star_x[inside],
        y=star_y[inside],
        start=start,
        basis=basis,
        half=half,
    )
    n_inside = int(inside.sum())
    is_control = np.zeros(n_inside, bool)
    if n_inside >= 15 and settings.control_fraction > 0:
        # every k-th of the stars ordered by brightness: control and fit see the same fluxes
        is_control[2 :: max(2, round(1.0 / settings.control_fraction))] = True
    common = {
        "shape": shape,
        "sum_order": settings.sum_order,
        "background_order": settings.background_order if n_inside >= 10 else 0,
    }
    held_out = {"is_control": is_control, **common}
    stiff = fit_kernel(equations, start, basis, kernel_order=0, **held_out)
    choice = choose_kernel(equations, start, basis, stars=stiff.kept, kernel_order=settings.order, **common)
    return fit_kernel(choice.equations, start, choice.basis, kernel_order=choice.kernel_order, **held_out)


def _clean_stamps(unusable, x, y, half, inside):
    """Mark stars whose core is free of unusable pixels and whose stamp is nearly so."""
    good = np.zeros(len(x), bool)
    for k in np.flatnonzero(inside):
        cx, cy = int(round(x[k])), int(round(y[k]))
        stamp = unusable[cy - half : cy + half + 1, cx - half : cx + half + 1]
        core = unusable[cy - 3 : cy + 4, cx - 3 : cx + 4]
        good[k] = not core.any() and stamp.mean() < 0.1
    return good


def _block_levels(variance, unusable, block_pix):
    """Return the median variance of each block's usable pixels; blocks without any take the image's."""
    x_centres, y_centres = block_centres(variance.shape, block_pix)
    overall = np.median(variance[~unusable][::7])
    levels = np.full((len(y_centres), len(x_centres)), overall, float)
    for j in range(len(y_centres)):
        for i in range(len(x_centres)):
            window = np.s_[j * block_pix : (j + 1) * block_pix : 3, i * block_pix : (i + 1) * block_pix : 3]
            values = variance[window][~unusable[window]]
            if values.size > 50:
                levels[j, i] = np.median(values)
    return levels


def _psf_blocks(psf, shape):
    x, y = block_centres(shape, BLOCK_PIX)
    grid_x, grid_y = np.meshgrid(x, y)
    stamps = psf.at_many(grid_x.ravel(), grid_y.ravel())
    return stamps.reshape(len(y), len(x), *stamps.shape[1:])


def _middle(field):
    n_y, n_x = field.kernels.shape[:2]
    return field.kernels[n_y // 2, n_x // 2].astype(float)


def _spread_variance(variance, field):
    """Smooth a variance plane as the squared kernel does, with a Gaussian of the same second moment."""
    power = _middle(field) ** 2
    u2 = np.square(np.arange(power.shape[0]) - power.shape[0] // 2)
    second = np.sum(power * (u2[:, None] + u2[None, :])) / np.sum(power)
    return ndimage.gaussian_filter(variance, math.sqrt(max(second / 2.0, 0.01)))


def grow_bits(mask, radius_pix, *, bits=planes.UNUSABLE):
    """Return a copy whose given bits are grown by a square of this half side; the other bits stay."""
    grown = np.array(mask, np.uint16)
    for bit in planes.NAMES.values():
        if bits & bit and (mask & bit).any():
            wide = ndimage.maximum_filter((mask & bit).astype(np.uint8 if bit < 256 else np.uint16), 2 * radius_pix + 1)
            grown[wide != 0] |= bit
    return grown
