"""Dipoles: is a pair of lobes of opposite sign better than one source?

A star that moved, or whose two images do not register, leaves a positive and a negative PSF side by side
(Reiss DMTN-007). Three models are fitted to the same pixels of the difference: one source; two lobes, free; and one
static source that is displaced between the template and the science image, whose lobes have the flux and the mean place
that it has on those images. On a difference alone lobes of flux f at distance d look like lobes of flux F at distance
d f / F: the images know F. They are compared by chi2 with the price of their parameters (Schwarz 1978 Ann. Stat. 6
461).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cholesky_invert, cut_stamp, render
from dbpipe.imaging.settings import DipoleLimits
from dbpipe.imaging.sources.minimize import Damping, minimizer
from dbpipe.imaging.sources.point_fit import fit_point_sources

_MAX_MISFIT = 16.0
"""Largest chi2 of the flux and place that the images know of a static source, three numbers."""
_MODEL_ERROR = 0.02
"""Error of the PSF, as the part of the second lobe's chi2 that a displaced source need not explain."""


@dataclass(frozen=True)
class DipoleFit:
    """Arrays of length n; NaN where the fit failed or nothing was fitted."""

    flux_positive: np.ndarray
    """[image unit]"""
    flux_negative: np.ndarray
    """[image unit] absolute value of the negative lobe's flux."""
    x_positive: np.ndarray
    """[pix]"""
    y_positive: np.ndarray
    x_negative: np.ndarray
    y_negative: np.ndarray
    chi2: np.ndarray
    chi2_single: np.ndarray
    """chi2 of one source on the same pixels."""
    n_pix: np.ndarray
    converged: np.ndarray
    science_flux: np.ndarray
    """[image unit] of the static source on the science image."""
    template_flux: np.ndarray
    """[image unit] of the static source in the template."""
    shift_pix: np.ndarray
    """Displacement of the static source."""
    shift_err_pix: np.ndarray
    """Its standard error, along it."""
    chi2_static: np.ndarray
    """chi2 of the static source, what the images say of it included; NaN where there is none."""

    @property
    def separation_pix(self) -> np.ndarray:
        """Distance of the lobes [pix]."""
        return np.hypot(self.x_positive - self.x_negative, self.y_positive - self.y_negative)

    @property
    def mean_flux(self) -> np.ndarray:
        """Mean absolute flux of the two lobes [image unit]."""
        return 0.5 * (self.flux_positive + self.flux_negative)

    @property
    def angle_deg(self) -> np.ndarray:
        """Direction from the negative to the positive lobe, from x toward y [deg]."""
        return np.degrees(np.arctan2(self.y_positive - self.y_negative, self.x_positive - self.x_negative))


@dataclass(frozen=True)
class StaticSource:
    """What science image and template say, together, of the static source at each place; arrays of length n.

    The mean of the two images, weighted by 1 / variance, has noise that is independent of that of their difference.
    """

    flux: np.ndarray
    """[image unit] weighted mean of the fluxes; NaN where nothing is known"""
    flux_err: np.ndarray
    """[image unit] with an allowance for what is no point source"""
    science_weight: np.ndarray
    """weight of the science image in the mean, 0 to 1"""
    x: np.ndarray
    """[pix] where it is; NaN where there is no point source"""
    y: np.ndarray
    place_err_pix: float
    """Error of the place."""


def find_static_sources(
    science: tuple[np.ndarray, np.ndarray],
    template: tuple[np.ndarray, np.ndarray],
    mask: np.ndarray,
    *,
    psf_spline: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    chosen: np.ndarray,
    radius_pix: float,
    fwhm_pix: float,
) -> StaticSource:
    """Fit the point source that both images have near each chosen place.

    Parameters
    ----------
    science, template : pairs of (ny, nx) float32 arrays, image and variance
    mask : (ny, nx) uint16 array
    psf_spline : (n, size, size) float32 array, of both images
    x, y : (n,) float arrays [pix]
    chosen : (n,) bool array
    radius_pix, fwhm_pix : float

    Returns
    -------
    StaticSource
        NaN where one of the two has no source within a FWHM. A tenth of the flux is allowed for what is no point
        source, and a tenth of the FWHM for its place.
    """
    flux, flux_err, weight, mean_x, mean_y = np.full((5, len(x)), np.nan)
    for i in np.flatnonzero(chosen):
        at: dict[str, Any] = {
            "psf_spline": psf_spline[i : i + 1],
            "x": x[i : i + 1],
            "y": y[i : i + 1],
            "radius_pix": radius_pix,
        }
        both = [fit_point_sources(*side, mask, max_shift_pix=fwhm_pix, **at) for side in (science, template)]
        if not all(fit.converged[0] and fit.flux[0] > 3.0 * fit.flux_err[0] for fit in both):
            continue
        inverse = [fit.flux_err[0] ** -2 for fit in both]
        weight[i] = inverse[0] / sum(inverse)
        flux[i] = weight[i] * both[0].flux[0] + (1.0 - weight[i]) * both[1].flux[0]
        flux_err[i] = np.hypot(sum(inverse) ** -0.5, 0.1 * flux[i])
        mean_x[i], mean_y[i] = 0.5 * (both[0].x[0] + both[1].x[0]), 0.5 * (both[0].y[0] + both[1].y[0])
    return StaticSource(flux, flux_err, weight, mean_x, mean_y, 0.1 * fwhm_pix)


