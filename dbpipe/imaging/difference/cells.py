"""A difference image sampled on a few cells: where on the detector something is wrong."""

import numpy as np

from dbpipe.imaging import mask as planes
from dbpipe.imaging.difference.registration import Shifts
from dbpipe.imaging.difference.score_image import blank_statistics
from dbpipe.imaging.difference.subtract import Subtraction
from dbpipe.imaging.kernel.fit import KernelFit
from dbpipe.imaging.psf.shapes import psf_size

N_CELL = 4
"""Cells along each side."""
_MIN_BLANK = 500
"""Pixels of blank sky without which nothing is said about the noise."""


def sample_cells(
    subtraction: Subtraction,
    score: np.ndarray,
    science_variance: np.ndarray,
    *,
    blank: np.ndarray,
    star_x: np.ndarray,
    star_y: np.ndarray,
    shifts: Shifts,
) -> list[dict[str, float]]:
    """Measure a difference image cell by cell.

    Parameters
    ----------
    subtraction : Subtraction
    score : (ny, nx) float32 array
    science_variance : (ny, nx) float32 array, of the exposure before subtraction
    blank : (ny, nx) bool array, usable pixels without a source
    star_x, star_y : (n,) float arrays, where ``shifts`` were measured [pix]
    shifts : Shifts

    Returns
    -------
    list of dict, one per cell, row by row from the bottom; NaN where there is nothing to measure
    """
    ny, nx = subtraction.difference.shape
    edges_y, edges_x = (np.linspace(0, n, N_CELL + 1).round().astype(int) for n in (ny, nx))
    rows = []
    for j in range(N_CELL):
        for i in range(N_CELL):
            box = np.s_[edges_y[j] : edges_y[j + 1], edges_x[i] : edges_x[i + 1]]
            center = 0.5 * (edges_x[i] + edges_x[i + 1] - 1), 0.5 * (edges_y[j] + edges_y[j + 1] - 1)
            inside = [_inside(box, *place) for place in ((star_x, star_y), (subtraction.fit.x, subtraction.fit.y))]
            rows.append(
                {"cell_x": i, "cell_y": j, "x_pix": center[0], "y_pix": center[1]}
                | _model(subtraction, *center)
                | _noise(subtraction, score, science_variance, blank, box, center)
                | _masked(subtraction.mask[box])
                | _stars(subtraction.fit, inside[1])
                | _shift(shifts.take(inside[0]))
            )
    return rows


def _inside(box: tuple[slice, slice], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Tell which positions lie on the pixels of a box."""
    column, row = np.rint(x), np.rint(y)
    return (row >= box[0].start) & (row < box[0].stop) & (column >= box[1].start) & (column < box[1].stop)


def _model(subtraction: Subtraction, x: float, y: float) -> dict[str, float]:
    kernel = subtraction.fit.model.kernels_at(np.array([x]), np.array([y]))[0]
    return {"kernel_sum": float(kernel.sum()), "psf_fwhm_pix": psf_size(subtraction.whitening.psf.at(x, y)).fwhm_pix}


def _noise(
    subtraction: Subtraction,
    score: np.ndarray,
    science_variance: np.ndarray,
    blank: np.ndarray,
    box: tuple[slice, slice],
    center: tuple[float, float],
) -> dict[str, float]:
    """What blank sky shows against what is claimed for it."""
    here = blank[box]
    names = ("residual_ratio", "score_std", "score_mean", "lag1_correlation", "template_noise_fraction")
    if here.sum() < _MIN_BLANK:
        return {"n_blank_pix": int(here.sum())} | dict.fromkeys(names, np.nan)
    difference, variance = subtraction.difference[box], subtraction.variance[box]
    pull = (difference[here] / np.sqrt(variance[here])).astype(float)
    std, lag1 = blank_statistics(score[box], difference, here)
    block = subtraction.whitening.psf.block_pix
    gain = subtraction.whitening.science_gain[int(center[1] // block), int(center[0] // block)]
    share = np.median(science_variance[box][here] * gain / variance[here])
    values = (pull[np.abs(pull) < 4.5].std(), std, score[box][here].mean(dtype=float), lag1, 1.0 - share)
    return {"n_blank_pix": int(here.sum())} | dict(zip(names, map(float, values), strict=True))


def _masked(mask: np.ndarray) -> dict[str, float]:
    bits = {"fraction_masked": planes.UNUSABLE, "fraction_no_data": planes.NO_DATA}
    bits |= {"fraction_near_saturated": planes.NEAR_SATURATED, "fraction_rejected": planes.REJECTED}
    return {name: float(np.mean((mask & bit) != 0)) for name, bit in bits.items()}


def _stars(fit: KernelFit, inside: np.ndarray) -> dict[str, float]:
    """Reduced chi2 of the stars that the kernel was fitted to, and of those that were held out."""
    known = inside & (fit.kept | fit.is_control)
    return {"n_star": int(known.sum()), "star_chi2": float(np.median(fit.star_chi2[known])) if known.any() else np.nan}


def _shift(shifts: Shifts) -> dict[str, float]:
    measured = np.isfinite(shifts.x_pix)
    if not measured.any():
        return {"n_shift_star": 0, "shift_x_pix": np.nan, "shift_y_pix": np.nan}
    middle = (float(np.median(values[measured])) for values in (shifts.x_pix, shifts.y_pix))
    return {"n_shift_star": int(measured.sum())} | dict(zip(("shift_x_pix", "shift_y_pix"), middle, strict=True))
