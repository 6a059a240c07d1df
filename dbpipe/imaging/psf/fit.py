"""Fit the PSF model to stars, each where it falls on the pixels: nothing is interpolated, so nothing is smoothed.

The PSF is a Moffat envelope times a smooth correction, a linear model in polar functions,

    P(u; x, y) = M(r) [1 + sum_j terms_j(x, y) sum_mn c_jmn B_n(t) g_m(r) {cos, sin}(m theta)],   t = ln(1 + r^2 / a^2),

with M(r) = (1 + r^2 / a^2)^-beta = exp(-beta t), elliptical r and theta, cubic B-splines B_n uniform in t (dense in the
core, logarithmic in the wing) and g_m = (r^2 / (r^2 + a^2))^(m/2), which keeps harmonics smooth at the center.
A Gaussian prior on c holds the correction where the stars say nothing: there the wing is the envelope's.
Where Lupton et al. 2001 (ASP Conf. 238 269) find the basis by principal components of resampled stars, here it is
chosen so that noise has few ways in: all stars and all spatial terms are solved together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from dbpipe.constants import robust_sigma
from dbpipe.errors import DataError
from dbpipe.imaging.polynomial import terms
from dbpipe.imaging.psf.model import PsfModel

CLIP = 4.0
"""A star is dropped if ln(chi2) lies so many robust deviations above the median."""
N_ITERATION = 4
"""Rounds of fit, flux and clipping, at most."""
CONVERGED = 5e-4
"""Median relative change of the fluxes of stars, from one round to the next, below which the model stands: a tenth of
`_MODEL_FLOOR`. What goes on changing is how much of its sky a star keeps, which the stars hardly know."""
N_STAR_MIN = 3
"""Fewer stars cannot be told from a star and two blends."""

_KNOT_STEP = 0.5
"""Spacing of the radial splines in t."""
_ORDER_MAX = 4
"""Highest angular order; a square pixel needs the fourth."""
_MODEL_FLOOR = 0.005
"""Relative error that no pixel of a star beats, so that the brightest star does not dictate the model."""
_PRIOR_RADIAL, _PRIOR_HARMONIC = 0.5, 0.2
"""Prior standard deviations of the relative correction of the profile and of its shape."""
_PRIOR_STEP = 0.1
"""Prior standard deviation of the step from one radial spline to the next."""
_PRIOR_SPATIAL = 0.3
"""Factor on all of these for the spatial terms."""


@dataclass(frozen=True)
class StarStamps:
    """Cut-outs of stars, neighbors subtracted.

    ``flux`` (n, size, size) [electron]; ``inverse_variance`` the same shape, 0 where unusable; ``x``, ``y`` (n,) [pix].
    The central pixel of stamp k is (round(x_k), round(y_k)).
    """

    flux: np.ndarray
    inverse_variance: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def take(self, index: slice) -> "StarStamps":
        """Return some of the stamps."""
        return StarStamps(self.flux[index], self.inverse_variance[index], self.x[index], self.y[index])


@dataclass(frozen=True)
class _Envelope:
    """Elliptical Moffat: ``metric`` (2, 2) gives r^2 = u.T metric u, unit determinant."""

    metric: np.ndarray
    scale_pix: float
    beta: float
    n_radial: int


@dataclass(frozen=True)
class PsfFit:
    """A fitted PSF."""

    model: PsfModel
    is_used: np.ndarray
    """(n,) bool: stars that were not clipped."""
    reduced_chi2: np.ndarray
    """(n,) core residual of each star against its noise and the model floor."""


def fit_psf(
    stars: StarStamps,
    moments: tuple[float, ...],
    *,
    shape: tuple[int, ...],
    degree: int,
    level_sigma_e: float = 0.0,
) -> PsfFit:
    """Fit a spatially varying PSF to stars and drop the stars that do not look like it.

    Parameters
    ----------
    stars : StarStamps, bright and clean
    moments : (ixx, iyy, ixy) [pix2] of a typical star: the envelope's shape
    shape : (ny, nx) of the image
    degree : int, of the spatial polynomial
    level_sigma_e : float [electron], how far the sky under one star may be off; each star has its own constant,
        marginalised with this prior, so that the light of faint neighbors does not become a wing of the PSF

    Raises
    ------
    DataError
        If fewer than `N_STAR_MIN` stars are left.
    """
    size = stars.flux.shape[-1]
    envelope = _fit_envelope(stars, moments)
    design = [_functions(stars.x[k], stars.y[k], size, envelope) for k in range(len(stars))]
    spatial = terms(stars.x, stars.y, shape, degree)
    coefficients = _envelope_coefficients(envelope, spatial.shape[1])
    used, flux = np.ones(len(stars), bool), np.zeros(len(stars))
    for iteration in range(N_ITERATION):
        before = used, flux
        single = (spatial @ coefficients).astype(np.float32)
        profiles = [(f @ c).astype(float) for f, c in zip(design, single, strict=True)]
        flux, _, chi2 = _scale_to_stars(stars, profiles, level_sigma_e)
        used = _clip_stars(chi2, flux, stars, clip=CLIP if iteration else 3.0 * CLIP)
        if used.sum() < N_STAR_MIN:
            raise DataError("too few stars fit the PSF", n_star=int(used.sum()), n_required=N_STAR_MIN)
        if iteration > 1 and np.array_equal(used, before[0]) and _median_change(flux, before[1], used) < CONVERGED:
            break
        coefficients = _solve(stars, design, spatial, flux, profiles, used, envelope, level_sigma_e)
    centered = _functions(0.0, 0.0, size, envelope)
    basis = (coefficients @ centered.T).reshape(-1, size, size)
    return PsfFit(PsfModel(basis / basis[0].sum(), tuple(shape), degree), used, chi2)


def _median_change(flux: np.ndarray, before: np.ndarray, used: np.ndarray) -> float:
    return float(np.median(np.abs(flux[used] / before[used] - 1.0)))


def spatial_degree(n_star: int, degree_max: int) -> int:
    """Return the degree of the spatial polynomial that this many stars can carry."""
    allowed = 0 if n_star < 10 else 1 if n_star < 30 else 2
    return min(allowed, degree_max)


def _fit_envelope(stars: StarStamps, moments: tuple[float, ...]) -> _Envelope:
    """Fit scale and slope of the elliptical Moffat to the stacked radial profile of the stars."""
    ixx, iyy, ixy = moments
    shape = np.array([[ixx, ixy], [ixy, iyy]])
    metric = np.linalg.inv(shape / np.sqrt(np.linalg.det(shape)))
    sigma = np.linalg.det(shape) ** 0.25
    size = stars.flux.shape[-1]
    edges = np.concatenate([np.arange(0.0, 3.0 * sigma, 0.25 * sigma), np.geomspace(3.0 * sigma, 0.7 * size, 12)])
    profiles = []
    for k in range(len(stars)):
        radius = np.sqrt(_radius2(stars.x[k], stars.y[k], size, metric))
        weight = stars.inverse_variance[k].ravel()
        bins = np.digitize(radius, edges) - 1
        count = np.bincount(bins, weight > 0, len(edges))[:-1]
        total = np.bincount(bins, np.where(weight > 0, stars.flux[k].ravel(), 0.0), len(edges))[:-1]
        core = (radius < 3.0 * sigma) & (weight > 0)
        with np.errstate(invalid="ignore"):
            profiles.append(total / count / stars.flux[k].ravel()[core].sum())
    profile, middle = _nan_median(np.array(profiles)), 0.5 * (edges[1:] + edges[:-1])
    good = np.isfinite(profile)
    tolerance = 0.02 * np.abs(profile[good]) + 2e-4 * np.nanmax(profile)

    def residual(parameters: np.ndarray) -> np.ndarray:
        amplitude, log_scale, beta = parameters
        model = np.exp(amplitude) * (1.0 + (middle[good] / np.exp(log_scale)) ** 2) ** -beta
        return (model - profile[good]) / tolerance

    start = [np.log(np.nanmax(profile)), np.log(2.5 * sigma), 3.5]
    bounds = [-np.inf, np.log(0.3 * sigma), 1.5], [np.inf, np.log(9.0 * sigma), 12.0]
    from scipy.optimize import least_squares  # loads for a quarter of a second

    fit = least_squares(residual, start, bounds=bounds)
    scale = float(np.exp(fit.x[1]))
    t_max = np.log1p((0.75 * size / scale) ** 2)
    return _Envelope(metric, scale, float(fit.x[2]), int(np.ceil(t_max / _KNOT_STEP)) + 3)


def _nan_median(profiles: np.ndarray) -> np.ndarray:
    """Median over stars, NaN only where no star has a pixel."""
    filled = np.isfinite(profiles).any(axis=0)
    median = np.full(profiles.shape[1], np.nan)
    median[filled] = np.nanmedian(profiles[:, filled], axis=0)
    return median


def _offsets(x: float, y: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    v, u = np.mgrid[:size, :size] - float(size // 2)
    return (u - (x - np.floor(x + 0.5))).ravel(), (v - (y - np.floor(y + 0.5))).ravel()


def _radius2(x: float, y: float, size: int, metric: np.ndarray) -> np.ndarray:
    u, v = _offsets(x, y, size)
    return metric[0, 0] * u**2 + 2.0 * metric[0, 1] * u * v + metric[1, 1] * v**2


def _harmonics(envelope: _Envelope) -> list[tuple[int, int]]:
    """Return for every function its (order m, radial index n), in the order of `_functions`."""
    counts = [_n_radial(envelope, m) for m in range(_ORDER_MAX + 1)]
    return [(m, n) for m, count in enumerate(counts) for _ in range(2 if m else 1) for n in range(count)]


def _n_radial(envelope: _Envelope, m: int) -> int:
    """Return how many radial functions harmonic m has: the finer ones live in the core only."""
    return envelope.n_radial if m < 3 else min(envelope.n_radial, 9)


def _functions(x: float, y: float, size: int, envelope: _Envelope) -> np.ndarray:
    """Evaluate all functions on the pixels of a stamp whose source sits at (x, y): (size^2, n_function) float32."""
    u, v = _offsets(x, y, size)
    upper = np.linalg.cholesky(envelope.metric).T
    p, q = upper[0, 0] * u + upper[0, 1] * v, upper[1, 1] * v
    r2 = p * p + q * q
    t = np.log1p(r2 / envelope.scale_pix**2)
    radial = (_splines(t / _KNOT_STEP, envelope.n_radial) * np.exp(-envelope.beta * t)).astype(np.float32)
    turn = (p + 1j * q) / np.sqrt(r2 + envelope.scale_pix**2)
    functions = np.empty((len(_harmonics(envelope)), len(t)), np.float32)
    functions[: envelope.n_radial] = radial
    at, power = envelope.n_radial, np.ones_like(turn)
    for m in range(1, _ORDER_MAX + 1):
        power = power * turn
        count = _n_radial(envelope, m)
        for part in (power.real, power.imag):
            np.multiply(radial[:count], part.astype(np.float32), out=functions[at : at + count])
            at += count
    return functions.T


def _splines(place: np.ndarray, n: int) -> np.ndarray:
    """Cubic B-splines of unit spacing about -1, 0, ... n - 2: (n, n_place) values at places from 0 on.

    At each place four of them are not zero (de Boor 1978, A Practical Guide to Splines, chapter X).
    """
    below = np.minimum(place.astype(int), n - 3)
    u = place - below
    values = np.zeros((n, len(place)))
    columns = np.arange(len(place))
    values[below, columns] = (1.0 - u) ** 3 / 6.0
    values[below + 1, columns] = (3.0 * u**3 - 6.0 * u**2 + 4.0) / 6.0
    values[below + 2, columns] = (-3.0 * u**3 + 3.0 * u**2 + 3.0 * u + 1.0) / 6.0
    inside = below + 3 < n
    values[below[inside] + 3, columns[inside]] = u[inside] ** 3 / 6.0
    return values


def _envelope_coefficients(envelope: _Envelope, n_terms: int) -> np.ndarray:
    """Return the coefficients (n_terms, n_function) of the bare Moffat everywhere: B-splines sum to one."""
    coefficients = np.zeros((n_terms, len(_harmonics(envelope))))
    coefficients[0, : envelope.n_radial] = 1.0
    return coefficients


def _scale_to_stars(
    stars: StarStamps, profiles: Sequence[np.ndarray], level_sigma_e: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure each star's flux in units of its profile and the sky under it, and how well that fits its core."""
    flux, levels, chi2 = np.empty(len(stars)), np.empty(len(stars)), np.empty(len(stars))
    for k, profile in enumerate(profiles):
        weight = stars.inverse_variance[k].ravel()
        data, seen = stars.flux[k].ravel(), weight > 0
        flux[k], levels[k] = _amplitude_and_level(data[seen], profile[seen], weight[seen], level_sigma_e)
        core = seen & (profile > 0.02 * profile.max())
        variance = 1.0 / weight[core] + (_MODEL_FLOOR * flux[k] * profile[core]) ** 2
        chi2[k] = ((data[core] - levels[k] - flux[k] * profile[core]) ** 2 / variance).mean()
    return flux, levels, chi2


