"""Fluxes: PSF and aperture, the ratio between them, and the factor to nJy."""

import math
from dataclasses import dataclass

import numpy as np
import sep

from dbpipe.compiled import njit
from dbpipe.constants import AB_ZERO_POINT_NJY_MAG, ab_magnitude, robust_sigma
from dbpipe.errors import DataError
from dbpipe.imaging.measure.trends import intrinsic_scatter

CORE_FRACTION = 0.3
"""A source with less than this part of its effective pixels usable has no flux."""
N_SWEEP = 8
"""Sweeps over all sources, at most: neighbors agree by then."""

CLIP_SIGMA = 3.0
"""Stars further off than so many standard deviations are variable, or blended."""
N_STAR_MIN = 3
"""Fewer stars give no scatter, and so no error."""

_CONVERGED_SIGMA = 1e-3
"""Fluxes that move by less than this part of their errors in a sweep have converged."""


@dataclass(frozen=True)
class PsfFluxes:
    """PSF fluxes of all sources of an image, fitted together."""

    flux: np.ndarray
    """(n,) [electron]; NaN where no pixel under the core is usable."""
    flux_err: np.ndarray
    """(n,) [electron]"""
    residual: np.ndarray
    """(ny, nx) float32 image with every source subtracted."""


def fit_psf_fluxes(
    image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, *, x: np.ndarray, y: np.ndarray, stamps: np.ndarray
) -> PsfFluxes:
    """Fit the amplitudes of PSFs at fixed positions, all sources at once, so that neighbors do not add.

    Gauss-Seidel sweeps over the sources solve the normal equations of least squares with equal weights: equal, because
    weights that know the star would let errors of the PSF model change with its brightness.

    Parameters
    ----------
    image, variance : (ny, nx) float32 arrays [electron, electron2]
    unusable : (ny, nx) bool array
    x, y : (n,) float arrays [pix]
    stamps : (n, size, size) float32 array of `PsfModel.placed_at_many`

    Returns
    -------
    PsfFluxes
    """
    residual = np.where(unusable, np.float32(0), image).astype(np.float32)
    left = np.floor(np.asarray(x) + 0.5).astype(np.int64) - stamps.shape[-1] // 2
    bottom = np.floor(np.asarray(y) + 0.5).astype(np.int64) - stamps.shape[-1] // 2
    usable = (~unusable).astype(np.float32)
    square, flux_err = _power_and_error(usable, variance, left, bottom, stamps, CORE_FRACTION)
    flux = np.where(np.isfinite(flux_err), 0.0, np.nan)
    for _ in range(N_SWEEP):
        if _sweep(residual, usable, left, bottom, stamps, square, flux_err, flux) < _CONVERGED_SIGMA:
            break
    return PsfFluxes(flux, flux_err, residual)


@njit(cache=True, fastmath={"contract", "reassoc", "arcp"})
def _power_and_error(usable, variance, left, bottom, stamps, core_fraction):
    """Return the sum of P^2 over the usable pixels of each source, and the error of its flux, NaN if too few are."""
    ny, nx = usable.shape
    size = stamps.shape[1]
    square, flux_err = np.zeros(len(left)), np.full(len(left), np.nan)
    for source in range(len(left)):
        x, stamp = left[source], stamps[source]
        start, stop = max(0, -x), min(size, nx - x)
        whole, power, noise = 0.0, 0.0, 0.0
        for i in range(size):
            for j in range(size):
                whole += stamp[i, j] ** 2
        for i in range(max(0, -bottom[source]), min(size, ny - bottom[source])):
            row = bottom[source] + i
            for j in range(start, stop):
                p = stamp[i, j] * usable[row, x + j]
                power += p * p
                noise += p * p * variance[row, x + j]
        if power > 0.0 and power >= core_fraction * whole:
            square[source], flux_err[source] = power, np.sqrt(noise) / power
    return square, flux_err


@njit(cache=True, fastmath={"contract", "reassoc", "arcp"})
def _sweep(residual, usable, left, bottom, stamps, square, flux_err, flux):
    """Improve the flux of one source after the other; return the largest step in units of its error.

    Unusable pixels of the residual are 0 and stay so: products instead of branches, which vectorise.
    """
    ny, nx = residual.shape
    size = stamps.shape[1]
    largest = 0.0
    for source in range(len(left)):
        if square[source] == 0.0:
            continue
        x, stamp = left[source], stamps[source]
        first, last = max(0, -bottom[source]), min(size, ny - bottom[source])
        start, stop = max(0, -x), min(size, nx - x)
        data = 0.0
        for i in range(first, last):
            row = bottom[source] + i
            for j in range(start, stop):
                data += stamp[i, j] * residual[row, x + j]
        step = data / square[source]
        flux[source] += step
        largest = max(largest, abs(step) / flux_err[source])
        step32 = np.float32(step)
        for i in range(first, last):
            row = bottom[source] + i
            for j in range(start, stop):
                residual[row, x + j] -= step32 * stamp[i, j] * usable[row, x + j]
    return largest


