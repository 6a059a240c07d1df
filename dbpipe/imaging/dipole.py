"""Dipoles: is a pair of lobes of opposite sign better than one source?

A star that moved, or whose two images do not register, leaves a positive and a negative PSF side by side
(Reiss DMTN-007). Both models are fitted to the same pixels of the difference and compared by chi2 with the price of the
three more parameters (Schwarz 1978 Ann. Stat. 6 461).
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from dbpipe.imaging.psf_spline import cholesky_invert, cut_stamp, render

_MAX_STEPS = 60


@dataclass(frozen=True)
class DipoleFit:
    """Arrays of length n; NaN where the fit failed or nothing was fitted."""

    flux_positive: np.ndarray
    """[image unit]"""
    flux_negative: np.ndarray
    """[image unit] absolute value of the negative lobe's flux."""
    snr_positive: np.ndarray
    snr_negative: np.ndarray
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

    @property
    def separation_pix(self):
        """Distance of the lobes [pix]."""
        return np.hypot(self.x_positive - self.x_negative, self.y_positive - self.y_negative)

    @property
    def mean_flux(self):
        """Mean absolute flux of the two lobes [image unit]."""
        return 0.5 * (self.flux_positive + self.flux_negative)

    @property
    def angle_deg(self):
        """Direction from the negative to the positive lobe, from x towards y [deg]."""
        return np.degrees(np.arctan2(self.y_positive - self.y_negative, self.x_positive - self.x_negative))