def _amplitude_and_level(
    data: np.ndarray, profile: np.ndarray, weight: np.ndarray, level_sigma_e: float
) -> tuple[float, float]:
    """Fit data = flux profile + level by least squares with equal weights and a prior of zero mean on the level."""
    ridge = (np.median(1.0 / weight) / level_sigma_e**2) if level_sigma_e > 0.0 else np.inf
    square, cross, total = (profile**2).sum(), profile.sum(), (data * profile).sum()
    if not np.isfinite(ridge):
        return total / square, 0.0
    determinant = square * (len(data) + ridge) - cross**2
    flux = (total * (len(data) + ridge) - cross * data.sum()) / determinant
    return flux, (square * data.sum() - cross * total) / determinant


def _clip_stars(chi2: np.ndarray, flux: np.ndarray, stars: StarStamps, *, clip: float) -> np.ndarray:
    """Keep stars whose residual is like that of the others; one with half its light masked says nothing."""
    size = stars.flux.shape[-1]
    middle = slice(size // 2 - 2, size // 2 + 3)
    whole = (stars.inverse_variance[:, middle, middle] > 0).all(axis=(1, 2)) & (flux > 0)
    log_chi2 = np.log(np.maximum(chi2, 1e-6))
    if not whole.any():
        return whole
    median = np.median(log_chi2[whole])
    scatter = max(robust_sigma(log_chi2[whole], median), 0.2)
    return whole & (log_chi2 < median + clip * scatter)


def _solve(
    stars: StarStamps,
    design: Sequence[np.ndarray],
    spatial: np.ndarray,
    flux: np.ndarray,
    profiles: Sequence[np.ndarray],
    used: np.ndarray,
    envelope: _Envelope,
    level_sigma_e: float,
) -> np.ndarray:
    """Solve the weighted normal equations of all stars with the prior: coefficients (n_terms, n_function)."""
    index = np.flatnonzero(used)
    n_function, n_terms = design[0].shape[1], spatial.shape[1]
    grams, rights = np.empty((len(index), n_function**2)), np.empty((len(index), n_function))
    for row, k in enumerate(index.tolist()):
        inverse = stars.inverse_variance[k].ravel()
        weight = inverse * flux[k] ** 2 / (1.0 + inverse * (_MODEL_FLOOR * flux[k] * profiles[k]) ** 2)
        root = np.sqrt(weight).astype(np.float32)
        scaled = design[k] * root[:, None]  # the product with its own transpose is half the work of any other
        data = (stars.flux[k].ravel() / flux[k]).astype(np.float32)
        level_sigma = level_sigma_e / abs(flux[k])
        shift = (root @ scaled).astype(float)
        share = level_sigma**2 / (1.0 + level_sigma**2 * weight.sum())  # integrates the star's own sky level out
        grams[row] = (scaled.T @ scaled - share * np.outer(shift, shift)).ravel()
        rights[row] = (root * data) @ scaled - share * shift * (weight @ data)
    pairs = (spatial[index, :, None] * spatial[index, None, :]).reshape(len(index), -1)
    normal = (pairs.T @ grams).reshape(n_terms, n_terms, n_function, n_function).transpose(0, 2, 1, 3)
    normal = normal.reshape(n_terms * n_function, -1) + _prior(envelope, n_terms)
    start = _envelope_coefficients(envelope, n_terms)
    right = (spatial[index].T @ rights).ravel() + _prior(envelope, n_terms) @ start.ravel()
    return cho_solve(cho_factor(normal), right).reshape(n_terms, n_function)


def _prior(envelope: _Envelope, n_terms: int) -> np.ndarray:
    """Return the inverse covariance of the coefficients about the bare envelope."""
    harmonics = _harmonics(envelope)
    one = np.zeros((len(harmonics), len(harmonics)))
    for row, (m, n) in enumerate(harmonics):
        sigma = _PRIOR_HARMONIC if m else _PRIOR_RADIAL
        one[row, row] += 1.0 / sigma**2
        if n > 0:  # the function before is the same harmonic, one knot inwards
            one[row - 1 : row + 1, row - 1 : row + 1] += np.array([[1.0, -1.0], [-1.0, 1.0]]) / _PRIOR_STEP**2
    factors = np.full(n_terms, _PRIOR_SPATIAL**-2)
    factors[0] = 1.0
    return np.kron(np.diag(factors), one)
