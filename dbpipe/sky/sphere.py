"""Directions on the sphere: unit vectors, separations, and the gnomonic plane.

Angles are degrees, except where a name says otherwise. Everything holds across RA 0/360 and at the poles, for it goes
through unit vectors.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from dbpipe.constants import ARCSEC_PER_DEG, JULIAN_YEAR_DAY

if TYPE_CHECKING:
    pass

N_STEP = 4000
"""Steps of the search, each to the farthest point."""

MAS_PER_DEG = 1000.0 * ARCSEC_PER_DEG


def unit_vectors(ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Turn directions into unit vectors, (..., 3), with z to the pole and x to (0, 0)."""
    ra, dec = np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float))
    return np.stack(np.broadcast_arrays(np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)), axis=-1)


def directions(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn vectors (..., 3) of any length into (ra, dec), ra from 0 up to 360."""
    x, y, z = np.moveaxis(np.asarray(vectors, float), -1, 0)
    ra = np.degrees(np.arctan2(y, x)) % 360.0
    return np.where(ra == 360.0, 0.0, ra), np.degrees(np.arctan2(z, np.hypot(x, y)))


def local_axes(ra: ArrayLike, dec: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors to the east and north of a direction, each (..., 3); at a pole, on the meridian of ``ra``."""
    ra, dec = np.broadcast_arrays(np.radians(np.asarray(ra, float)), np.radians(np.asarray(dec, float)))
    east = np.stack([-np.sin(ra), np.cos(ra), np.zeros_like(ra)], axis=-1)
    north = np.stack([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)], axis=-1)
    return east, north


def separation_deg(
    ra1: ArrayLike,
    dec1: ArrayLike,
    ra2: ArrayLike,
    dec2: ArrayLike,
) -> np.ndarray:
    """Return the angle between directions [deg], accurate for small and large ones: atan2 of cross and dot product."""
    a, b = unit_vectors(ra1, dec1), unit_vectors(ra2, dec2)
    return np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), np.sum(a * b, axis=-1)))


def project(ra: ArrayLike, dec: ArrayLike, *, ra0: float, dec0: float) -> tuple[np.ndarray, np.ndarray]:
    """Project directions gnomonically on the plane that touches the sky at (ra0, dec0).

    Returns
    -------
    xi, eta : float arrays [deg]
        Toward east and north; the standard coordinates of Calabretta & Greisen 2002 A&A 395 1077, eq. 12, 13 and 54.
        NaN where the direction is 90 degrees or more from the tangent point.
    """
    v = unit_vectors(ra, dec)
    east, north = local_axes(ra0, dec0)
    depth = v @ unit_vectors(ra0, dec0)
    depth = np.where(depth > 0.0, depth, np.nan)
    return np.degrees(v @ east / depth), np.degrees(v @ north / depth)


def deproject(xi: ArrayLike, eta: ArrayLike, *, ra0: float, dec0: float) -> tuple[np.ndarray, np.ndarray]:
    """Turn gnomonic coordinates [deg] back into (ra, dec); the inverse of `project`."""
    east_part, north_part = np.radians(np.asarray(xi, float)), np.radians(np.asarray(eta, float))
    east, north = local_axes(ra0, dec0)
    return directions(unit_vectors(ra0, dec0) + east_part[..., None] * east + north_part[..., None] * north)


def bounding_cap(ra: np.ndarray, dec: np.ndarray) -> tuple[float, float, float]:
    """Find the center and radius of the smallest circle on the sky that holds all directions.

    The smallest ball around the unit vectors has its center along the axis of the smallest cap. It is found by walking
    toward the farthest point by steps of 1/k (Badoiu & Clarkson 2003, SODA, p. 801), to a thousandth of the radius.

    Returns
    -------
    ra, dec, radius_deg : floats
    """
    points = np.unique(unit_vectors(ra, dec), axis=0)
    center = 0.5 * (points.min(axis=0) + points.max(axis=0))
    for k in range(1, N_STEP + 1):
        farthest = np.argmax(np.sum((points - center) ** 2, axis=-1))
        center = center + (points[farthest] - center) / (k + 1)
    ra0, dec0 = directions(center)
    return float(ra0), float(dec0), float(np.max(separation_deg(ra, dec, ra0, dec0)))


def apply_proper_motion(
    ra: ArrayLike,
    dec: ArrayLike,
    pm_ra: ArrayLike,
    pm_dec: ArrayLike,
    epoch: ArrayLike,
    to_epoch: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Move stars along their great circles to another epoch.

    Parameters
    ----------
    ra, dec : float arrays [deg] at ``epoch``
    pm_ra, pm_dec : float arrays [mas/yr]
        pm_ra is in ra*cos(dec). NaN means unknown and moves nothing.
    epoch, to_epoch : floats or arrays [d] MJD
        An unknown epoch (NaN) moves nothing.

    Returns
    -------
    ra, dec : float arrays [deg] at ``to_epoch``
        Parallax and radial motion are left out (ESA 1997, The Hipparcos catalog, vol. 1, sect. 1.5.5, without them).
    """
    years = (np.asarray(to_epoch, float) - np.asarray(epoch, float)) / JULIAN_YEAR_DAY
    step = [np.nan_to_num(np.radians(np.asarray(pm, float) / MAS_PER_DEG) * years, nan=0.0) for pm in (pm_ra, pm_dec)]
    east, north = local_axes(ra, dec)
    return directions(unit_vectors(ra, dec) + step[0][..., None] * east + step[1][..., None] * north)