def fit_dipoles(image, variance, mask, *, score, psf_spline, x, y, radius_pix, reach_pix):
    """Fit two PSFs of opposite sign, and one PSF, to each place.

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

    Returns
    -------
    DipoleFit
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    table = _fit_all(image, variance, mask, score, psf_spline, x, y, float(radius_pix), float(reach_pix))
    flux_err = table[:, 6:8]
    with np.errstate(divide="ignore", invalid="ignore"):
        snr = np.where(flux_err > 0, table[:, [0, 3]] * [1, -1] / flux_err, np.nan)
    return DipoleFit(
        flux_positive=table[:, 0],
        flux_negative=-table[:, 3],
        snr_positive=snr[:, 0],
        snr_negative=snr[:, 1],
        x_positive=table[:, 1],
        y_positive=table[:, 2],
        x_negative=table[:, 4],
        y_negative=table[:, 5],
        chi2=table[:, 8],
        chi2_single=table[:, 9],
        n_pix=np.nan_to_num(table[:, 10]).astype(np.int64),
        converged=np.isfinite(table[:, 8]),
    )


def is_dipole(
    fit,
    *,
    flux_beneath,
    psf_fwhm_pix,
    max_separation_fwhm=1.0,
    max_flux_ratio=3.0,
    max_shift_fwhm=0.03,
    min_lobe_snr=3.0,
):
    """Decide which places are dipoles: preferred by the data, with two comparable, significant and close lobes.

    Preferred means that chi2 falls by more than 3 ln(n_pix), what the Bayesian information criterion asks for three
    parameters.

    Of lobes much closer than the PSF only the difference of the fluxes (the net flux) and its product with the distance
    (the moment) are known: chi2 has judged the moment, and the net flux must be small against what the moment makes
    visible. A lone source with an imperfect PSF has a large net flux and does not pass.

    Two sources that vary by themselves differ from it where they are resolved (beyond half a FWHM, or three quarters if
    the net flux is less than 10% of a lobe): lobes of flux f at distance d are what a source of flux F leaves that is
    off by s = d f / F. Registration errs by little, up to ``max_shift_fwhm``, and a star that moved on leaves all its
    flux, f = F. What lies between are two variables.

    Parameters
    ----------
    fit : DipoleFit
    flux_beneath : (n,) float array
        Flux of the science image or the template at the place, in the unit of the fit; NaN counts as 0.
    psf_fwhm_pix, max_separation_fwhm, max_flux_ratio, max_shift_fwhm, min_lobe_snr : float

    Returns
    -------
    (n,) bool array.
    """
    fluxes = np.stack([fit.flux_positive, fit.flux_negative])
    preferred = fit.chi2_single - fit.chi2 > 3.0 * np.log(np.maximum(fit.n_pix, 2))
    comparable = fluxes.max(axis=0) <= max_flux_ratio * fluxes.min(axis=0)
    separation_fwhm = fit.separation_pix / psf_fwhm_pix
    balanced = np.abs(fit.flux_positive - fit.flux_negative) <= fit.mean_flux * np.minimum(1.0, separation_fwhm)
    significant = np.minimum(fit.snr_positive, fit.snr_negative) > min_lobe_snr
    close = separation_fwhm <= max_separation_fwhm
    beneath = np.nan_to_num(np.abs(flux_beneath))
    misplaced = fit.mean_flux * separation_fwhm < max_shift_fwhm * beneath
    moved = fit.mean_flux > 0.7 * beneath
    no_net_flux = np.abs(fit.flux_positive - fit.flux_negative) < 0.1 * fit.mean_flux
    one_source = misplaced | moved | (separation_fwhm < np.where(no_net_flux, 0.75, 0.5))
    pair = preferred & comparable & balanced & (significant | (separation_fwhm < 0.3)) & close
    return fit.converged & pair & one_source


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
def _fit_all(image, variance, mask, score, spline, x, y, radius, reach):
    """Rows of: flux+, x+, y+, flux-, x-, y-, flux+ error, flux- error, chi2, chi2 of one source, n_pix."""
    table = np.full((len(x), 11), np.nan)
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
        table[i, 10] = n_pix
        lobes = np.array([0.0, x[i], y[i], 0.0, other_x, other_y])
        if sign < 0:
            lobes[1:3], lobes[4:6] = lobes[4:6].copy(), lobes[1:3].copy()
        single = np.array([0.0, x[i], y[i]])
        table[i, 9] = _fit_lobes(data, weight, spline[i], left, bottom, single, reach)[1]
        converged, chi2, errors = _fit_lobes(data, weight, spline[i], left, bottom, lobes, reach)
        if converged:
            table[i, :6], table[i, 6:8], table[i, 8] = lobes, errors, chi2
    return table


@njit(cache=True)
def _design(weight, spline, left, bottom, lobes):
    """Weighted derivatives by every parameter (3 a lobe) and the weighted model, as rows of pixels."""
    root = np.sqrt(weight)
    design = np.empty((len(lobes), weight.size))
    model = np.zeros(weight.size)
    for k in range(0, len(lobes), 3):
        psf, psf_x, psf_y = render(spline, lobes[k + 1], lobes[k + 2], left, bottom, weight.shape[0])
        design[k] = (root * psf).ravel()
        design[k + 1] = (lobes[k] * root * psf_x).ravel()
        design[k + 2] = (lobes[k] * root * psf_y).ravel()
        model += lobes[k] * design[k]
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
def _fit_lobes(data, weight, spline, left, bottom, lobes, reach):
    """Levenberg-Marquardt in place; return converged, chi2 and the flux error of each lobe."""
    n = len(lobes)
    errors = np.full(n // 3, np.nan)
    target = (np.sqrt(weight) * data).ravel()
    origin = lobes.copy()
    design, _ = _design(weight, spline, left, bottom, lobes)
    if not _solve_fluxes(design, target, lobes):
        return False, np.nan, errors
    design, model = _design(weight, spline, left, bottom, lobes)
    chi2 = np.sum((target - model) ** 2)
    damping = 1e-2
    for _ in range(_MAX_STEPS):
        normal = design @ design.T
        damped = normal.copy()
        for k in range(n):
            damped[k, k] *= 1.0 + damping
        inverse, solved = cholesky_invert(damped)
        if not solved:
            damping *= 10.0
            continue
        trial = lobes + np.clip(inverse @ (design @ (target - model)), -1e30, 1e30)
        for k in range(n):
            if k % 3:
                trial[k] = min(max(trial[k], lobes[k] - 0.7, origin[k] - reach), lobes[k] + 0.7, origin[k] + reach)
        trial_design, trial_model = _design(weight, spline, left, bottom, trial)
        trial_chi2 = np.sum((target - trial_model) ** 2)
        gain = chi2 - trial_chi2
        if gain >= 0.0:
            lobes[:], chi2, design, model = trial, trial_chi2, trial_design, trial_model
            damping = max(damping * 0.1, 1e-7)
        else:
            damping *= 10.0
        if abs(gain) < 1e-3 or damping > 1e8:
            break
    inverse, solved = cholesky_invert(design @ design.T)
    for k in range(n // 3):
        errors[k] = np.sqrt(inverse[3 * k, 3 * k]) if solved else np.nan
    opposite = n == 3 or (lobes[0] > 0.0 and lobes[3] < 0.0)
    return opposite, chi2, errors
