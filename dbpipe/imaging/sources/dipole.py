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
from dbpipe.imaging.settings import DipoleLimits
from dbpipe.imaging.sources.blend_fit import MAX_STEP_PIX, Box, cut_box, point_equations, solve_fluxes
from dbpipe.imaging.sources.minimize import Damping, minimize
from dbpipe.imaging.sources.point_fit import fit_point_sources

_MAX_MISFIT = 16.0
"""Largest chi2 of the flux and place that the images know of a static source, three numbers."""
_MODEL_ERROR = 0.02
"""Error of the PSF, as the part of the second lobe's chi2 that a displaced source need not explain."""

_MIN_PIX = 12
"""Fewer pixels than this cannot tell two lobes from one source."""
_DAMPING = Damping(start=1e-2, after_failure=0.0, ceiling=np.inf)


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
    table, radius_pix, reach_pix = np.full((len(x), 14), np.nan), float(radius_pix), float(reach_pix)
    for i in range(len(x)):
        other_x, other_y, sign, is_there = _opposite_peak(score, x[i], y[i], reach_pix)
        if not is_there:
            continue
        middle = np.array([0.5 * (x[i] + other_x)]), np.array([0.5 * (y[i] + other_y)])
        box = cut_box((image, variance, mask), *middle, radius_pix)
        if np.count_nonzero(box.weight) < _MIN_PIX:
            continue
        lobes = np.array([[0.0, x[i], y[i]], [0.0, other_x, other_y]])
        at: dict[str, Any] = {"sign": sign, "reach_pix": reach_pix, "place_err_pix": float(static.place_err_pix)}
        table[i] = _fit_place(box, psf_spline[[i, i]], lobes, known[i], **at)
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


def _fit_place(
    box: Box,
    spline: np.ndarray,
    lobes: np.ndarray,
    known: np.ndarray,
    *,
    sign: float,
    reach_pix: float,
    place_err_pix: float,
) -> np.ndarray:
    """Fit the three models to one place.

    Return (14,): flux+, x+, y+, flux-, x-, y-, chi2, chi2 of one source, n_pix, and of the static source its flux in
    science image and template, shift, the error of that, and chi2.

    Parameters
    ----------
    box : Box
    spline : (2, size, size) float32 array, the PSF twice
    lobes : (2, 3) float array, flux, x, y: where the source was detected, and the lobe of opposite sign
    known : (5,) float array, what the images know of a static source
    sign : float, of the detected source
    """
    row, single = np.full(14, np.nan), lobes[:1].copy()
    lobes = lobes if sign > 0.0 else lobes[::-1].copy()
    row[8] = np.count_nonzero(box.weight)
    row[7] = _fit_lobes(box, spline[:1], single, reach_pix)[1]
    converged, chi2, _ = _fit_lobes(box, spline, lobes, reach_pix)
    if converged:
        row[:6], row[6] = lobes.ravel(), chi2
        row[9:] = _fit_static(box, spline, lobes, reach_pix, known, place_err_pix)
    return row


def _fit_static(
    box: Box, spline: np.ndarray, lobes: np.ndarray, reach_pix: float, known: np.ndarray, place_err_pix: float
) -> np.ndarray:
    """Fit a displaced static source; return its fluxes, shift, the error of that, and chi2."""
    result = np.full(5, np.nan)
    flux, flux_err, science_weight, x, y = known
    if not (flux > 0.0 and flux_err > 0.0 and np.isfinite(x) and np.isfinite(y)):
        return result
    # rows of what the images know: the mean flux, and the mean place
    rows, values = np.zeros((3, 6)), np.array([flux / flux_err, x / place_err_pix, y / place_err_pix])
    rows[0, 0], rows[0, 3] = science_weight / flux_err, (science_weight - 1.0) / flux_err
    rows[[1, 1, 2, 2], [1, 4, 2, 5]] = 0.5 / place_err_pix
    apart = 0.5 * (lobes[0, 0] - lobes[1, 0]) / flux * (lobes[0, 1:] - lobes[1, 1:])
    apart *= 0.5 * min(1.0, reach_pix / max(np.hypot(*apart), 1e-9))
    net = lobes[0, 0] + lobes[1, 0]
    state = np.array([[flux + (1.0 - science_weight) * net, x, y], [science_weight * net - flux, x, y]])
    state[:, 1:] += np.outer([1.0, -1.0], apart)
    solved, chi2, covariance = _fit_lobes(box, spline, state, reach_pix, rows, values)
    if solved and np.sum((rows @ state.ravel() - values) ** 2) < _MAX_MISFIT:
        apart = state[0, 1:] - state[1, 1:]
        shift = max(np.hypot(*apart), 1e-9)
        along = np.array([0.0, *apart, 0.0, *-apart]) / shift
        result[:] = state[0, 0], -state[1, 0], shift, np.sqrt(along @ (covariance @ along)), chi2
    return result


def _fit_lobes(
    box: Box,
    spline: np.ndarray,
    lobes: np.ndarray,
    reach_pix: float,
    rows: np.ndarray | None = None,
    values: np.ndarray | None = None,
) -> tuple[bool, float, np.ndarray]:
    """Fit in place, to the pixels and to linear ``rows`` (k, 3 m) of the parameters that have ``values`` (k,).

    Return whether the lobes are of opposite sign, chi2, and the covariance.
    """
    if rows is None and not solve_fluxes(box, spline, lobes):
        return False, np.nan, np.zeros((lobes.size,) * 2)
    origin = lobes.ravel().copy()
    origin[::3] = 0.0
    reach = np.where(np.arange(lobes.size) % 3, reach_pix, np.inf)
    most = np.where(np.arange(lobes.size) % 3, MAX_STEP_PIX, np.inf)

    def linearize(state: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        normal, gradient, chi2 = point_equations(*box, spline, state.reshape(lobes.shape))
        if rows is None:
            return normal, gradient, chi2
        misfit = values - rows @ state
        return normal + rows.T @ rows, gradient + rows.T @ misfit, chi2 + misfit @ misfit

    def limit(state: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, float]:
        """Places go no further than the linear model of the PSF holds, and stay within reach of the start."""
        trial = state + np.clip(step, np.maximum(-most, -1e30), np.minimum(most, 1e30))
        return np.clip(trial, origin - reach, origin + reach), reach_pix

    found = minimize(linearize, limit, _judge, state=lobes.ravel().copy(), damping=_DAMPING)
    lobes[:] = found.state.reshape(lobes.shape)
    return len(lobes) == 1 or bool(lobes[0, 0] > 0.0 > lobes[1, 0]), found.chi2, found.covariance


def _judge(
    step: np.ndarray, reach: float, gain: float, damping: float, normal: np.ndarray, gradient: np.ndarray
) -> tuple[bool, float]:
    damping = max(damping * 0.1, 1e-7) if gain >= 0.0 else damping * 10.0
    return abs(gain) < 1e-3 or damping > 1e8, damping