def second_lobes(
    score: np.ndarray, x: np.ndarray, y: np.ndarray, *, reach_pix: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the most extreme score of opposite sign near each place.

    Returns
    -------
    is_there : (n,) bool array, whether a dipole is worth a fit
    middle_x, middle_y : (n,) float arrays [pix] between the two
    """
    table = _second_lobes(score, np.asarray(x, np.float64), np.asarray(y, np.float64), float(reach_pix))
    return table[:, 0] > 0, table[:, 1], table[:, 2]


def fit_dipoles(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    score: np.ndarray,
    psf_spline: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    radius_pix: float,
    reach_pix: float,
    static: StaticSource,
) -> DipoleFit:
    """Fit two PSFs of opposite sign, one PSF, and one displaced static source to each place.

    Parameters
    ----------
    image, variance, score : (ny, nx) float32 arrays
    mask : (ny, nx) uint16 array
    psf_spline : (n, size, size) float32 array of `spline_coefficients`
    x, y : (n,) float arrays [pix] where a source of either sign was detected
    radius_pix : float
        Radius of the fit.
    reach_pix : float
        The other lobe starts at the most extreme score of opposite sign within this distance. Where that is no more
        than 2 sigma or 5% of the source's score there is no second lobe, and nothing is fitted.
    static : StaticSource

    Returns
    -------
    DipoleFit
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    known = np.column_stack([static.flux, static.flux_err, static.science_weight, static.x, static.y])
    table = _fit_all(
        image, variance, mask, score, psf_spline, x, y, float(radius_pix), float(reach_pix), known,
        float(static.place_err_pix),
    )  # fmt: skip
    return DipoleFit(
        flux_positive=table[:, 0],
        flux_negative=-table[:, 3],
        x_positive=table[:, 1],
        y_positive=table[:, 2],
        x_negative=table[:, 4],
        y_negative=table[:, 5],
        chi2=table[:, 6],
        chi2_single=table[:, 7],
        n_pix=np.nan_to_num(table[:, 8]).astype(np.int64),
        converged=np.isfinite(table[:, 6]),
        science_flux=table[:, 9],
        template_flux=table[:, 10],
        shift_pix=table[:, 11],
        shift_err_pix=table[:, 12],
        chi2_static=table[:, 13],
    )


def is_dipole(fit: DipoleFit, *, psf_fwhm_pix: float, shift_pix: float | None, limits: DipoleLimits) -> np.ndarray:
    """Decide which places are one static source that is displaced, and neither a transient nor two variables.

    Against a transient: chi2 falls by more than 3 ln(n_pix), what the Bayesian information criterion asks for three
    parameters, and the net flux is small against what the displacement makes visible: a lone source with an imperfect
    PSF, and a transient in a host that does not register, have a large net flux. Fluxes of the two images
    differ by no more than ``limits.flux_ratio``.

    Against two sources that vary by themselves: the static source leaves no more chi2 than 3 ln(n_pix) (its flux and
    its place are not free), plus the part `_MODEL_ERROR` of what the second lobe explains at all, or half of it
    where the displacement is no more than registration errs. Faint lobes that are resolved agree with both; then the
    displacement must be usual, or the whole distance of the lobes, a star that moved on: what lies between is rather
    two variables.

    Parameters
    ----------
    fit : DipoleFit
    psf_fwhm_pix : float
    shift_pix : float or None
        Displacement of the stars of the image, their scatter included: registration errs by up to three times that, or
        by ``limits.shift_fwhm`` where it is not known.
    limits : DipoleLimits

    Returns
    -------
    (n,) bool array.
    """
    price = 3.0 * np.log(np.maximum(fit.n_pix, 2))
    fluxes = np.stack([fit.science_flux, fit.template_flux])
    mean = 0.5 * fluxes.sum(axis=0)
    preferred = fit.chi2_single - fit.chi2_static > price
    comparable = (fluxes.min(axis=0) > 0) & (fluxes.max(axis=0) <= limits.flux_ratio * fluxes.min(axis=0))
    balanced = np.abs(fluxes[0] - fluxes[1]) <= mean * np.minimum(1.0, fit.shift_pix / psf_fwhm_pix)
    close = fit.shift_pix <= limits.separation_fwhm * psf_fwhm_pix
    explained = np.maximum(fit.chi2_single - fit.chi2, 0.0)
    is_usual = fit.shift_pix <= (limits.shift_fwhm * psf_fwhm_pix if shift_pix is None else 3.0 * shift_pix)
    forgiven = np.where(is_usual, 0.5, _MODEL_ERROR) * explained
    as_good = ~(fit.chi2_static > fit.chi2 + price + forgiven)
    moved = fit.shift_pix > 0.7 * fit.separation_pix
    no_net_flux = np.abs(fluxes[0] - fluxes[1]) < 0.1 * fit.mean_flux
    unresolved = fit.separation_pix < np.where(no_net_flux, 0.75, 0.5) * psf_fwhm_pix
    one_source = as_good & (is_usual | moved | unresolved)
    return preferred & comparable & balanced & close & one_source


@njit(cache=True)
def _opposite_peak(score, x, y, reach):
    """Return the place of the most extreme score of the other sign around (x, y), the sign here, and if it matters."""
    ny, nx = score.shape
    # a fit may have put a source of the edge just off the image
    cx, cy = min(max(int(np.floor(x + 0.5)), 0), nx - 1), min(max(int(np.floor(y + 0.5)), 0), ny - 1)
    r = int(reach)
    sign = 1.0 if score[cy, cx] >= 0 else -1.0
    best, best_x, best_y = np.inf, cx, cy
    for v in range(max(cy - r, 0), min(cy + r + 1, ny)):
        for u in range(max(cx - r, 0), min(cx + r + 1, nx)):
            if (u - cx) ** 2 + (v - cy) ** 2 <= reach * reach and sign * score[v, u] < best:
                best, best_x, best_y = sign * score[v, u], u, v
    return float(best_x), float(best_y), sign, -best > max(2.0, 0.05 * abs(score[cy, cx]))


@njit(cache=True)
def _second_lobes(score, x, y, reach):
    table = np.zeros((len(x), 3))
    for i in range(len(x)):
        other_x, other_y, _, is_there = _opposite_peak(score, x[i], y[i], reach)
        table[i] = 1.0 if is_there else 0.0, 0.5 * (x[i] + other_x), 0.5 * (y[i] + other_y)
    return table


@njit(cache=True)
def _fit_all(image, variance, mask, score, spline, x, y, radius, reach, known, place_err):
    """Rows of: flux+, x+, y+, flux-, x-, y-, chi2, chi2 of one source, n_pix, and of the
    static source: science flux, template flux, shift, its error, chi2."""
    table = np.full((len(x), 14), np.nan)
    # each with its own width: a cut of the wider one would be an array of another kind, and all compiled for it again
    no_row, no_row_of_single, no_value = np.zeros((0, 6)), np.zeros((0, 3)), np.zeros(0)
    for i in range(len(x)):
        other_x, other_y, sign, is_there = _opposite_peak(score, x[i], y[i], reach)
        if not is_there:
            continue
        middle_x, middle_y = 0.5 * (x[i] + other_x), 0.5 * (y[i] + other_y)
        left = int(np.floor(middle_x + 0.5)) - int(radius)
        bottom = int(np.floor(middle_y + 0.5)) - int(radius)
        data, weight = cut_stamp(image, variance, mask, left, bottom, radius)
        n_pix = np.count_nonzero(weight)
        if n_pix < 12:
            continue
        table[i, 8] = n_pix
        lobes = np.array([0.0, x[i], y[i], 0.0, other_x, other_y])
        if sign < 0:
            lobes[1:3], lobes[4:6] = lobes[4:6].copy(), lobes[1:3].copy()
        single = np.array([0.0, x[i], y[i]])
        table[i, 7] = _fit_lobes(data, weight, spline[i], left, bottom, single, reach, no_row_of_single, no_value)[1]
        converged, chi2, _ = _fit_lobes(data, weight, spline[i], left, bottom, lobes, reach, no_row, no_value)
        if not converged:
            continue
        table[i, :6], table[i, 6] = lobes, chi2
        table[i, 9:] = _fit_static(data, weight, spline[i], left, bottom, lobes, reach, known[i], place_err)
    return table


@njit(cache=True)
def _fit_static(data, weight, spline, left, bottom, lobes, reach, known, place_err):
    """Fit a displaced static source; return its fluxes, shift, the error of that, and chi2."""
    result = np.full(5, np.nan)
    flux, flux_err, science_weight, x, y = known
    if not (flux > 0.0 and flux_err > 0.0 and np.isfinite(x) and np.isfinite(y)):
        return result
    # rows of what the images know: the mean flux, and the mean place
    rows, values = np.zeros((3, 6)), np.array([flux / flux_err, x / place_err, y / place_err])
    rows[0, 0], rows[0, 3] = science_weight / flux_err, (science_weight - 1.0) / flux_err
    for k in range(2):
        rows[1 + k, 1 + k] = rows[1 + k, 4 + k] = 0.5 / place_err
    moment = 0.5 * (lobes[0] - lobes[3]) / flux
    dx, dy = moment * (lobes[1] - lobes[4]), moment * (lobes[2] - lobes[5])
    shorten = min(1.0, reach / max(np.hypot(dx, dy), 1e-9))
    net = lobes[0] + lobes[3]
    state = np.array([flux, x, y, -flux, x, y])
    state[0] += (1.0 - science_weight) * net
    state[3] += science_weight * net
    state[1:3] += 0.5 * shorten * np.array([dx, dy])
    state[4:6] -= 0.5 * shorten * np.array([dx, dy])
    solved, chi2, covariance = _fit_lobes(data, weight, spline, left, bottom, state, reach, rows, values)
    if solved and np.sum((rows @ state - values) ** 2) < _MAX_MISFIT:
        dx, dy = state[1] - state[4], state[2] - state[5]
        shift = max(np.hypot(dx, dy), 1e-9)
        along = np.array([0.0, dx, dy, 0.0, -dx, -dy]) / shift
        result[0], result[1], result[2] = state[0], -state[3], shift
        result[3], result[4] = np.sqrt(np.sum(along * (covariance @ along))), chi2
    return result


@njit(cache=True)
def _design(weight, spline, left, bottom, lobes, rows):
    """Weighted derivatives by every parameter (3 a lobe) and the weighted model, as rows of pixels and of ``rows``."""
    root = np.sqrt(weight)
    n = weight.size
    design = np.empty((len(lobes), n + len(rows)))
    model = np.zeros(n + len(rows))
    for k in range(0, len(lobes), 3):
        psf, psf_x, psf_y = render(spline, lobes[k + 1], lobes[k + 2], left, bottom, weight.shape[0])
        design[k, :n] = (root * psf).ravel()
        design[k + 1, :n] = (lobes[k] * root * psf_x).ravel()
        design[k + 2, :n] = (lobes[k] * root * psf_y).ravel()
        model[:n] += lobes[k] * design[k, :n]
    for m in range(len(rows)):
        design[:, n + m] = rows[m]
        model[n + m] = np.sum(rows[m] * lobes)
    return design, model


@njit(cache=True)
def _solve_fluxes(design, target, lobes):
    """Put the least-squares fluxes at fixed positions into ``lobes``; False if they cannot be told apart."""
    rows = design[::3].copy()
    inverse, solved = cholesky_invert(rows @ rows.T)
    if solved:
        lobes[::3] = inverse @ (rows @ target)
    return solved


@njit(cache=True)
def _fit_lobes(data, weight, spline, left, bottom, lobes, reach, rows, values):
    """Fit in place, to the pixels and to linear ``rows`` of the parameters that have ``values``.

    Return whether the lobes are of opposite sign, chi2, and the covariance.
    """
    n = len(lobes)
    target = np.concatenate(((np.sqrt(weight) * data).ravel(), values))
    origin = lobes.copy()
    if len(rows) == 0:
        design, _ = _design(weight, spline, left, bottom, lobes, rows)
        if not _solve_fluxes(design, target, lobes):
            return False, np.nan, np.zeros((n, n))
    problem = (weight, target, spline, left, bottom, rows, origin, reach)
    free = np.zeros(n, np.bool_)
    _, chi2, covariance, _ = _minimize(problem, free, lobes)
    opposite = n == 3 or (lobes[0] > 0.0 and lobes[3] < 0.0)
    return opposite, chi2, covariance


@njit(cache=True)
def _linearize(problem, lobes):
    weight, target, spline, left, bottom, rows, _, _ = problem
    design, model = _design(weight, spline, left, bottom, lobes, rows)
    return design, target - model


@njit(cache=True)
def _limit(problem, lobes, step):
    """Places go no further than the linear model of the PSF holds, and stay within reach of the start."""
    origin, reach = problem[6:]
    trial = lobes + np.clip(step, -1e30, 1e30)
    for k in range(len(lobes)):
        if k % 3:
            trial[k] = min(max(trial[k], lobes[k] - 0.7, origin[k] - reach), lobes[k] + 0.7, origin[k] + reach)
    return trial, reach, True


@njit(cache=True)
def _judge(step, reach, gain, damping, normal, gradient):
    damping = max(damping * 0.1, 1e-7) if gain >= 0.0 else damping * 10.0
    return abs(gain) < 1e-3 or damping > 1e8, damping


_minimize = minimizer(_linearize, _limit, _judge, Damping(start=1e-2, after_failure=0.0, ceiling=np.inf))
