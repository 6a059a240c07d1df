"""Two-dimensional polynomials on the unit square, the one convention for every spatial variation."""

import numpy as np
from numpy.typing import ArrayLike


def term_count(degree: int) -> int:
    """Return the number of terms of a full polynomial of this total degree."""
    return (degree + 1) * (degree + 2) // 2


def terms(x: ArrayLike, y: ArrayLike, shape: tuple[int, ...], degree: int) -> np.ndarray:
    """Evaluate the monomials u^i v^j, i + j <= degree, by increasing total degree.

    Parameters
    ----------
    x, y : float arrays of one shape [pix]
    shape : (ny, nx) of the image; u and v run from -1 to 1 across it
    degree : int

    Returns
    -------
    (..., term_count(degree)) float array; the first term is 1.
    """
    ny, nx = shape
    u = (2.0 * np.asarray(x, float) - (nx - 1)) / nx
    v = (2.0 * np.asarray(y, float) - (ny - 1)) / ny
    powers = [(total - j, j) for total in range(degree + 1) for j in range(total + 1)]
    return np.stack([u**i * v**j for i, j in powers], axis=-1)
