"""How flexible a matching kernel may be: decided by stars that the fit has not seen."""

from dataclasses import dataclass

import numpy as np

from dbpipe.imaging.kernel.basis import KernelBasis
from dbpipe.imaging.kernel.equations import StarEquations
from dbpipe.imaging.kernel.residuals import reference_noise, residual_squares, star_parameters
from dbpipe.imaging.kernel.solve import solve_kernel
from dbpipe.imaging.kernel.start import StartKernel

N_FOLD = 4
TOLERANCE = 0.001
"""A simpler kernel is preferred if its held-out chi2 is no more than this above the best; noise alone gives 1."""


@dataclass(frozen=True)
class KernelChoice:
    """A basis, the equations in it and the degree of the spatial variation."""

    equations: StarEquations
    basis: KernelBasis
    kernel_order: int


def choose_kernel(
    equations: StarEquations,
    start: StartKernel,
    basis: KernelBasis,
    *,
    stars: np.ndarray,
    shape: tuple[int, int],
    kernel_order: int,
    sum_order: int,
    background_order: int,
) -> KernelChoice:
    """Choose the degrees of the kernel by cross-validation.

    Every combination of smaller degrees of the basis and smaller spatial orders is fitted to three quarters of the
    stars and judged on the rest, in turn.

    Parameters
    ----------
    equations : StarEquations in the largest basis
    start : StartKernel
    basis : KernelBasis, the largest
    stars : (n_star,) bool, those that take part
    shape : (ny, nx) of the image
    kernel_order, sum_order, background_order : int, the largest degrees

    Returns
    -------
    KernelChoice
    """
    index = np.flatnonzero(stars)
    fold = np.arange(len(index)) % N_FOLD
    best = []
    for degree in _smaller_degrees(basis.degree):
        columns = _columns(basis, degree)
        part = _restrict(equations, np.append(columns, len(basis.functions)))
        small = KernelBasis(basis.sigma_pix, degree, basis.functions[columns])
        for order in range(kernel_order + 1):
            orders = (order, min(order, sum_order), background_order)
            chi2 = np.empty(len(index))
            for k in range(N_FOLD):
                taught = np.zeros(len(stars), bool)
                taught[index[fold != k]] = True
                model = solve_kernel(part, start, small, taught, orders, shape)
                judged = part.take(index[fold == k])
                at_star = star_parameters(judged, model)
                # the convolved noise of the reference is not the kernel's fault
                left = residual_squares(judged, at_star) - reference_noise(judged, at_star)
                chi2[fold == k] = left / np.maximum(judged.target_noise, 1e-300)
            # one star with a companion must not decide for all
            held_out = float(np.mean(np.minimum(chi2, np.quantile(chi2, 0.95))))
            n_parameter = len(columns) * (order + 1) * (order + 2) // 2
            best.append((held_out, n_parameter, KernelChoice(part, small, order)))
    limit = min(entry[0] for entry in best) + TOLERANCE
    return min((entry for entry in best if entry[0] <= limit), key=lambda entry: entry[1])[2]


def _smaller_degrees(degree: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the degrees of the basis, and those cut to smaller ones, without repetition."""
    ladder = [tuple(degree)]
    for cut in ((4, 2, 2), (2, 1, 0), (1, 0, 0)):
        smaller = tuple(min(d, c) for d, c in zip(degree, cut, strict=False))
        if smaller not in ladder:
            ladder.append(smaller)
    return ladder


def _columns(basis: KernelBasis, degree: tuple[int, ...]) -> np.ndarray:
    """Return which functions of a basis have at most these degrees."""
    totals = [
        (g, total) for g, largest in enumerate(basis.degree) for total in range(largest + 1) for _ in range(total + 1)
    ]
    # the first function, a pixel, is always there
    return np.array([0] + [k for k, (g, total) in enumerate(totals, 1) if total <= degree[g]])


def _restrict(equations: StarEquations, columns: np.ndarray) -> StarEquations:
    return StarEquations(
        equations.matrix[:, columns][:, :, columns],
        equations.noise[:, columns][:, :, columns],
        equations.vector[:, columns],
        equations.chi2_zero,
        equations.target_noise,
        equations.n_pix,
        equations.x,
        equations.y,
    )
