"""Fit a plate to matched stars: with which terms, at which weights, without which stars.

The plane coordinates are linear in the coefficients, so each fit is one linear least-squares problem. What is fitted
is a correction to a first plate: a similarity, a linear map, or polynomials, whichever should predict best.
"""

import math
from dataclasses import dataclass

import numpy as np

from dbpipe.sky.astrometry.tansip import Plate

CLIP_SIGMA = 4.0
MIN_STAR = 3
LEAST_FREEDOM = 1e-3
"""What is left of a star's weight, at least, when a fit follows it."""
FIRST_FLOOR_PIX = 0.05
FLOOR_PIX = np.geomspace(1e-4, 10.0, 100)
T4_WIDTH_OF_GAUSSIAN = 0.8310
"""Width of the t distribution of 4 degrees of freedom most likely for Gaussian numbers of unit width (numerical)."""


@dataclass(frozen=True)
class Pairs:
    """Matched stars: pixel positions with their error along one axis, and reference positions [deg]."""

    x: np.ndarray
    y: np.ndarray
    err_pix: np.ndarray
    ra: np.ndarray
    dec: np.ndarray

    def __getitem__(self, index: np.ndarray) -> "Pairs":
        return Pairs(*(getattr(self, name)[index] for name in ("x", "y", "err_pix", "ra", "dec")))

    def residuals_pix(self, plate: Plate) -> np.ndarray:
        """Return (n, 2) plate minus catalog, in units of the pixel side."""
        return (plate.plane(self.x, self.y) - plate.project(self.ra, self.dec)) / plate.pixel_scale_deg


@dataclass(frozen=True)
class Model:
    """What is fitted: a similarity (degree 0) or full polynomials of a degree, and perhaps the radial cubic term.

    A camera with third-order radial distortion r^2 (x, y) about its axis has, on any of its detectors, this cubic term
    and polynomials of degree 2: 13 parameters where a full cubic has 20.
    """

    degree: int
    radial: bool = False

    @property
    def n_parameter(self) -> int:
        """Number of parameters of both axes."""
        return ((self.degree + 1) * (self.degree + 2) if self.degree else 4) + self.radial


@dataclass(frozen=True)
class Fit:
    """A clipped fit of one model."""

    plate: Plate
    keep: np.ndarray
    """(n,) bool: not clipped"""
    sigma_pix: np.ndarray
    """(n,) error of each star along one axis, floor included"""
    model: Model
    held_out_pix: np.ndarray
    """(n, 2) residual of each star, in pixels, about the fit to all the others"""


def similar_plate(plate: Plate, pairs: Pairs, weight: np.ndarray) -> Plate:
    """Fit shift, rotation and scale of a plate, target = f z + t in complex numbers; twice, for the plane moves."""
    for _ in range(2):
        z = plate.plane(pairs.x, pairs.y) @ np.array([1.0, 1.0j])
        target = plate.project(pairs.ra, pairs.dec) @ np.array([1.0, 1.0j])
        z_mean, target_mean = np.average(z, weights=weight), np.average(target, weights=weight)
        factor = np.vdot(z - z_mean, weight * (target - target_mean)) / np.vdot(z - z_mean, weight * (z - z_mean))
        shift = target_mean - factor * z_mean
        turned = plate.turned(np.array([[factor.real, -factor.imag], [factor.imag, factor.real]]))
        plate = turned.corrected(np.array([[shift.real, 0.0, 0.0], [shift.imag, 0.0, 0.0]]))
    return plate


def _polynomial(plate: Plate, pairs: Pairs, weight: np.ndarray, model: Model) -> Plate:
    """Add the terms of a model to a plate, in two rounds as the tangent point moves."""
    root = np.sqrt(weight)[:, None]
    design = _design(plate, pairs, root, model)
    unit = plate.radial_terms()
    n_term = (design.shape[1] - model.radial) // 2
    for _ in range(2):
        missing = (plate.project(pairs.ra, pairs.dec) - plate.plane(pairs.x, pairs.y)) * root
        solution, *_ = np.linalg.lstsq(design, missing.T.ravel(), rcond=None)
        if model.radial:
            plate = plate.corrected(solution[-1] * unit)
        plate = plate.corrected(solution[: 2 * n_term].reshape(2, n_term))
    return plate


def _design(plate: Plate, pairs: Pairs, root: np.ndarray, model: Model) -> np.ndarray:
    """Return the weighted (2 n, n_parameter) matrix of the least squares of a polynomial model, first xi, then eta."""
    terms = plate.terms(pairs.x, pairs.y, model.degree) * root
    nothing = np.zeros_like(terms)
    design = np.block([[terms, nothing], [nothing, terms]])
    if model.radial:
        radial = plate.terms(pairs.x, pairs.y, 3) * root @ plate.radial_terms().T
        design = np.column_stack([design, radial.T.ravel()])
    return design