def debias_fitted_flux(flux: np.ndarray, flux_err: np.ndarray) -> np.ndarray:
    """Take out the bias of a flux measured at the position that the same noise chose.

    At the best-fitting position the likelihood gains one unit of chi2 per coordinate, so
    <F_fit> = F (1 + 1 / SN^2); faint sources (SN < 3) are left alone.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        signal_to_noise = flux / flux_err
        return np.where(signal_to_noise > 3.0, flux * (1.0 - signal_to_noise**-2.0), flux)


def aperture_fluxes(
    image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, *, x: np.ndarray, y: np.ndarray, radius_pix: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sum the light in a circle (sep, exact overlap by 5 x 5 subpixels); masked pixels take the mean of the others.

    Returns
    -------
    flux, flux_err : (n,) float arrays [electron]
    """
    flux, flux_err, _ = sep.sum_circle(
        np.ascontiguousarray(image, np.float32), x, y, radius_pix,
        var=np.ascontiguousarray(variance, np.float32), mask=unusable,
    )  # fmt: skip
    return flux, flux_err


def fit_aperture_correction(psf_flux: np.ndarray, aperture_flux: np.ndarray) -> float:
    """Return the median of PSF over aperture flux of bright stars.

    Raises
    ------
    DataError
        If no star has both.
    """
    ratio = psf_flux / aperture_flux
    ratio = ratio[np.isfinite(ratio)]
    if len(ratio) == 0:
        raise DataError("no star with a PSF and an aperture flux", n_star=0, n_required=1)
    return float(np.median(ratio))


@dataclass(frozen=True)
class ZeroPoint:
    """Photometric calibration of an exposure."""

    njy_per_e: float
    njy_per_e_err: float
    """Standard error of ``njy_per_e``."""
    scatter_mag: float
    """Robust scatter of single stars [mag]."""
    is_used: np.ndarray
    """(n,) bool: stars kept."""

    @property
    def magnitude(self) -> float:
        """AB magnitude of one electron."""
        return ab_magnitude(self.njy_per_e)


def fit_zero_point(
    flux_e: np.ndarray,
    flux_err_e: np.ndarray,
    reference_mag: np.ndarray,
    *,
    reference_mag_err: float | np.ndarray = 0.0,
) -> ZeroPoint:
    """Fit the factor that turns instrumental flux into nJy, by the weighted mean magnitude difference of stars.

    Weights take the photon noise, the catalog's error and an intrinsic scatter that is raised until the reduced
    chi2 of the stars kept is one (color terms, variables, flat field).

    Parameters
    ----------
    flux_e, flux_err_e : (n,) float arrays [electron]
    reference_mag : (n,) float array [mag AB]
    reference_mag_err : float or (n,) float array [mag], NaN where unknown

    Raises
    ------
    DataError
        If fewer than `N_STAR_MIN` stars survive.
    """
    usable = (flux_e > 0) & np.isfinite(flux_err_e) & np.isfinite(reference_mag)
    if usable.sum() < N_STAR_MIN:
        raise DataError("too few stars for a zero point", n_star=int(usable.sum()), n_required=N_STAR_MIN)
    flux = np.where(usable, flux_e, 1.0)
    offset = reference_mag + 2.5 * np.log10(flux)
    error = np.hypot(2.5 / math.log(10.0) * flux_err_e / flux, np.nan_to_num(reference_mag_err))
    used = usable.copy()
    intrinsic, scatter = 0.0, 0.0
    for _ in range(10):
        median = np.median(offset[used])
        scatter = robust_sigma(offset[used], median)
        intrinsic = intrinsic_scatter(offset[used] - median, error[used])
        sigma = np.sqrt(error**2 + intrinsic**2)
        kept = usable & (np.abs(offset - median) < CLIP_SIGMA * np.maximum(sigma, 1e-4))
        if kept.sum() < N_STAR_MIN:
            raise DataError("too few stars agree on a zero point", n_star=int(kept.sum()), n_required=N_STAR_MIN)
        if (kept == used).all():
            break
        used = kept
    weight = 1.0 / np.maximum(sigma[used], 1e-4) ** 2
    magnitude = float((weight * offset[used]).sum() / weight.sum())
    factor = 10.0 ** (0.4 * (AB_ZERO_POINT_NJY_MAG - magnitude))
    relative = 0.4 * math.log(10.0) / math.sqrt(weight.sum())
    return ZeroPoint(factor, factor * relative, scatter, used)


def depth_5sigma_mag(sky_noise_e: float, effective_area_pix: float, njy_per_e: float) -> float:
    """Return the AB magnitude of a point source at S/N 5 on blank sky: the noise of its PSF flux is s sqrt(A)."""
    return ab_magnitude(5.0 * sky_noise_e * math.sqrt(effective_area_pix) * njy_per_e)
