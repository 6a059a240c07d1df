"""How well the two sides of a difference image lie on each other: the dipole that each star leaves.

A star of flux F that is displaced by d between the two images leaves F d . grad P to first order, P the PSF of the
difference (Reiss DMTN-007). It is fitted with the star's change of flux to the pixels of the difference itself, so
displacements far below those of a detected dipole can be seen.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.constants import robust_sigma
from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.psf.spline import cut_stamp, render, spline_coefficients

MAX_ERR_PIX = 0.05
"""Stars measured worse say nothing of the registration."""


@dataclass(frozen=True)
class Shifts:
    """Displacements of stars, science position minus template position; arrays of length n, NaN where not measured.

    Attributes
    ----------
    x_pix, y_pix : float arrays [pix]
    x_err_pix, y_err_pix : their standard errors
    """

    x_pix: np.ndarray
    y_pix: np.ndarray
    x_err_pix: np.ndarray
    y_err_pix: np.ndarray

    def take(self, index: np.ndarray | slice) -> "Shifts":
        """Return some of them."""
        return Shifts(self.x_pix[index], self.y_pix[index], self.x_err_pix[index], self.y_err_pix[index])


@dataclass(frozen=True)
class Registration:
    """What the displacements of an image have in common.

    Attributes
    ----------
    n_star : int
    shift_x_pix, shift_y_pix : float, medians [pix]; NaN without stars
    shift_x_err_pix, shift_y_err_pix : float, their standard errors from the scatter found; NaN with fewer than 5
    scatter_pix : float, root of the mean variance per axis beyond the measurement errors [pix]; NaN with fewer than 5
    axis_deg : float, direction in which stars scatter most, from x toward y, -90 to 90; NaN with fewer than 5
    alignment : float, length of the mean of exp(2 i angle) of the displacements: 0 any direction, 1 all along one axis
    chance_of_alignment : float, probability of such an alignment without a cause (Rayleigh test, exp(-n R^2))
    """

    n_star: int
    shift_x_pix: float
    shift_y_pix: float
    shift_x_err_pix: float
    shift_y_err_pix: float
    scatter_pix: float
    axis_deg: float
    alignment: float
    chance_of_alignment: float


def measure_shifts(
    difference: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    psf_field: KernelField,
    *,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    radius_pix: float,
) -> Shifts:
    """Fit the dipole of each star.

    Parameters
    ----------
    difference, variance : (ny, nx) float32 arrays
    mask : (ny, nx) uint16 array
    psf_field : KernelField, PSF of the difference
    x, y, flux : (n,) float arrays, the stars on the science image [pix, image unit]
    radius_pix : float, radius of the fit

    Returns
    -------
    Shifts
    """
    table = np.full((4, len(x)), np.nan)
    reach = int(radius_pix)
    for k in range(len(x)):
        left, bottom = int(round(x[k])) - reach, int(round(y[k])) - reach
        spline = spline_coefficients(psf_field.at(x[k], y[k])[None])[0]
        data, weight = cut_stamp(difference, variance, mask, left, bottom, float(radius_pix))
        # a stamp that lacks a part, say half a star at an edge, has no center of its own
        if np.count_nonzero(weight) < 0.9 * np.pi * radius_pix**2:
            continue
        psf, psf_x, psf_y = render(spline, float(x[k]), float(y[k]), left, bottom, 2 * reach + 1)
        columns = np.stack([psf.ravel(), flux[k] * psf_x.ravel(), flux[k] * psf_y.ravel()])
        weighted = columns * weight.ravel()
        covariance = np.linalg.inv(weighted @ columns.T)
        table[:2, k] = (covariance @ (weighted @ data.ravel()))[1:]
        table[2:, k] = np.sqrt(np.diag(covariance)[1:])
    return Shifts(*table)


def register(shifts: Shifts) -> Registration:
    """Summarize the displacements of an image, of stars measured to `MAX_ERR_PIX` or better."""
    with np.errstate(invalid="ignore"):
        good = (shifts.x_err_pix < MAX_ERR_PIX) & (shifts.y_err_pix < MAX_ERR_PIX)
    x, y = shifts.x_pix[good], shifts.y_pix[good]
    n = len(x)
    if n == 0:
        return Registration(0, *[np.nan] * 8)
    middle = float(np.median(x)), float(np.median(y))
    if n < 5:
        return Registration(n, *middle, *[np.nan] * 6)
    spread = [robust_sigma(v, m) for v, m in zip((x, y), middle, strict=True)]
    claimed = 0.5 * np.median(shifts.x_err_pix[good] ** 2 + shifts.y_err_pix[good] ** 2)
    beyond = max(0.0, 0.5 * (spread[0] ** 2 + spread[1] ** 2) - claimed)
    doubled = np.exp(2j * np.arctan2(y - middle[1], x - middle[0]))
    mean = doubled.mean()
    error = [1.2533 * s / np.sqrt(n) for s in spread]  # sqrt(pi / 2): what a median costs over a mean
    return Registration(
        n,
        *middle,
        error[0],
        error[1],
        scatter_pix=float(np.sqrt(beyond)),
        axis_deg=float(0.5 * np.degrees(np.angle(mean))),
        alignment=float(abs(mean)),
        chance_of_alignment=float(np.exp(-n * abs(mean) ** 2)),
    )
