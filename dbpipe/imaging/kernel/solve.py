"""Solve for the matching kernel: all stars together, without the noise of the reference."""

import numpy as np
from scipy.linalg import eigh

from dbpipe.imaging.kernel.basis import KernelBasis, KernelModel
from dbpipe.imaging.kernel.equations import StarEquations
from dbpipe.imaging.kernel.start import StartKernel
from dbpipe.imaging.polynomial import term_count, terms

RIDGE = 1e-9
"""Added to the diagonal of the normalized equations: keeps degenerate terms at zero."""


def solve_kernel(
    equations: StarEquations,
    start: StartKernel,
    basis: KernelBasis,
    kept: np.ndarray,
    orders: tuple[int, int, int],
    shape: tuple[int, int],
) -> KernelModel:
    """Solve the normal equations of the kept stars; ``orders`` are those of kernel, flux ratio and background."""
    kernel_order, sum_order, background_order = orders
    n_basis = len(basis.functions)
    index = np.flatnonzero(kept)
    spatial = terms(equations.x[index], equations.y[index], shape, max(kernel_order, background_order))
    n_kernel, n_sum, n_back = term_count(kernel_order), term_count(sum_order), term_count(background_order)
    # parameter p of a star varies over the image with n_term[p] monomials
    n_term = np.full(n_basis + 1, n_kernel)
    n_term[0], n_term[-1] = min(n_sum, n_kernel), n_back
    widest = int(n_term.max())
    pairs = spatial[:, :widest, None] * spatial[:, None, :widest]
    use = (np.arange(widest)[None, :] < n_term[:, None]).ravel()
    normal, noise = (_assemble(part[index], pairs, use) for part in (equations.matrix, equations.noise))
    right = np.einsum("sp,sa->pa", equations.vector[index], spatial[:, :widest]).ravel()[use]
    solution = np.zeros(use.size)
    solution[0] = 1.0  # the start kernel as it is
    solution[use] += _solve_without_noise(normal, noise, right - (normal - noise) @ solution[use])
    table = solution.reshape(n_basis + 1, widest)
    return KernelModel(
        start=start,
        basis=basis,
        coefficients=table[:-1, :n_kernel],
        background=table[-1, :n_back],
        shape=tuple(shape),
        kernel_order=kernel_order,
        background_order=background_order,
    )


def _assemble(matrices: np.ndarray, pairs: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Sum the stars' matrices times their products of monomials; the parameters in use."""
    full = np.einsum("spq,sab->paqb", matrices, pairs, optimize=True)
    return full.reshape(use.size, use.size)[np.ix_(use, use)]


def _solve_without_noise(normal: np.ndarray, noise: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve the normal equations with the noise of the reference taken out of the matrix.

    In the modes of the pair of matrices, the eigenvalue is s + 1 with s = signal / noise.  A mode is divided by s; one
    that is mostly noise tells nothing and is left at 0, which keeps the start kernel there: 1 / s is s / (s^2 + 1).
    """
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    outer = scale[:, None] * scale[None, :]
    ridge = RIDGE * np.eye(len(scale))
    ratio, modes = eigh(normal / outer + ridge, noise / outer + ridge)
    signal = np.maximum(ratio - 1.0, 0.0)
    return modes @ ((modes.T @ (right / scale)) * signal / (signal**2 + 1.0)) / scale
