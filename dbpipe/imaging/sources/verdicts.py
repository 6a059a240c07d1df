"""Sources of a difference image: from peaks to fits, aperture fluxes and verdicts, in pixels and image units."""

from typing import Any

import numpy as np
import sep
from scipy.spatial import cKDTree

from dbpipe.imaging.mask import UNUSABLE
from dbpipe.imaging.settings import Splitting
from dbpipe.imaging.sources.deblend import find_companions
from dbpipe.imaging.sources.peaks import Peaks
from dbpipe.imaging.sources.point_fit import PointSourceFit, fit_point_sources
from dbpipe.imaging.sources.significance import blend_scores

_MAX_SPLITS = 3
"""Turns of the search for companions."""


def fit_peaks(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    peaks: Peaks,
    psf_spline: np.ndarray,
    radius_pix: float,
    fwhm_pix: float,
    threshold: float,
    splitting: Splitting,
) -> tuple[np.ndarray, np.ndarray, PointSourceFit]:
    """Fit point sources to peaks, drop the peaks that a brighter neighbor explains, and add hidden companions.

    A peak is dropped where, with a brighter source within ``radius_pix`` fitted at the same time, its score
    (`blend_scores`) is below ``threshold``, its fit fails, or the two end on the same place.

    Parameters
    ----------
    image, variance, mask : (ny, nx) arrays
    peaks : Peaks
    psf_spline : (n, size, size) float32 array
    radius_pix, fwhm_pix, threshold : float
    splitting : Splitting, what a companion must be

    Returns
    -------
    peak : (m,) int array, the peak of each source, or of the one whose companion it is
    score : (m,) float array, score of the peak; that of `blend_scores` for a source that is blended
    fit : PointSourceFit of the m sources, by falling absolute score
    """
    planes = (image, variance, mask)
    settings: dict[str, Any] = {"radius_pix": radius_pix, "max_shift_pix": max(1.5, 0.5 * fwhm_pix)}
    blend: dict[str, Any] = {"radius_pix": radius_pix, "blend_pix": 1.5 * fwhm_pix}
    peak = np.arange(len(peaks.x))
    x, y = peaks.x.astype(float), peaks.y.astype(float)
    shares = np.zeros(len(peak), bool)
    fit = fit_point_sources(*planes, psf_spline=psf_spline, x=x, y=y, **settings)
    for turn in range(_MAX_SPLITS + 1):
        faint = np.abs(np.nan_to_num(fit.flux / fit.flux_err)) < threshold
        own_score = blend_scores(*planes, psf_spline=psf_spline[peak], fit=fit, chosen=faint, **blend)
        explained = _explained(fit, own_score, radius_pix, 0.5 * fwhm_pix, threshold)
        if explained.any():
            peak, x, y, shares = (a[~explained] for a in (peak, x, y, shares))
            fit = fit_point_sources(*planes, psf_spline=psf_spline[peak], x=x, y=y, **settings)
        if turn == _MAX_SPLITS:
            break
        found = find_companions(
            *planes,
            psf_spline=psf_spline[peak],
            fit=fit,
            radius_pix=radius_pix,
            fwhm_pix=fwhm_pix,
            splitting=splitting,
        )
        if not len(found.parent):
            break
        x[found.member], y[found.member] = found.member_state[:, 1], found.member_state[:, 2]
        shares[found.member] = True
        x, y = np.concatenate([x, found.state[:, 1]]), np.concatenate([y, found.state[:, 2]])
        peak = np.concatenate([peak, peak[found.parent]])
        shares = np.concatenate([shares, np.ones(len(found.parent), bool)])
        fit = fit_point_sources(*planes, psf_spline=psf_spline[peak], x=x, y=y, **settings)
    blended = fit.converged & (shares | ~_isolated(fit.x, fit.y, blend["blend_pix"]))
    own_score = blend_scores(*planes, psf_spline=psf_spline[peak], fit=fit, chosen=blended, **blend)
    score = np.where(shares | (blended & (np.abs(own_score) >= threshold)), own_score, peaks.score[peak])
    order = np.argsort(-np.abs(score), kind="stable")
    return peak[order], score[order], fit.take(order)


def _explained(
    fit: PointSourceFit, own_score: np.ndarray, radius_pix: float, same_place_pix: float, threshold: float
) -> np.ndarray:
    explained = np.zeros(len(fit.x), bool)
    if len(explained) < 2:
        return explained
    pairs = cKDTree(np.column_stack([fit.x, fit.y])).query_pairs(radius_pix, output_type="ndarray")
    brighter, fainter = pairs.min(axis=1), pairs.max(axis=1)  # peaks come by falling |score|, companions last
    apart = np.hypot(fit.x[brighter] - fit.x[fainter], fit.y[brighter] - fit.y[fainter])
    same = (apart < same_place_pix) & (fit.flux[brighter] * fit.flux[fainter] > 0)
    nothing_left = ~(np.abs(own_score[fainter]) >= threshold) | ~fit.converged[fainter]
    explained[fainter[same | (nothing_left & fit.converged[brighter])]] = True
    return explained


