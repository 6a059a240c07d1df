"""A gnomonic plate with polynomial distortion, and its FITS form TAN-SIP (Shupe et al. 2005, ADASS XIV, p. 491)."""

import math
from dataclasses import dataclass, replace

import numpy as np
from astropy.wcs import WCS, Sip

from dbpipe.sky.sphere import deproject, project
from dbpipe.sky.wcs import pixel_to_sky, tan_wcs

MAX_DEGREE = 6
EXACT_PIX = 1e-3
"""A header WCS is described by the lowest degree that reproduces it to this."""
INVERSE_GRID = 33


def monomials(u: np.ndarray, v: np.ndarray, degree: int) -> np.ndarray:
    """Return u^i v^j for i + j <= degree, (..., n_term), by increasing total degree: 1, u, v, u^2, u v, v^2 ..."""
    return np.stack([u**i * v**j for i, j in powers(degree)], axis=-1)


def powers(degree: int) -> list[tuple[int, int]]:
    """List the exponents (i, j) of `monomials`."""
    return [(total - j, j) for total in range(degree + 1) for j in range(total + 1)]


@dataclass(frozen=True)
class Plate:
    """Tangent-plane coordinates (xi, eta) as polynomials of pixel position about the image center.

    The image center is at the tangent point when the constant terms are zero.
    """

    ra: float
    """[deg] tangent point"""
    dec: float
    center: tuple[float, float]
    """(x, y) [pix] of the image center"""
    half_size: float
    """[pix] half the longer side: u, v = (x - center) / half_size"""
    coefficients: np.ndarray
    """(2, n_term) [deg] of xi and eta over `monomials`"""

    @property
    def degree(self) -> int:
        """Total degree of the polynomials."""
        return round((math.sqrt(8 * self.coefficients.shape[1] + 1) - 3) / 2)

    @property
    def jacobian(self) -> np.ndarray:
        """d(xi, eta) / d(x, y) at the image center, (2, 2) [deg/pix]."""
        return self.coefficients[:, 1:3] / self.half_size

    @property
    def pixel_scale_deg(self) -> float:
        """Square root of the pixel area at the center [deg]."""
        return math.sqrt(abs(np.linalg.det(self.jacobian)))

    def terms(self, x: np.ndarray, y: np.ndarray, degree: int) -> np.ndarray:
        """Return the monomials of this degree at pixel positions, (..., n_term)."""
        u, v = ((np.asarray(p, float) - c) / self.half_size for p, c in zip((x, y), self.center, strict=True))
        return monomials(u, v, degree)

    def plane(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return (..., 2) tangent-plane coordinates [deg] of pixel positions."""
        return self.terms(x, y, self.degree) @ self.coefficients.T

    def radial_terms(self) -> np.ndarray:
        """Return the (2, 10) coefficients of r^2 (u, v) seen in the plane: the unit of a radial distortion."""
        cubic = np.zeros((2, 10))
        cubic[0, [6, 8]] = cubic[1, [7, 9]] = 1.0  # u^3 + u v^2, u^2 v + v^3
        return self.coefficients[:, 1:3] @ cubic

    def project(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Return (..., 2) tangent-plane coordinates [deg] of directions."""
        return np.stack(project(ra, dec, ra0=self.ra, dec0=self.dec), axis=-1)

    def corrected(self, correction: np.ndarray) -> "Plate":
        """Return this plate with coefficients (2, n_term) of any degree added and the tangent point recentered.

        A moved pointing leaves the distortion as it is, so the other coefficients stay.
        """
        n = max(self.coefficients.shape[1], correction.shape[1])
        first, second = (np.pad(c, ((0, 0), (0, n - c.shape[1]))) for c in (self.coefficients, correction))
        total = first + second
        ra, dec = deproject(total[0, 0], total[1, 0], ra0=self.ra, dec0=self.dec)
        total[:, 0] = 0.0
        return replace(self, ra=float(ra), dec=float(dec), coefficients=total)

    def turned(self, matrix: np.ndarray) -> "Plate":
        """Return this plate with its plane coordinates multiplied by a (2, 2) matrix, the distortion included."""
        return replace(self, coefficients=matrix @ self.coefficients)


def plate_from_wcs(wcs: WCS, shape: tuple[int, int]) -> Plate:
    """Describe any WCS over an image (ny, nx) by a plate, of the lowest degree exact to a thousandth of a pixel."""
    ny, nx = shape
    center, half_size = ((nx - 1) / 2.0, (ny - 1) / 2.0), max(nx, ny) / 2.0
    ra, dec = (float(c) for c in pixel_to_sky(wcs, *center))
    n_node = 2 * MAX_DEGREE + 1
    x, y = (g.ravel() for g in np.meshgrid(np.linspace(0, nx - 1, n_node), np.linspace(0, ny - 1, n_node)))
    plate = Plate(ra, dec, center, half_size, np.zeros((2, 3)))
    target = plate.project(*pixel_to_sky(wcs, x, y))
    for degree in range(1, MAX_DEGREE + 1):
        solution, *_ = np.linalg.lstsq(plate.terms(x, y, degree), target, rcond=None)
        found = replace(plate, coefficients=solution.T)
        if np.max(np.abs(found.plane(x, y) - target)) < EXACT_PIX * found.pixel_scale_deg:
            break
    return found.corrected(np.zeros((2, 3)))


def wcs_from_plate(plate: Plate, shape: tuple[int, int]) -> WCS:
    """Write a plate as TAN (degree 1) or TAN-SIP WCS, with inverse polynomials fitted over the image (ny, nx)."""
    wcs = tan_wcs(plate.ra, plate.dec, crpix=plate.center, cd=plate.jacobian)
    if plate.degree == 1:
        return wcs
    forward = np.linalg.solve(plate.jacobian, plate.coefficients) / _unit_powers(plate, plate.degree)
    forward[:, :3] = 0.0
    # The inverse of a polynomial is none; one degree more makes it good to the error of the forward fit.
    inverse = _inverse_terms(forward, plate, shape, plate.degree + 1)
    a, b = (_sip_matrix(c, plate.degree) for c in forward)
    ap, bp = (_sip_matrix(c, plate.degree + 1) for c in inverse)
    wcs.wcs.ctype = ["RA---TAN-SIP", "DEC--TAN-SIP"]
    wcs.sip = Sip(a, b, ap, bp, wcs.wcs.crpix)
    wcs.wcs.set()
    return wcs


def _inverse_terms(forward: np.ndarray, plate: Plate, shape: tuple[int, int], degree: int) -> np.ndarray:
    """Fit (2, n_term) polynomials g with p = P + g(P), where P = p + f(p) are undistorted pixels from the center."""
    ny, nx = shape
    x, y = np.meshgrid(np.linspace(-0.5, nx - 0.5, INVERSE_GRID), np.linspace(-0.5, ny - 0.5, INVERSE_GRID))
    pixel = np.stack([x.ravel() - plate.center[0], y.ravel() - plate.center[1]])
    distortion = forward @ monomials(pixel[0], pixel[1], plate.degree).T
    u, v = (pixel + distortion) / plate.half_size
    design = monomials(u, v, degree)
    solution, *_ = np.linalg.lstsq(design, -distortion.T, rcond=None)
    return solution.T / _unit_powers(plate, degree)


def _unit_powers(plate: Plate, degree: int) -> np.ndarray:
    """Return half_size^(i + j): what turns coefficients of u, v into those of pixels."""
    return plate.half_size ** np.array([float(i + j) for i, j in powers(degree)])


def _sip_matrix(coefficients: np.ndarray, degree: int) -> np.ndarray:
    """Arrange the coefficients of `monomials` as the matrix [i, j] that astropy wants."""
    matrix = np.zeros((degree + 1, degree + 1))
    for (i, j), c in zip(powers(degree), coefficients, strict=True):
        matrix[i, j] = c
    return matrix
