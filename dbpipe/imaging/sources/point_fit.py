"""Point sources on a difference image: flux and position of each, neighbors taken into account.

Sources closer than a blend are one group and are fitted jointly by Levenberg-Marquardt (`blend_fit`). Groups whose
circles overlap are fitted in turn, each with the others' models subtracted, until nothing moves (block Gauss-Seidel:
the joint least-squares solution); beyond a blend the covariance of two sources is negligible.

The maximum-likelihood position lies where the noise adds flux: at true S/N q the fitted flux is too large by about
1 / q^2 (two fitted coordinates add 2 to the expected delta chi2, so q_fit^2 = q^2 + 2): 4% at 5, 1% at 10.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from dbpipe.imaging.psf.spline import render
from dbpipe.imaging.sources.blend_fit import Box, cut_box, fit_group, subtract_models

_FLUX_SWEEPS = 4
_MAX_SWEEPS = 12
_BLEND_RADII = 0.6
"""Sources within this part of the fit radius (1.5 FWHM) of each other are one group."""
_MAX_GROUP = 6


@dataclass(frozen=True)
class PointSourceFit:
    """Arrays of length n; NaN where there is no answer."""

    flux: np.ndarray
    """[image unit] at the fitted position, or at the start where the fit failed."""
    flux_err: np.ndarray
    x: np.ndarray
    """[pix]"""
    y: np.ndarray
    x_err: np.ndarray
    """[pix] standard error; NaN where the fit failed."""
    y_err: np.ndarray
    xy_cov: np.ndarray
    """[pix2]"""
    chi2: np.ndarray
    n_pix: np.ndarray
    """int64, pixels with weight in the circle."""
    converged: np.ndarray
    """bool"""

    def take(self, index: np.ndarray) -> "PointSourceFit":
        """Return the fits of these sources, in this order."""
        return PointSourceFit(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def fit_point_sources(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf_spline: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    radius_pix: float,
    max_shift_pix: float = 2.0,
) -> PointSourceFit:
    """Fit flux and position of point sources.

    Parameters
    ----------
    image, variance : (ny, nx) float32 arrays
    mask : (ny, nx) uint16 array; unusable pixels get no weight
    psf_spline : (n, size, size) float32 array, `spline_coefficients` of the PSF at each source
    x, y : (n,) start [pix]; put the brightest first
    radius_pix : float
        Radius of the fit; about 2.5 FWHM loses nothing.
    max_shift_pix : float
        A fit that wanders further from its start has failed.

    Returns
    -------
    PointSourceFit
    """
    x, y, radius_pix = np.asarray(x, np.float64), np.asarray(y, np.float64), float(radius_pix)
    scene = _Scene((image, variance, mask), psf_spline, x, y, radius_pix, *_neighbor_lists(x, y, 2.0 * radius_pix))
    state, covariance, converged = _fit_all(scene, float(max_shift_pix))
    return _collect(state, covariance, *_misfit(scene, state), converged, x, y)


class _Scene(NamedTuple):
    """What is fitted, and where it starts."""

    planes: tuple[np.ndarray, np.ndarray, np.ndarray]
    spline: np.ndarray
    x: np.ndarray
    y: np.ndarray
    radius_pix: float
    first: np.ndarray
    """(n + 1,) where the neighbors of each source begin"""
    neighbor: np.ndarray

    def near(self, i: int) -> np.ndarray:
        """Return the sources whose circles overlap that of source i, nearest first."""
        return self.neighbor[self.first[i] : self.first[i + 1]]

    def cut(self, members: np.ndarray) -> Box:
        """Return the box of these sources."""
        return cut_box(self.planes, self.x[members], self.y[members], self.radius_pix)


def _collect(
    state: np.ndarray,
    covariance: np.ndarray,
    chi2: np.ndarray,
    n_pix: np.ndarray,
    converged: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
) -> PointSourceFit:
    sigma = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    failed = ~converged
    position_err = np.where(failed[:, None], np.nan, sigma[:, 1:])
    flux_err = np.where(sigma[:, 0] > 0, sigma[:, 0], np.nan)
    return PointSourceFit(
        flux=np.where(np.isfinite(flux_err), state[:, 0], np.nan),
        flux_err=flux_err,
        x=np.where(failed, x, state[:, 1]),
        y=np.where(failed, y, state[:, 2]),
        x_err=position_err[:, 0],
        y_err=position_err[:, 1],
        xy_cov=np.where(failed, np.nan, covariance[:, 1, 2]),
        chi2=np.where(n_pix > 0, chi2, np.nan),
        n_pix=n_pix,
        converged=converged,
    )


def group_sources(x: np.ndarray, y: np.ndarray, blend_pix: float) -> np.ndarray:
    """Return the group of each source, (n,) int64: each joins its nearest predecessor within ``blend_pix``, if any.

    A group has at most 6 members.
    """
    group = np.arange(len(x))
    size = np.ones(len(x), np.int64)
    start, neighbor = _neighbor_lists(x, y, blend_pix)
    for i in range(len(x)):
        for j in neighbor[start[i] : start[i + 1]]:
            if j < i and size[group[j]] < _MAX_GROUP:
                group[i] = group[j]
                size[group[j]] += 1
                break
    return group


def _neighbor_lists(x: np.ndarray, y: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return start (n + 1) and neighbor: those of source i are neighbor[start[i]:start[i + 1]], nearest first."""
    if not len(x):
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(reach, output_type="ndarray")
    both = np.concatenate([pairs, pairs[:, ::-1]]).astype(np.int64)
    distance = np.hypot(x[both[:, 0]] - x[both[:, 1]], y[both[:, 0]] - y[both[:, 1]])
    both = both[np.lexsort((both[:, 1], distance, both[:, 0]))]
    start = np.searchsorted(both[:, 0], np.arange(len(x) + 1))
    return start, np.ascontiguousarray(both[:, 1])