def aperture_flux(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    radius_pix: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum a circular aperture, corrected for the light of the PSF outside it.

    Parameters
    ----------
    image, variance : (ny, nx) float32 arrays
    mask : (ny, nx) uint16 array; unusable pixels are replaced by the mean of the aperture
    psf : (size, size) float array of unit sum
    x, y : (n,) float arrays [pix]

    Returns
    -------
    flux, flux_err : (n,) float64 arrays [image unit]; NaN for apertures that are not inside the image
    """
    center = psf.shape[0] // 2
    within, _, _ = sep.sum_circle(np.ascontiguousarray(psf, np.float32), [center], [center], radius_pix)
    bad = (mask & UNUSABLE) != 0
    flux, flux_err, flag = sep.sum_circle(image, x, y, radius_pix, var=variance, mask=bad)
    outside = (flag & (sep.APER_TRUNC | sep.APER_ALLMASKED)) != 0
    return np.where(outside, np.nan, flux / within[0]), np.where(outside, np.nan, flux_err / within[0])


def near_edge(shape: tuple[int, int], x: np.ndarray, y: np.ndarray, *, margin_pix: float) -> np.ndarray:
    """Return whether each position is within ``margin_pix`` of the edge of the image (ny, nx)."""
    ny, nx = shape
    return (np.minimum(x, nx - 1 - x) < margin_pix) | (np.minimum(y, ny - 1 - y) < margin_pix)


def unlike_point_source(
    fit: PointSourceFit,
    ixx: np.ndarray,
    iyy: np.ndarray,
    *,
    flux_beneath: np.ndarray,
    psf_trace_pix2: float,
    isolation_pix: float,
    model_error: float,
) -> np.ndarray:
    """Judge whether fit and moments exclude a point source.

    chi2 may exceed its 4 sigma range by (model_error * S/N)^2: what a PSF that is wrong by that fraction leaves behind,
    and by a twentieth of that for the constant source beneath, whose subtraction errs less.
    Moments are judged where they are well measured, above S/N 15; both only for a detection that is alone within
    ``isolation_pix``, since a neighbor spoils them. Less than 0.1% of point sources fail.

    Parameters
    ----------
    fit : PointSourceFit
    ixx, iyy : (n,) float arrays [pix2], NaN where unmeasured
    flux_beneath : (n,) float array
        Flux of science image or template at the place, in the unit of the fit; NaN counts as 0.
    psf_trace_pix2 : float
        Ixx + Iyy of the PSF.
    isolation_pix : float
    model_error : float
        Fraction of the power of the PSF.

    Returns
    -------
    (n,) bool array
    """
    snr = np.nan_to_num(np.abs(fit.flux) / fit.flux_err)
    beneath = np.nan_to_num(np.abs(flux_beneath) / fit.flux_err)
    dof = np.maximum(fit.n_pix - 3, 1)
    forgiven = np.square(model_error) * (snr**2 + (0.05 * beneath) ** 2)
    bad_fit = fit.chi2 > dof + 4.0 * np.sqrt(2.0 * dof) + forgiven
    size = (ixx + iyy) / psf_trace_pix2
    bad_size = (snr > 15.0) & ((size < 0.4) | (size > 2.5))
    return _isolated(fit.x, fit.y, isolation_pix) & (bad_fit | bad_size)


def _isolated(x: np.ndarray, y: np.ndarray, radius_pix: float) -> np.ndarray:
    isolated = np.ones(len(x), bool)
    if len(x):
        pairs = cKDTree(np.column_stack([x, y])).query_pairs(radius_pix, output_type="ndarray")
        isolated[pairs.ravel()] = False
    return isolated


def residual_of_star(
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    *,
    star_x: np.ndarray,
    star_y: np.ndarray,
    star_flux: np.ndarray,
    fwhm_pix: float,
    fraction: float,
) -> np.ndarray:
    """Judge whether a difference is no more than what a subtracted bright star leaves: a small part of its flux.

    The limit is ``fraction`` of the star's flux within 1.5 FWHM and falls with the square of the distance, to nothing
    at 4 FWHM.

    Parameters
    ----------
    x, y, flux : (n,) float arrays
    star_x, star_y, star_flux : (m,) float arrays, in the same units
    fwhm_pix, fraction : float

    Returns
    -------
    (n,) bool array
    """
    residual = np.zeros(len(x), bool)
    if len(star_x) == 0 or len(x) == 0:
        return residual
    reach = 4.0 * fwhm_pix
    stars = cKDTree(np.column_stack([star_x, star_y]))
    for k, near in enumerate(stars.query_ball_point(np.column_stack([x, y]), reach)):
        distance = np.hypot(star_x[near] - x[k], star_y[near] - y[k]) / fwhm_pix
        limit = fraction * star_flux[near] * np.minimum(1.0, np.square(1.5 / np.maximum(distance, 1e-6)))
        residual[k] = np.any(np.abs(flux[k]) < limit)
    return residual
