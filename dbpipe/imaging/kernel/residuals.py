"""How well a matching kernel fits each star: noise, chi2 and flux, from the star's normal equations alone.

All functions take the parameters of the kernel at each star (`star_parameters`), which are worked out once.
"""

import numpy as np

from dbpipe.imaging.kernel.basis import KernelModel
from dbpipe.imaging.kernel.equations import StarEquations
from dbpipe.imaging.polynomial import terms


def star_parameters(equations: StarEquations, model: KernelModel) -> np.ndarray:
    """Return kernel coefficients and background (n_star, n_p) of a model at each star."""
    kernel = terms(equations.x, equations.y, model.shape, model.kernel_order) @ model.coefficients.T
    background = terms(equations.x, equations.y, model.shape, model.background_order) @ model.background
    return np.concatenate([kernel, background[:, None]], axis=1)


def signal_squares(equations: StarEquations, parameters: np.ndarray) -> np.ndarray:
    """Return the squared signal to noise (n_star,) of each star's convolved image."""
    p = parameters[:, :-1]
    return np.einsum("sp,spq,sq->s", p, (equations.matrix - equations.noise)[:, :-1, :-1], p, optimize=True)


def reference_noise(equations: StarEquations, parameters: np.ndarray) -> np.ndarray:
    """Return what the convolved noise of the reference adds to each star's weighted sum of squares (n_star,)."""
    p = parameters
    return np.einsum("sp,spq,sq->s", p, equations.noise, p, optimize=True)


def residual_squares(equations: StarEquations, parameters: np.ndarray) -> np.ndarray:
    """Return the weighted sum of squares (n_star,) that a kernel model leaves of each star."""
    p = parameters
    quadratic = np.einsum("sp,spq,sq->s", p, equations.matrix, p, optimize=True)
    return equations.chi2_zero - 2.0 * np.einsum("sp,sp->s", equations.vector, p) + quadratic


def star_chi2(equations: StarEquations, parameters: np.ndarray) -> np.ndarray:
    """Return the reduced chi2 (n_star,) of each star under a kernel model: the squares over what noise makes them."""
    expected = equations.target_noise + reference_noise(equations, parameters)
    return residual_squares(equations, parameters) / np.maximum(expected, 1e-300)


def flux_residual(equations: StarEquations, parameters: np.ndarray) -> np.ndarray:
    """Return by how much the flux of each star (n_star,) differs from its model, as a fraction; NaN if unknown.

    The star's stamp is fitted with the model's own image, scaled, and a constant.
    """
    n = equations.matrix.shape[1]
    p = parameters.copy()
    background = parameters[:, -1]
    p[:, -1] = 0.0
    image_matrix = np.einsum("sp,spq->sq", p, equations.matrix - equations.noise)
    own = np.einsum("sp,sp->s", image_matrix, p)
    cross, ones = image_matrix[:, n - 1], equations.matrix[:, n - 1, n - 1]
    # residual = data - image - background, projected on the image and on the constant
    on_image = np.einsum("sp,sp->s", equations.vector, p) - own - background * cross
    on_constant = equations.vector[:, n - 1] - cross - background * ones
    determinant = own * ones - cross**2
    # a star fainter than the reference's noise tells nothing
    return np.divide(
        on_image * ones - on_constant * cross,
        determinant,
        out=np.full(len(own), np.nan),
        where=(own > 0) & (determinant > 0),
    )
