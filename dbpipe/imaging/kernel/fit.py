"""Fit the matching kernel: clip stars that have varied, hold some out as control."""

from dataclasses import dataclass

import numpy as np

from dbpipe.constants import robust_sigma
from dbpipe.errors import DataError
from dbpipe.imaging.kernel.basis import KernelBasis, KernelModel
from dbpipe.imaging.kernel.equations import StarEquations
from dbpipe.imaging.kernel.residuals import flux_residual, signal_squares, star_chi2, star_parameters
from dbpipe.imaging.kernel.solve import solve_kernel
from dbpipe.imaging.kernel.start import StartKernel

CLIP_SIGMA = 4.0
"""A star further off in flux or chi2 than this many standard deviations takes no part."""


@dataclass(frozen=True)
class KernelFit:
    """A fitted kernel and how it was reached.

    Attributes
    ----------
    model : KernelModel
    kept : (n_star,) bool, stars that survived clipping
    star_chi2 : (n_star,) reduced chi2 of every star, control stars included
    is_control : (n_star,) bool, stars that never took part in the fit and have not varied
    x, y : (n_star,) positions [pix]
    """

    model: KernelModel
    kept: np.ndarray
    star_chi2: np.ndarray
    is_control: np.ndarray
    x: np.ndarray
    y: np.ndarray


def fit_kernel(
    equations: StarEquations,
    start: StartKernel,
    basis: KernelBasis,
    *,
    shape: tuple[int, int],
    kernel_order: int,
    sum_order: int,
    background_order: int,
    is_control: np.ndarray,
) -> KernelFit:
    """Solve for the spatially varying kernel, leaving out stars that do not fit or that have varied.

    Stars are judged with a correction that is the same everywhere: a flexible one would follow a variable star.  The
    start kernel has the variation over the image that the PSF models know.

    Parameters
    ----------
    equations : StarEquations
    start : StartKernel
    basis : KernelBasis
    shape : (ny, nx) of the image
    kernel_order, sum_order, background_order : int, polynomial degrees of shape, flux ratio and background
    is_control : (n_star,) bool, stars held out

    Returns
    -------
    KernelFit

    Raises
    ------
    DataError
        If fewer than three stars remain.
    """
    good = equations.n_pix > 0
    for _ in range(6):
        kept = good & ~is_control
        if kept.sum() < 3:
            raise DataError("too few stars for a matching kernel", n_star=int(kept.sum()), n_required=3)
        stiff = solve_kernel(equations, start, basis, kept, (0, 0, background_order), shape)
        better = _fits(equations, stiff, kept)
        # never leave out more than half: then it is the model that is wrong
        if np.array_equal(better, good) or better.sum() < 0.5 * len(good):
            break
        good = better
    kept = good & ~is_control
    model = solve_kernel(equations, start, basis, kept, (kernel_order, sum_order, background_order), shape)
    chi2 = star_chi2(equations, star_parameters(equations, model))
    return KernelFit(model, kept, chi2, is_control & good, equations.x, equations.y)


def _fits(equations: StarEquations, model: KernelModel, kept: np.ndarray) -> np.ndarray:
    """Tell which stars agree with a model in flux and shape, against what the kept ones show.

    A star may be off by its noise and by a part of its own light that is common to all of them: a limit that forgot
    the latter would leave out the bright stars, which know the kernel best.
    """
    good = equations.n_pix > 0
    parameters = star_parameters(equations, model)
    signal = np.maximum(signal_squares(equations, parameters), 1e-30)
    flux = flux_residual(equations, parameters)
    flux -= np.nanmedian(flux[kept])
    good &= np.abs(flux) < CLIP_SIGMA * np.hypot(signal**-0.5, _common(flux**2 - 1.0 / signal, kept) ** 0.5)
    chi2 = star_chi2(equations, parameters)
    faint = kept & (signal <= np.median(signal[kept]))
    center = np.median(chi2[faint])
    width = robust_sigma(chi2[faint], center)
    per_noise = signal / np.maximum(equations.target_noise, 1e-30)
    own_light = _common((chi2 - center) / per_noise, kept & ~faint) * per_noise
    return good & (chi2 - center < CLIP_SIGMA * (max(width, 1e-3 * center) + own_light))


def _common(part: np.ndarray, among: np.ndarray) -> float:
    """Median of what some stars show, and no less than nothing."""
    part = part[among & np.isfinite(part)]
    return max(float(np.median(part)), 0.0) if part.size else 0.0
