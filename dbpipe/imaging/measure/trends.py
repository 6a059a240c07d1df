"""Trends in what single stars show: how a measure of them runs with color, place or brightness."""

import math
from dataclasses import dataclass

import numpy as np

from dbpipe.constants import robust_sigma

CLIP_SIGMA = 3.5
MIN_STARS = 10
SIGNIFICANT_SIGMA = 3.0
MIN_COLOR_RANGE_MAG = 0.5
"""Between the 5% and 95% quantiles; over less a color term is nothing but noise."""
_WAVELENGTH_ORDER = (("u", "g", "r", "i", "z", "y"), ("U", "B", "V", "R", "I", "J", "H", "K"), ("BP", "G", "RP"))
"""Bands of one photometric system from blue to red: SDSS and LSST, Johnson and Cousins, Gaia."""


@dataclass(frozen=True)
class Trend:
    """A linear fit to stars, robust against a few that differ."""

    coefficients: np.ndarray
    errors: np.ndarray
    """Standard errors, the scatter of the stars beyond their own errors included."""
    scatter: float
    """Robust standard deviation of single stars about the fit."""
    is_used: np.ndarray
    """(n,) bool"""

    @property
    def n_star(self) -> int:
        """Stars kept."""
        return int(np.count_nonzero(self.is_used))


def fit_trend(terms: np.ndarray, value: np.ndarray, error: np.ndarray) -> Trend | None:
    """Fit ``value = terms @ coefficients``, with an intrinsic scatter and without the stars 3.5 sigma off.

    Parameters
    ----------
    terms : (n, k) float array
    value, error : (n,) float arrays

    Returns
    -------
    Trend or None
        None with fewer than `MIN_STARS` finite stars, or where the terms cannot be told apart.
    """
    usable = np.isfinite(terms).all(axis=1) & np.isfinite(value) & np.isfinite(error)
    if np.count_nonzero(usable) < MIN_STARS or np.linalg.matrix_rank(terms[usable], tol=1e-8) < terms.shape[1]:
        return None
    coefficients, used = _least_absolute(terms[usable], value[usable], error[usable]), usable
    for _ in range(10):
        off = value - terms @ coefficients
        sigma = np.hypot(error, max(intrinsic_scatter(off[used], error[used]), 1e-6))
        still = usable & (np.abs(off) < CLIP_SIGMA * sigma)
        if np.count_nonzero(still) < MIN_STARS:
            return None
        solution = _least_squares(terms[still], value[still], sigma[still])
        if np.array_equal(still, used) and np.allclose(solution, coefficients, rtol=1e-6, atol=1e-9):
            break
        coefficients, used = solution, still
    design = terms[used] / sigma[used][:, None]
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ design)))
    return Trend(coefficients, errors, robust_sigma(off[used], 0.0), used)


