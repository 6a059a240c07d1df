"""Pixels to sky and back, and from one image to another.

Positions are 0-based: the center of the first pixel is (0, 0). Directions are ICRS degrees; FK5 J2000 headers are taken
as ICRS (the frames differ by less than 0.03 arcsec, and a calibrated WCS comes from the reference catalog).
"""

import math
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from numpy.typing import ArrayLike

from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.errors import DataError
from dbpipe.sky.sphere import unit_vectors

INVERSE_TOLERANCE_PIX = 1e-8
MAX_INVERSE_STEPS = 40


@dataclass(frozen=True)
class PixelMap:
    """Where the pixels of one image lie in another, at every ``step_pix``-th pixel; bilinear in between."""

    x: np.ndarray
    """(n_node_y, n_node_x) [pix] position of output pixel (step_pix * i, step_pix * j) in the input; NaN for none"""
    y: np.ndarray
    step_pix: int

    def at(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the interpolated input position (x, y) of output positions [pix]."""
        i = np.clip(np.floor_divide(x, self.step_pix).astype(int), 0, self.x.shape[1] - 2)
        j = np.clip(np.floor_divide(y, self.step_pix).astype(int), 0, self.x.shape[0] - 2)
        u, v = x / self.step_pix - i, y / self.step_pix - j
        nodes = np.stack([self.x, self.y])
        low, high = ((1 - u) * nodes[:, row, i] + u * nodes[:, row, i + 1] for row in (j, j + 1))
        return tuple((1 - v) * low + v * high)


def tan_wcs(ra: float, dec: float, *, crpix: tuple[float, float], cd: np.ndarray) -> WCS:
    """Make a gnomonic WCS.

    Parameters
    ----------
    ra, dec : floats [deg]
        The tangent point, at ``crpix``.
    crpix : (x, y) [pix]
        0-based, unlike the header card.
    cd : (2, 2) array [deg/pix]
        d(xi, eta) / d(x, y), xi to the east, eta to the north.
    """
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [crpix[0] + 1.0, crpix[1] + 1.0]
    wcs.wcs.cd = np.asarray(cd, float)
    wcs.wcs.radesys = "ICRS"
    wcs.wcs.set()
    return wcs


def check_celestial(wcs: WCS) -> None:
    """Raise DataError unless the WCS maps two pixel axes to right ascension and declination, ICRS or J2000."""
    if wcs.naxis != 2 or not wcs.has_celestial or {t[:4] for t in wcs.wcs.ctype} != {"RA--", "DEC-"}:
        raise DataError("WCS is not a map of two axes to RA and Dec", ctype=" ".join(wcs.wcs.ctype), naxis=wcs.naxis)
    if wcs.wcs.lng != 0:
        raise DataError("WCS has declination before right ascension", ctype=" ".join(wcs.wcs.ctype))
    equinox = wcs.wcs.equinox
    if wcs.wcs.radesys not in ("ICRS", "FK5", "") or (math.isfinite(equinox) and equinox != 2000.0):
        raise DataError("WCS is neither ICRS nor FK5 J2000", radesys=wcs.wcs.radesys, equinox=equinox)
    matrix = wcs.pixel_scale_matrix
    if not np.all(np.isfinite(matrix)) or np.linalg.det(matrix) == 0.0:
        raise DataError("WCS has a singular pixel matrix", matrix=matrix.tolist())


def pixel_to_sky(wcs: WCS, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return (ra, dec) [deg] of pixel positions, distortion included; arrays of the common shape of x and y."""
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    return ra.reshape(x.shape), dec.reshape(x.shape)


def sky_to_pixel(wcs: WCS, ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixel position (x, y) of directions, distortion included.

    The distortion f, from pixels to undistorted pixels, is inverted by iteration, p <- p - (f(p) - target); the inverse
    polynomials of a header are approximate and are not used.

    Returns
    -------
    x, y : float arrays [pix]
        NaN where the direction is behind the projection, or so far outside that the distortion has no inverse.
    """
    ra, dec = np.broadcast_arrays(np.asarray(ra, float), np.asarray(dec, float))
    target = np.stack(wcs.wcs_world2pix(ra.ravel(), dec.ravel(), 0))
    if wcs.has_distortion:
        target = _undistort(wcs, target)
    return target[0].reshape(ra.shape), target[1].reshape(ra.shape)


def _undistort(wcs: WCS, target: np.ndarray) -> np.ndarray:
    """Solve f(p) = target for (2, n) pixel positions p; NaN where the iteration does not settle."""
    pixel = target.copy()
    active = np.flatnonzero(np.isfinite(target).all(axis=0))
    for _ in range(MAX_INVERSE_STEPS):
        with np.errstate(all="ignore"):  # far outside the image the polynomials may overflow: that ends as NaN below
            step = np.stack(wcs.pix2foc(*pixel[:, active], 0)) - target[:, active]
            size = np.abs(step).max(axis=0)
        pixel[:, active] -= step
        active = active[~(size < INVERSE_TOLERANCE_PIX)]
        if not active.size:
            return pixel
    pixel[:, active] = np.nan
    return pixel


def corners(wcs: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return (ra, dec), each (4,) [deg], of the outer corners (0, 0) (nx, 0) (nx, ny) (0, ny) of an image (ny, nx)."""
    ny, nx = shape
    return pixel_to_sky(wcs, np.array([0, nx, nx, 0]) - 0.5, np.array([0, 0, ny, ny]) - 0.5)


def _center_axes(wcs: WCS, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the direction of the image center and its change per pixel along x and y [rad], each (3,)."""
    x, y = (shape[1] - 1) / 2.0, (shape[0] - 1) / 2.0
    v = unit_vectors(*pixel_to_sky(wcs, x + np.array([0.0, -4, 4, 0, 0]), y + np.array([0.0, 0, 0, -4, 4])))
    return v[0], (v[2] - v[1]) / 8.0, (v[4] - v[3]) / 8.0


def pixel_scale_arcsec(wcs: WCS, shape: tuple[int, int]) -> float:
    """Return the square root of the area of the pixel at the center of an image of ``shape`` (ny, nx) [arcsec]."""
    _, along_x, along_y = _center_axes(wcs, shape)
    return math.degrees(math.sqrt(np.linalg.norm(np.cross(along_x, along_y)))) * ARCSEC_PER_DEG


def pixel_map(wcs_out: WCS, wcs_in: WCS, shape_out: tuple[int, int], *, step_pix: int = 32) -> PixelMap:
    """Find where every ``step_pix``-th pixel of an output image lies in an input image.

    Parameters
    ----------
    wcs_out, wcs_in : WCS
    shape_out : (ny, nx)

    Returns
    -------
    PixelMap
        (ceil(ny / step) + 1, ceil(nx / step) + 1) nodes: the last ones lie on or beyond the edge. With the distortion
        of a telescope and nodes 32 px apart, bilinear interpolation is good to 0.002 px.
    """
    ny, nx = shape_out
    nodes = [np.arange(-(-n // step_pix) + 1) * float(step_pix) for n in (ny, nx)]
    y, x = np.meshgrid(*nodes, indexing="ij")
    return PixelMap(*sky_to_pixel(wcs_in, *pixel_to_sky(wcs_out, x, y)), step_pix)


def local_affine(wcs_from: WCS, wcs_to: WCS, x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Return d(x_to, y_to) / d(x_from, y_from) at positions of the first image, (..., 2, 2)."""
    column, row = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    half = 2.0
    dx, dy = np.array([-half, half, 0.0, 0.0]), np.array([0.0, 0.0, -half, half])
    to = np.stack(sky_to_pixel(wcs_to, *pixel_to_sky(wcs_from, column[..., None] + dx, row[..., None] + dy)), axis=-2)
    return np.stack([to[..., 1] - to[..., 0], to[..., 3] - to[..., 2]], axis=-1) / (2.0 * half)
