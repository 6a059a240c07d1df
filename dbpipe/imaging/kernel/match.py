"""Match one image to another: which side is convolved, how far the kernel reaches, and which stars teach it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.errors import DataError
from dbpipe.imaging.kernel.basis import KernelBasis, make_basis
from dbpipe.imaging.kernel.choice import choose_kernel
from dbpipe.imaging.kernel.equations import star_equations
from dbpipe.imaging.kernel.fit import KernelFit, fit_kernel
from dbpipe.imaging.kernel.start import StartKernel, fit_start_kernel, no_start
from dbpipe.imaging.psf.model import Psf
from dbpipe.imaging.settings import KernelSettings

MAX_MATCH_RESIDUAL = 0.05
"""Error of the PSF match, rms over rms, up to which the template is convolved.  The noise of the result is white then,
and a mild sharpening is as clean as a blurring; what cannot be sharpened so well would ring."""
MAX_START_RESIDUAL = 0.15
"""Error of the PSF match beyond which the kernel is fitted without a start from the PSF models."""
MIN_STAR_CONTROL = 15
"""With fewer stars than this all of them are fitted, and none tells how good the fit is."""
CONTROL_STEP = 5
"""Every such star, by brightness, is left out of the fit, to tell how good it is."""


@dataclass(frozen=True)
class Plane:
    """One side of the subtraction: image, variance, mask and PSF.

    Attributes
    ----------
    image, variance : (ny, nx) float32, in flux units of the science image
    mask : (ny, nx) uint16
    fwhm_pix : float
    psf : Psf
    """

    image: np.ndarray
    variance: np.ndarray
    mask: np.ndarray
    fwhm_pix: float
    psf: Psf


def choose_direction(
    science: Plane, template: Plane, *, settings: KernelSettings
) -> tuple[str, KernelBasis, StartKernel]:
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


def basis_for(target_fwhm_pix: float, degree: tuple[int, ...], max_size_pix: int) -> KernelBasis:
    """Scale the basis to what it corrects: the PSF models that the start kernel was made from.

    Their errors have the scale of the PSF; half of that follows its core, none narrower than 0.7 pix, where sampling
    ends, and twice that its wings.
    """
    width = target_fwhm_pix / FWHM_PER_SIGMA
    sigma = [max(0.7, 0.5 * width), max(1.0, width), max(2.0, 2.0 * width)]
    half = int(min(max(math.ceil(2.5 * target_fwhm_pix), 10), max_size_pix // 2))
    return make_basis(sigma[: len(degree)], degree, 2 * half + 1)


def fit_match(
    reference: Plane,
    target: Plane,
    unusable: np.ndarray,
    *,
    star_x: np.ndarray,
    star_y: np.ndarray,
    basis: KernelBasis,
    start: StartKernel,
    power: np.ndarray,
    settings: KernelSettings,
) -> KernelFit:
    """Fit the kernel that turns one image into another to isolated stars.

    Parameters
    ----------
    reference, target : Plane, on one pixel grid
    unusable : (ny, nx) bool
    star_x, star_y : (n,) positions of isolated stars, brightest first [pix]
    basis : KernelBasis, the largest
    start : StartKernel
    power : (n, n) float array in FFT order, mean 1: shape of the reference's noise power
    settings : KernelSettings

    Returns
    -------
    KernelFit

    Raises
    ------
    DataError
        If fewer than three stars are usable.
    """
    shape = target.image.shape
    half = int(round(2.0 * target.fwhm_pix)) + 3
    outer = half + basis.functions.shape[-1] // 2 + 1
    inside = (star_x >= outer) & (star_x < shape[1] - outer) & (star_y >= outer) & (star_y < shape[0] - outer)
    inside &= _clean_stamps(unusable, star_x, star_y, half, inside)
    if inside.sum() < 3:
        raise DataError(
            "too few stars for a matching kernel: isolated ones, free of bad pixels and away from the edge",
            n_star=int(inside.sum()), n_required=3, n_isolated=len(star_x), margin_pix=outer,
        )  # fmt: skip
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
    if n_inside >= MIN_STAR_CONTROL:
        # every k-th of the stars ordered by brightness: control and fit see the same fluxes
        is_control[2::CONTROL_STEP] = True
    common: dict[str, Any] = {
        "shape": shape,
        "sum_order": settings.sum_order,
        "background_order": settings.background_order if n_inside >= 10 else 0,
    }
    held_out: dict[str, Any] = {"is_control": is_control, **common}
    stiff = fit_kernel(equations, start, basis, kernel_order=0, **held_out)
    choice = choose_kernel(equations, start, basis, stars=stiff.kept, kernel_order=settings.order, **common)
    return fit_kernel(choice.equations, start, choice.basis, kernel_order=choice.kernel_order, **held_out)


def _clean_stamps(unusable: np.ndarray, x: np.ndarray, y: np.ndarray, half: int, inside: np.ndarray) -> np.ndarray:
    """Mark stars whose core is free of unusable pixels and whose stamp is nearly so."""
    good = np.zeros(len(x), bool)
    for k in np.flatnonzero(inside):
        cx, cy = int(round(x[k])), int(round(y[k]))
        stamp = unusable[cy - half : cy + half + 1, cx - half : cx + half + 1]
        core = unusable[cy - 3 : cy + 4, cx - 3 : cx + 4]
        good[k] = not core.any() and stamp.mean() < 0.1
    return good