def _least_absolute(terms: np.ndarray, value: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return the coefficients of least absolute pulls, by reweighted least squares (Schlossmacher 1973 JASA 68 857).

    A few stars far off do not move it, as they would a first fit of least squares.
    """
    coefficients = _least_squares(terms, value, error)
    for _ in range(15):
        pull = np.abs(value - terms @ coefficients) / error
        coefficients = _least_squares(terms, value, error * np.sqrt(np.maximum(pull, 0.1)))
    return coefficients


def _least_squares(terms: np.ndarray, value: np.ndarray, error: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(terms / error[:, None], value / error, rcond=None)[0]


def intrinsic_scatter(residual: np.ndarray, error: np.ndarray) -> float:
    """Return the scatter that, added to the errors, makes the robust width of the pulls one; 0 to 1."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = 0.5 * (low + high)
        pull = robust_sigma(residual / np.maximum(np.hypot(error, middle), 1e-6), 0.0)
        low, high = (middle, high) if pull > 1.0 else (low, middle)
    return 0.5 * (low + high)


def color_pair(band: str, available: set[str]) -> tuple[str, str] | None:
    """Choose the two bands whose difference is the color of a reference star: the band and its bluer neighbor.

    The bluest takes its redder neighbor.

    Returns
    -------
    (blue, red), or None where the catalog has no other band of the system
    """
    for system in _WAVELENGTH_ORDER:
        if band in system:
            known = [b for b in system if b in available or b == band]
            at = known.index(band)
            if len(known) > 1:
                return (known[at - 1], band) if at else (band, known[1])
    return None


@dataclass(frozen=True)
class ColorTerm:
    """How the zero point runs with the color of the star: m = zero point + m_instrumental + term (color - c0)."""

    term: float
    term_err: float
    reference_color_mag: float
    """c0: the color at which the zero point holds."""
    is_applied: bool
    scatter_before_mag: float
    scatter_after_mag: float
    n_star: int


def fit_color_term(
    offset: np.ndarray,
    offset_err: np.ndarray,
    color: np.ndarray,
    *,
    reference_color: float,
    fixed_term: float | None = None,
) -> ColorTerm | None:
    """Fit a color term to the magnitude differences of stars (catalog minus instrumental).

    It is to be applied where it is given, or where it is beyond three standard errors and the colors reach far enough.

    Parameters
    ----------
    offset, offset_err, color : (n,) float arrays [mag]; NaN where unknown
    reference_color : float [mag]
    fixed_term : float or None, a term that is known

    Returns
    -------
    ColorTerm or None
        None where there are too few stars of known color.
    """
    relative = color - reference_color
    trend = fit_trend(np.stack([np.ones(len(offset)), relative], axis=1), offset, offset_err)
    if trend is None:
        return None
    kept = trend.is_used
    term = float(trend.coefficients[1]) if fixed_term is None else fixed_term
    term_err = float(trend.errors[1])
    reach = float(np.diff(np.quantile(color[kept], [0.05, 0.95]))[0])
    seen = abs(term) > SIGNIFICANT_SIGMA * term_err and reach >= MIN_COLOR_RANGE_MAG
    before, after = (robust_sigma(offset[kept] - factor * relative[kept]) for factor in (0.0, term))
    return ColorTerm(
        term, term_err, float(reference_color), seen or fixed_term is not None, before, after, trend.n_star
    )


@dataclass(frozen=True)
class Refraction:
    """Displacement of stars by color [mas/mag] toward the zenith, and across as a control."""

    toward_zenith: float
    toward_zenith_err: float
    across: float
    across_err: float
    n_star: int


def fit_refraction(
    east_mas: np.ndarray, north_mas: np.ndarray, color: np.ndarray, *, parallactic_angle_deg: float
) -> Refraction | None:
    """Fit how the residuals of stars run with color along the direction of the zenith.

    The atmosphere refracts blue light more (Filippenko 1982 PASP 94 715), so a redder star is lifted less toward the
    zenith than the mean star, at which the WCS holds: the slope is negative.

    Parameters
    ----------
    east_mas, north_mas : (n,) float arrays, measured minus catalog [mas]
    color : (n,) float array [mag], NaN where unknown
    parallactic_angle_deg : float, of the zenith from north through east

    Returns
    -------
    Refraction or None
        None where there are too few stars of known color.
    """
    angle = math.radians(parallactic_angle_deg)
    along = east_mas * math.sin(angle) + north_mas * math.cos(angle)
    across = east_mas * math.cos(angle) - north_mas * math.sin(angle)
    known = np.isfinite(color)
    if np.count_nonzero(known) < MIN_STARS:
        return None
    terms = np.stack([np.ones(len(color)), color - np.median(color[known])], axis=1)
    lifted, sideways = (_slope(terms, value, known) for value in (along, across))
    if lifted is None or sideways is None:
        return None
    return Refraction(*lifted[:2], *sideways[:2], lifted[2])


def _slope(terms: np.ndarray, value: np.ndarray, known: np.ndarray) -> tuple[float, float, int] | None:
    """Return slope, its error and how many stars made it; their scatter about the slope is the error of the stars."""
    unit = 10.0 * max(robust_sigma(value[known]), 1e-3)  # the scatter is looked for from 0 to 1
    fit = fit_trend(terms, value / unit, np.full(len(value), 1e-3))
    return None if fit is None else (float(fit.coefficients[1] * unit), float(fit.errors[1] * unit), fit.n_star)


@dataclass(frozen=True)
class Flatness:
    """How PSF magnitude minus magnitude in a large aperture runs over the chip and with brightness."""

    offset_mag: float
    slope_mag: float
    """Change from the center of the chip to the end of the longer axis, along the steepest direction."""
    slope_err_mag: float
    mag_per_mag: float
    mag_per_mag_err: float
    scatter_mag: float
    n_star: int


def fit_flatness(
    x: np.ndarray, y: np.ndarray, flux: np.ndarray, *, lack: np.ndarray, lack_err: np.ndarray, shape: tuple[int, int]
) -> Flatness | None:
    """Fit a plane over the chip and a slope with magnitude to what the PSF fluxes of stars miss or add.

    Neighbors that were not found disturb every star by the same number of electrons, which the scatter tells.

    Parameters
    ----------
    x, y, flux : (n,) float arrays [pix, pix, electron]
    lack, lack_err : (n,) float arrays [electron]
        Light in a large aperture beyond the fitted PSF: the sum of the image with all sources subtracted.
    shape : (ny, nx)

    Returns
    -------
    Flatness or None
    """
    ny, nx = shape
    half = max(nx, ny) / 2.0
    with np.errstate(divide="ignore", invalid="ignore"):
        magnitude = -2.5 * np.log10(flux)
        value = 2.5 * np.log10(1.0 + lack / flux)
    known = np.isfinite(value) & np.isfinite(lack_err)
    if np.count_nonzero(known) < MIN_STARS:
        return None
    disturbance = robust_sigma((lack - np.median((lack / flux)[known]) * flux)[known])
    error = 2.5 / math.log(10.0) * np.maximum(lack_err, disturbance) / flux
    relative = magnitude - np.average(magnitude[known], weights=error[known] ** -2.0)
    terms = np.stack([np.ones(len(x)), (x - (nx - 1) / 2) / half, (y - (ny - 1) / 2) / half, relative], axis=1)
    fit = fit_trend(terms, value, error)
    if fit is None:
        return None
    along, up = fit.coefficients[1:3]
    slope = math.hypot(along, up)
    slope_err = math.hypot(along * fit.errors[1], up * fit.errors[2]) / max(slope, 1e-12)
    return Flatness(
        float(fit.coefficients[0]), slope, slope_err,
        float(fit.coefficients[3]), float(fit.errors[3]), fit.scatter, fit.n_star,
    )  # fmt: skip
