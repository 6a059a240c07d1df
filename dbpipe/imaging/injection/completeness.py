"""How deep an image is and how right its fluxes are, from sources whose flux is known."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri

from dbpipe.constants import ab_magnitude, robust_sigma

_LN_WIDTH_SIGMA = 1.0
"""Weak prior on the logarithm of the width: keeps it finite where found and lost do not overlap."""
_CEILING_LOGIT, _CEILING_LOGIT_SIGMA = 3.0, 1.5
"""Weak prior on the largest completeness: 0.95, between 0.82 and 0.99 (1 sigma)."""


@dataclass(frozen=True)
class HalfPoint:
    """Where half of the sources are found."""

    value: float
    err: float
    ceiling: float
    """Completeness far above it."""


def fit_half_point(value: np.ndarray, found: np.ndarray, *, width: float) -> HalfPoint | None:
    """Fit where half of the sources are found, by maximum likelihood.

    P(found) = c Phi((value - middle) / w), Phi the cumulative normal distribution: Gaussian noise added to a source
    that is found above a threshold, c < 1 for what no brightness helps, such as masks. The error is that of the
    observed information (Efron & Hinkley 1978 Biometrika 65 457).

    Parameters
    ----------
    value : (n,) float array
        S/N or flux: what noise adds to. For magnitudes there is `fit_half_magnitude`.
    found : (n,) bool array
    width : float
        Expected w, in the unit of the value; the fit may differ from it by a factor of several.

    Returns
    -------
    HalfPoint, or None where the data do not say: all or none found, fewer than 8, half never reached, or the point
    beyond the values or its error more than a fifth of it.
    """
    value, found = np.asarray(value, float), np.asarray(found, bool)
    if len(value) < 8 or found.all() or not found.any():
        return None
    start = np.array([_first_guess(value, found), np.log(width), _CEILING_LOGIT])
    scale = np.array([width, 1.0, 1.0])

    def cost(scaled: np.ndarray) -> float:
        return _negative_log_likelihood(start + scaled * scale, value, found, width)

    best = minimize(cost, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-4, "fatol": 1e-7, "maxiter": 2000})
    ceiling = 1.0 / (1.0 + np.exp(-(start + best.x * scale)[2]))
    if ceiling <= 0.5:
        return None
    point = _half(start + best.x * scale)
    err = _half_err(cost, best.x, lambda scaled: _half(start + scaled * scale))
    if err is None or err > 0.2 * abs(point) or not value.min() <= point <= value.max():
        return None
    return HalfPoint(float(point), float(err), float(ceiling))


def fit_half_magnitude(flux_njy: np.ndarray, found: np.ndarray, *, flux_err_njy: float) -> HalfPoint | None:
    """Fit the AB magnitude at which half of the sources are found, from fluxes and their typical error [nJy]."""
    half = fit_half_point(flux_njy, found, width=flux_err_njy)
    if half is None:
        return None
    return HalfPoint(ab_magnitude(half.value), 2.5 / np.log(10.0) * half.err / half.value, half.ceiling)


def _first_guess(value: np.ndarray, found: np.ndarray) -> float:
    """Return the cut that separates found and lost with the fewest exceptions."""
    order = np.argsort(value)
    n_wrong = np.cumsum(found[order]) + np.sum(~found) - np.cumsum(~found[order])
    return value[order][np.argmin(n_wrong)]


def _negative_log_likelihood(parameters: np.ndarray, value: np.ndarray, found: np.ndarray, width: float) -> float:
    middle, ln_width, logit = parameters
    ceiling = 1.0 / (1.0 + np.exp(-logit))
    p = np.clip(ceiling * ndtr((value - middle) / np.exp(ln_width)), 1e-9, 1.0 - 1e-9)
    prior = ((ln_width - np.log(width)) / _LN_WIDTH_SIGMA) ** 2
    prior += ((logit - _CEILING_LOGIT) / _CEILING_LOGIT_SIGMA) ** 2
    return -np.sum(np.log(np.where(found, p, 1.0 - p))) + 0.5 * prior


def _half(parameters: np.ndarray) -> float:
    middle, ln_width, logit = parameters
    part = 0.5 * (1.0 + np.exp(-logit))
    return middle + np.exp(ln_width) * ndtri(min(part, 1.0 - 1e-9))


def _half_err(
    cost: Callable[..., Any], best: np.ndarray, half: Callable[..., Any], *, step: float = 0.05
) -> float | None:
    """Propagate the covariance, the inverse of the second derivatives; None if it is not one."""
    axes = step * np.eye(3)
    rows = [[_mixed_difference(cost, best, a, b) for a in axes] for b in axes]
    hessian = np.array(rows) / (4.0 * step**2)
    gradient = np.array([half(best + a) - half(best - a) for a in axes]) / (2.0 * step)
    if not np.all(np.linalg.eigvalsh(hessian) > 0):
        return None
    return float(np.sqrt(gradient @ np.linalg.solve(hessian, gradient)))


def _mixed_difference(cost: Callable[..., Any], at: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    return cost(at + a + b) - cost(at + a - b) - cost(at - a + b) + cost(at - a - b)


@dataclass(frozen=True)
class FluxQuality:
    """How measured fluxes compare with true ones. NaN where there are too few."""

    n: int
    bias: float
    """Mean of measured over true, minus 1, each with the weight of its S/N squared."""
    bias_err: float
    pull_mean: float
    """Of (measured - true) / error."""
    pull_std: float
    pull_robust_std: float
    """1.4826 x median absolute deviation from the median."""


def measure_fluxes(
    flux: Sequence[float] | np.ndarray,
    flux_err: Sequence[float] | np.ndarray,
    true_flux: Sequence[float] | np.ndarray,
    true_flux_err: Sequence[float] | np.ndarray,
    *,
    n_min: int = 2,
) -> FluxQuality:
    """Compare fluxes with the true ones; all (n,) arrays in one unit, the last one the error that was expected.

    The weights are those of the expected error: the measured one knows of the noise. What is NaN does not count.
    """
    given = [np.asarray(values, float) for values in (flux, flux_err, true_flux, true_flux_err)]
    usable = np.isfinite(given).all(axis=0)
    flux, flux_err, true_flux, true_flux_err = (values[usable] for values in given)
    if len(flux) < n_min:
        return FluxQuality(len(flux), *[np.nan] * 5)
    information = np.square(true_flux / true_flux_err).sum()
    bias = np.sum((flux - true_flux) * true_flux / true_flux_err**2) / information
    pull = (flux - true_flux) / flux_err
    return FluxQuality(
        len(flux),
        float(bias),
        float(information**-0.5),
        float(pull.mean()),
        float(pull.std(ddof=1)),
        robust_sigma(pull),
    )
