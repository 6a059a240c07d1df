"""Second moments of faint sources and of the PSF, with an adaptive Gaussian weight."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dbpipe.compiled import njit
from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.errors import DataError
from dbpipe.imaging.mask import UNUSABLE

_MAX_STEPS = 60
_UNUSABLE = np.uint16(UNUSABLE)


def adaptive_moments(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    sigma_pix: float,
    radius_pix: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure second moments with the elliptical Gaussian weight that fits the source best.

    The weight's covariance W is iterated to the fixed point M = 2 M_w, where M_w are the moments under the weight
    (Bernstein & Jarvis 2002 AJ 123 583, sect. 3.1; Hirata & Seljak 2003 MNRAS 343 459, eqs. 10 and 11); for a Gaussian
    source M is its covariance. The center is held. Sources may have either sign.

    Parameters
    ----------
    image : (ny, nx) float32 array
    mask : (ny, nx) uint16 array; a source with an unusable pixel within ``2 sigma_pix`` has no moments
    x, y : (n,) float arrays [pix]
    sigma_pix : float
        First guess: standard deviation of the PSF.
    radius_pix : float
        Pixels further out are not looked at.

    Returns
    -------
    ixx, iyy, ixy : (n,) float64 arrays [pix2], NaN where noise or neighbors leave no fixed point.
    """
    positions = np.asarray(x, np.float64), np.asarray(y, np.float64)
    moments = _moments(image, mask, *positions, float(sigma_pix), float(radius_pix))
    return moments[:, 0], moments[:, 1], moments[:, 2]


def gaussian_moments(psf: np.ndarray) -> tuple[float, ...]:
    """Return ixx, iyy, ixy [pix2] of one PSF stamp (size, size), as `adaptive_moments` measures them."""
    size = psf.shape[0]
    center = np.array([size // 2], float)
    image = np.ascontiguousarray(psf, np.float32)
    guess = np.sqrt(np.sum(image) / (2 * np.pi * image.max()))
    moments = adaptive_moments(
        image, np.zeros(psf.shape, np.uint16), x=center, y=center, sigma_pix=guess, radius_pix=size // 2
    )
    return tuple(float(m[0]) for m in moments)


@dataclass(frozen=True)
class PsfSize:
    """How large the PSF of the difference is."""

    fwhm_pix: float
    """2.355 x determinant radius of the adaptive moments."""
    trace_pix2: float
    """Ixx + Iyy."""


def psf_size(psf: np.ndarray) -> PsfSize:
    """Measure one PSF stamp (size, size).

    Raises
    ------
    DataError
        If it has no second moments: the PSF of the difference is not one peak.
    """
    ixx, iyy, ixy = gaussian_moments(psf)
    determinant = ixx * iyy - ixy**2
    if not determinant > 0:
        raise DataError("PSF of the difference has no size", ixx=ixx, iyy=iyy, ixy=ixy)
    return PsfSize(FWHM_PER_SIGMA * determinant**0.25, ixx + iyy)


@njit(cache=True)
def _moments(image, mask, x, y, sigma, radius):
    result = np.full((len(x), 3), np.nan)
    for i in range(len(x)):
        wxx, wyy, wxy = sigma * sigma, sigma * sigma, 0.0
        for _ in range(_MAX_STEPS):
            ok, mxx, myy, mxy = _weighted(image, mask, x[i], y[i], wxx, wyy, wxy, sigma, radius)
            mxx, myy, mxy = 2.0 * mxx, 2.0 * myy, 2.0 * mxy
            determinant = mxx * myy - mxy * mxy
            if not ok or mxx <= 0.0 or determinant <= 0.05 * sigma**4 or mxx + myy > radius * radius:
                break
            change = abs(mxx - wxx) + abs(myy - wyy) + abs(mxy - wxy)
            wxx, wyy, wxy = mxx, myy, mxy
            if change < 1e-3 * sigma * sigma:
                result[i, 0], result[i, 1], result[i, 2] = wxx, wyy, wxy
                break
    return result


@njit(cache=True)
def _weighted(image, mask, x, y, wxx, wyy, wxy, sigma, radius):
    """Return whether all is well, and the moments under a Gaussian weight of covariance w."""
    ny, nx = image.shape
    determinant = wxx * wyy - wxy * wxy
    total, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0
    for v in range(max(int(y - radius), 0), min(int(y + radius) + 2, ny)):
        for u in range(max(int(x - radius), 0), min(int(x + radius) + 2, nx)):
            dx, dy = u - x, v - y
            distance2 = dx * dx + dy * dy
            if distance2 > radius * radius:
                continue
            value = image[v, u]
            if mask[v, u] & _UNUSABLE or not np.isfinite(value):
                if distance2 < 4.0 * sigma * sigma:
                    return False, 0.0, 0.0, 0.0
                continue
            q = (wyy * dx * dx - 2.0 * wxy * dx * dy + wxx * dy * dy) / determinant
            weighted = value * np.exp(-0.5 * q)
            total += weighted
            sxx += weighted * dx * dx
            syy += weighted * dy * dy
            sxy += weighted * dx * dy
    if total == 0.0:
        return False, 0.0, 0.0, 0.0
    return True, sxx / total, syy / total, sxy / total
