"""The sky map: one discrete tract, a gnomonic plane with one pixel grid, cut into square patches.

North is up and east is left. The tangent point is the center of tract pixel (0, 0), the lower left pixel of patch
(0, 0); patches have negative numbers to the left and below. Patches do not overlap and all show one pixel grid. A
tract is made once and never moves: a survey that grows gets more patches. It works at RA 0/360 and at the poles, and as
far as gnomonic pixels stay nearly square: 5 degrees from the tangent point they are stretched by 0.4 %.

    patch number = 1000 (iy + 500) + (ix + 500),  ix and iy from -500 to 499
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from scipy.spatial import cKDTree

from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.errors import DataError
from dbpipe.sky.sphere import bounding_cap, directions, separation_deg, unit_vectors
from dbpipe.sky.wcs import pixel_to_sky, sky_to_pixel, tan_wcs

MAX_RADIUS_DEG = 5.0
"""Farthest that a corner of an exposure may lie from the tangent point."""
PATCH_LIMIT = 500
FOOTPRINT_MARGIN_PIX = 1.0
"""Added around a footprint: the edge of a distorted image is not a straight line between its corners."""


@dataclass(frozen=True)
class Tract:
    """A plane of the sky."""

    tract: int
    ra: float
    """[deg] tangent point"""
    dec: float
    pixel_scale_arcsec: float
    patch_size_pix: int

    @classmethod
    def of(cls, unit: Mapping[str, Any]) -> "Tract":
        """Return the tract of a work row."""
        names = ("tract", "tract_ra", "tract_dec", "pixel_scale_arcsec", "patch_size_pix")
        return cls(*(unit[name] for name in names))


@dataclass(frozen=True)
class Patch:
    """A square of a tract: pixels x0 ... x0 + nx - 1, y0 ... y0 + ny - 1 of the tract."""

    ix: int
    iy: int
    x0: int
    y0: int
    nx: int
    ny: int

    @property
    def patch(self) -> int:
        """The number of the patch."""
        return 1000 * (self.iy + PATCH_LIMIT) + self.ix + PATCH_LIMIT


def make_tract(
    corner_ra: Sequence[float] | np.ndarray,
    corner_dec: Sequence[float] | np.ndarray,
    *,
    tract: int = 0,
    pixel_scale_arcsec: float,
    patch_size_pix: int,
) -> Tract:
    """Make the tract that touches the sky at the center of the smallest circle around all exposures.

    Parameters
    ----------
    corner_ra, corner_dec : float arrays of any shape [deg]
        The corners of all exposures.

    Raises
    ------
    DataError
        If there is no exposure, or one reaches farther than five degrees from the tangent point.
    """
    if not np.size(corner_ra):
        raise DataError("a tract needs an exposure", n_exposure=0, n_required=1)
    ra, dec, radius_deg = bounding_cap(np.ravel(corner_ra), np.ravel(corner_dec))
    if radius_deg > MAX_RADIUS_DEG:
        raise DataError("exposures are too far apart for one tract", radius_deg=radius_deg, limit_deg=MAX_RADIUS_DEG)
    return Tract(tract, ra, dec, float(pixel_scale_arcsec), int(patch_size_pix))


def find_main_field(corner_ra: np.ndarray, corner_dec: np.ndarray) -> np.ndarray:
    """Find the exposures that one tract can hold, so that a stray one does not spoil the survey.

    They are all of them if the smallest circle around them is small enough, else those near the exposure with most
    others around it (the first among equals).

    Parameters
    ----------
    corner_ra, corner_dec : (n, n_corner) float arrays [deg]
        The corners of all exposures.

    Returns
    -------
    (n,) bool array
    """
    everything = np.ones(len(corner_ra), bool)
    if not len(corner_ra) or bounding_cap(np.ravel(corner_ra), np.ravel(corner_dec))[2] <= MAX_RADIUS_DEG:
        return everything
    reach_deg = 0.99 * MAX_RADIUS_DEG  # the smallest circle is found to a thousandth
    center = unit_vectors(corner_ra, corner_dec).mean(axis=1)
    center /= np.linalg.norm(center, axis=-1, keepdims=True)
    chord = 2.0 * np.sin(np.radians(reach_deg) / 2.0)
    n_near = cKDTree(center).query_ball_point(center, chord, return_length=True)
    anchor = np.argmax(n_near)
    ra, dec = directions(center[anchor])
    inside = np.all(separation_deg(corner_ra, corner_dec, ra, dec) <= reach_deg, axis=1)
    inside[anchor] = True
    return inside


def tract_wcs(tract: Tract) -> WCS:
    """Return the WCS of the whole tract: its 0-based pixel (0, 0) is the tangent point, and pixels may be negative."""
    return patch_wcs(tract, 0, 0)


def patch_wcs(tract: Tract, x0: int, y0: int) -> WCS:
    """Return the WCS of an image whose first pixel is (x0, y0) of the tract."""
    scale = tract.pixel_scale_arcsec / ARCSEC_PER_DEG
    return tan_wcs(tract.ra, tract.dec, crpix=(-x0, -y0), cd=np.diag([-scale, scale]))


def patches_for(tract: Tract, corner_ra: np.ndarray, corner_dec: np.ndarray) -> list[Patch]:
    """List the patches that an exposure touches.

    Parameters
    ----------
    tract : Tract
    corner_ra, corner_dec : (n,) float arrays [deg]
        Corners of a convex footprint, in order around it.

    Returns
    -------
    list of Patch, by row and column

    Raises
    ------
    DataError
        If a corner is farther than five degrees from the tangent point, or a patch beyond the numbering.
    """
    distance = float(np.max(separation_deg(corner_ra, corner_dec, tract.ra, tract.dec)))
    if not distance <= MAX_RADIUS_DEG:
        raise DataError("exposure is too far from the tract", distance_deg=distance, limit_deg=MAX_RADIUS_DEG)
    polygon = np.stack(sky_to_pixel(tract_wcs(tract), corner_ra, corner_dec), axis=-1)
    size = tract.patch_size_pix
    first = np.floor((polygon.min(axis=0) + 0.5 - FOOTPRINT_MARGIN_PIX) / size).astype(int)
    last = np.floor((polygon.max(axis=0) + 0.5 + FOOTPRINT_MARGIN_PIX) / size).astype(int)
    if np.any(first < -PATCH_LIMIT) or np.any(last >= PATCH_LIMIT):
        raise DataError("patch number out of range", first=first.tolist(), last=last.tolist(), limit=PATCH_LIMIT)
    iy, ix = (g.ravel() for g in np.mgrid[first[1] : last[1] + 1, first[0] : last[0] + 1])
    center = np.stack([ix + 0.5, iy + 0.5], axis=-1) * size - 0.5
    touched = _squares_touch(polygon, center, size / 2.0 + FOOTPRINT_MARGIN_PIX)
    return [
        Patch(i, j, i * size, j * size, size, size)
        for i, j in zip(ix[touched].tolist(), iy[touched].tolist(), strict=True)
    ]


def _squares_touch(polygon: np.ndarray, center: np.ndarray, half: float) -> np.ndarray:
    """Tell which squares, (m, 2) centers and half side, touch a convex polygon, (n, 2).

    Two convex shapes are apart only if they are along the normal of one of their edges (separating axis theorem).
    """
    edge = np.roll(polygon, -1, axis=0) - polygon
    normals = np.concatenate([np.eye(2), np.stack([edge[:, 1], -edge[:, 0]], axis=-1)])
    along = normals @ polygon.T
    middle = normals @ center.T
    reach = half * np.sum(np.abs(normals), axis=1)[:, None]
    apart = (middle - reach > along.max(axis=1)[:, None]) | (middle + reach < along.min(axis=1)[:, None])
    return ~apart.any(axis=0)


def patch_center(tract: Tract, patch: Patch) -> tuple[float, float]:
    """Return (ra, dec) [deg] of the center of a patch."""
    ra, dec = pixel_to_sky(tract_wcs(tract), patch.x0 + (patch.nx - 1) / 2.0, patch.y0 + (patch.ny - 1) / 2.0)
    return float(ra), float(dec)