def _fit_all(scene: _Scene, max_shift_pix: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return state (n, 3), covariance (n, 3, 3) and whether each fit has converged."""
    n, places = len(scene.x), np.column_stack([scene.x, scene.y])
    group = group_sources(scene.x, scene.y, _BLEND_RADII * scene.radius_pix)
    groups = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group, minlength=n))[:-1])
    state = np.column_stack([_first_fluxes(scene), places])
    covariance, converged = np.zeros((n, 3, 3)), np.zeros(n, bool)
    for sweep in range(_MAX_SWEEPS):
        moved = False
        for members in filter(len, groups):
            near = np.concatenate([scene.near(i) for i in members])
            others = np.unique(near[group[near] != group[members[0]]])
            if not len(others) and sweep > 0:
                continue
            box, fitted = scene.cut(members), state[members]
            subtract_models(box, scene.spline, state, others)
            good, block = fit_group(box, scene.spline[members], places[members], max_shift_pix, fitted)
            if len(others):
                change = np.abs(fitted - state[members])
                far = (change[:, 1:] > 2e-3).any(axis=1) | (change[:, 0] > 1e-2 * np.sqrt(block[:, 0, 0]))
                moved = moved or bool(far.any())
            state[members], converged[members], covariance[members] = fitted, good, block
        if not moved:
            break
    return state, covariance, converged


def _first_fluxes(scene: _Scene) -> np.ndarray:
    """Return fluxes at fixed places, those of neighbors nearly solved for: some sweeps of Gauss and Seidel."""
    flux, sums = np.zeros(len(scene.x)), []
    for i in range(len(scene.x)):
        box = scene.cut(np.array([i]))
        psf, *others = (
            render(scene.spline[k], scene.x[k], scene.y[k], box.left, box.bottom, len(box.data))[0]
            for k in (i, *scene.near(i))
        )
        weighted = box.weight * psf
        overlap = np.array([np.vdot(weighted, other) for other in others])
        sums.append((scene.near(i), np.vdot(weighted, box.data), np.vdot(weighted, psf), overlap))
    for _ in range(_FLUX_SWEEPS):
        for i, (near, total, information, overlap) in enumerate(sums):
            flux[i] = (total - overlap @ flux[near]) / information if information > 0.0 else 0.0
    return flux


def _misfit(scene: _Scene, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return chi2 of all models on the circle around each place, and the number of pixels with weight."""
    chi2, n_pix = np.zeros(len(state)), np.zeros(len(state), np.int64)
    for i in range(len(state)):
        box = scene.cut(np.array([i]))
        subtract_models(box, scene.spline, state, (i, *scene.near(i)))
        chi2[i], n_pix[i] = np.sum(box.weight * box.data**2), np.count_nonzero(box.weight)
    return chi2, n_pix