def _held_out(plate: Plate, pairs: Pairs, keep: np.ndarray, sigma: np.ndarray, model: Model) -> np.ndarray:
    """Return the residual (n, 2) in pixels of each star about the fit to all the others, without fitting again.

    Leaving out a star with residual r and its 2 x 2 part H of the hat matrix makes the residual (I - H)^-1 r (Cook &
    Weisberg 1982, Residuals and influence in regression, eq. 2.2.22). Clipped stars were never in the fit.
    """
    residual = pairs.residuals_pix(plate)
    if not model.degree:  # the four parameters of a similarity, shared evenly
        return residual / max(1.0 - model.n_parameter / max(2 * int(np.count_nonzero(keep)), 1), LEAST_FREEDOM)
    basis, _ = np.linalg.qr(_design(plate, pairs[keep], 1.0 / sigma[keep][:, None], model))
    of_star = np.stack([basis[: len(basis) // 2], basis[len(basis) // 2 :]], axis=1)
    freedom = np.eye(2) - of_star @ of_star.transpose(0, 2, 1)
    # a star that a term follows alone foretells nothing of itself
    values, axes = np.linalg.eigh(freedom)
    inverse = axes / np.maximum(values, LEAST_FREEDOM)[:, None, :] @ axes.transpose(0, 2, 1)
    held_out = residual.copy()
    held_out[keep] = (inverse @ residual[keep][..., None])[..., 0]
    return held_out


def _clipped_fit(plate: Plate, pairs: Pairs, model: Model) -> Fit:
    """Fit a model, find the error floor, clip stars off by more than four sigma, until nothing changes."""
    keep, floor = np.ones(len(pairs.x), bool), FIRST_FLOOR_PIX
    for _ in range(15):
        kept, weight = pairs[keep], 1.0 / (pairs.err_pix[keep] ** 2 + floor**2)
        fitted = _polynomial(plate, kept, weight, model) if model.degree else similar_plate(plate, kept, weight)
        residual, floor_before = pairs.residuals_pix(fitted), floor
        floor = _error_floor(residual[keep], kept.err_pix, model.n_parameter)
        sigma = np.hypot(pairs.err_pix, floor)
        still = np.hypot(*residual.T) < CLIP_SIGMA * sigma
        if np.count_nonzero(still) < max(MIN_STAR, model.n_parameter // 2):
            break
        if np.array_equal(still, keep) and floor == floor_before:
            break
        keep = still
    return Fit(fitted, keep, sigma, model, _held_out(fitted, pairs, keep, sigma, model))


def _error_floor(residual: np.ndarray, err_pix: np.ndarray, n_parameter: int) -> float:
    """Return what must be added in quadrature to the errors of stars to make their residuals (n, 2) most likely.

    The likelihood is that of Student's t of 4 degrees of freedom, so that a few outliers do not count.
    """
    stretch = math.sqrt(residual.size / max(residual.size - n_parameter, 1.0))
    sigma = T4_WIDTH_OF_GAUSSIAN * np.hypot(err_pix, FLOOR_PIX[:, None])[..., None]
    log_likelihood = -np.log(sigma) - 2.5 * np.log1p((residual * stretch / sigma) ** 2 / 4.0)
    return FLOOR_PIX[np.argmax(np.sum(log_likelihood, axis=(1, 2)))]


def choose_model(plate: Plate, pairs: Pairs, sip_order_max: int) -> Fit:
    """Fit every model that the number of stars allows and return the one that foretells stars not in its fit best.

    Each star is compared with the fit to all the others. The errors are those of the largest model, and the chi2 of a
    star is bounded at the clipping limit, so that fits that clipped different stars compare.
    """
    models = [Model(1), Model(1, radial=True), Model(2), Model(2, radial=True)]
    models += [Model(degree) for degree in range(3, sip_order_max + 1)]
    allowed = [m for m in models if (3 if m.radial else m.degree) <= sip_order_max]
    fits = [_clipped_fit(plate, pairs, m) for m in allowed if m.n_parameter <= len(pairs.x)]
    if not fits:
        return _clipped_fit(plate, pairs, Model(0))
    sigma = fits[-1].sigma_pix

    def criterion(fit: Fit) -> float:
        return np.sum(np.minimum(np.sum(fit.held_out_pix**2, axis=1) / sigma**2, CLIP_SIGMA**2))

    return min(fits, key=criterion)
