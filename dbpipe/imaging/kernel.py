"""The Alard-Lupton matching kernel: basis, least squares on star stamps, clipping, held-out control.

Alard & Lupton 1998 ApJ 503 325, eq. 1..3: I ~ R * K + background, K(u, v; x, y) a sum of Gaussians times polynomials
in (u, v) whose coefficients are polynomials in (x, y) (Alard 2000 A&AS 144 363, eq. 4..8).  All basis functions but
the first are made zero-sum (Alard 2000, sect. 2.3), so that the first one alone carries the flux ratio and its
spatial variation can be chosen apart.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.errors import DataError
from dbpipe.imaging.convolve import KernelField, block_centres
from dbpipe.imaging.polynomial import term_count, terms
from dbpipe.units import MAD_TO_SIGMA

RIDGE = 1e-9
"""Added to the diagonal of the normalised equations: keeps degenerate terms at zero."""

N_STAR_TILTED = 60
"""Stars that allow to judge them with a kernel that changes over the image."""
N_FOLD = 4
"""Parts of the stars that are judged by the others in turn."""


@dataclass(frozen=True)
class KernelBasis:
    """Gaussians times polynomials.

    Attributes
    ----------
    sigma_pix, degree : tuples of one Gaussian each
    functions : (n_basis, size, size) float array; the first has unit sum, the others zero sum
    """

    sigma_pix: tuple
    degree: tuple
    functions: np.ndarray


@dataclass(frozen=True)
class KernelModel:
    """A spatially varying matching kernel.

    Attributes
    ----------
    basis : KernelBasis
    coefficients : (n_basis, n_spatial) float array; rows beyond their own degree hold zeros
    background : (n_background,) float array, coefficients of the differential background [image units]
    shape : (ny, nx) of the image
    kernel_order, background_order : int, polynomial degrees
    """

    basis: KernelBasis
    coefficients: np.ndarray
    background: np.ndarray
    shape: tuple
    kernel_order: int
    background_order: int

    def kernels_at(self, x, y):
        """Return the kernels (n, size, size) at positions (n,) [pix]."""
        spatial = terms(x, y, self.shape, self.kernel_order)
        return np.tensordot(spatial @ self.coefficients.T, self.basis.functions, axes=1)

    def field(self, block_pix):
        """Return the kernel as a `KernelField`."""
        x, y = block_centres(self.shape, block_pix)
        grid_x, grid_y = np.meshgrid(x, y)
        kernels = self.kernels_at(grid_x.ravel(), grid_y.ravel())
        size = kernels.shape[-1]
        return KernelField(kernels.reshape(len(y), len(x), size, size).astype(np.float32), block_pix)

    def background_image(self):
        """Return the differential background (ny, nx) float32."""
        ny, nx = self.shape
        u_terms = terms(np.arange(nx), np.zeros(nx), (1, nx), self.background_order)
        out = np.zeros(self.shape)
        v = (2.0 * np.arange(ny) - (ny - 1)) / ny
        k = 0
        for total in range(self.background_order + 1):
            for j in range(total + 1):
                u_column = term_count(total - j) - (total - j) - 1
                out += self.background[k] * np.outer(v**j, u_terms[:, u_column])
                k += 1
        return out.astype(np.float32)


def make_basis(sigma_pix, degree, size):
    """Build the basis.

    Parameters
    ----------
    sigma_pix : sequence of Gaussian widths [pix]
    degree : sequence of polynomial degrees, one per Gaussian
    size : int, odd, side of the kernel [pix]
    """
    u = np.arange(size) - size // 2
    functions = []
    for sigma, d in zip(sigma_pix, degree, strict=True):
        g = np.exp(-0.5 * (u / sigma) ** 2)
        for total in range(d + 1):
            for j in range(total + 1):
                f = np.outer(g * (u / sigma) ** j, g * (u / sigma) ** (total - j))
                functions.append(f)
    first = functions[0] / functions[0].sum()
    made = [first]
    for f in functions[1:]:
        # parity makes odd functions zero-sum by themselves; the even ones give their flux back to the first
        zero_sum = f / np.sqrt(np.sum(f**2))
        total = zero_sum.sum()
        made.append(zero_sum - total * first if abs(total) > 1e-12 else zero_sum)
    return KernelBasis(tuple(map(float, sigma_pix)), tuple(map(int, degree)), np.array(made))


@dataclass(frozen=True)
class StarEquations:
    """The least-squares problem of each star, reduced to its normal equations.

    Attributes
    ----------
    matrix : (n_star, n_p, n_p); n_p = n_basis + 1, the last parameter is the local background
    vector : (n_star, n_p)
    chi2_zero : (n_star,) sum of w I^2
    n_pix : (n_star,)
    x, y : (n_star,) positions [pix]
    """

    matrix: np.ndarray
    vector: np.ndarray
    chi2_zero: np.ndarray
    n_pix: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def take(self, index):
        """Return the equations of some of the stars."""
        return StarEquations(*(getattr(self, f)[index] for f in self.__dataclass_fields__))


def star_equations(reference, target, weight, *, x, y, basis, half):
    """Set up the normal equations of stars.

    Parameters
    ----------
    reference : (ny, nx), image to be convolved
    target : (ny, nx), image to be matched
    weight : (ny, nx), inverse variance, 0 where unusable
    x, y : (n,) positions of the stars, whole stamps inside the image [pix]
    basis : KernelBasis
    half : int, half side of the fitted stamps [pix]

    Returns
    -------
    StarEquations
    """
    kernel_half = basis.functions.shape[-1] // 2
    outer = half + kernel_half
    size = 2 * outer + 1
    transfer = np.fft.rfft2(_wrapped(basis.functions, size))
    n_basis = len(basis.functions)
    matrix = np.empty((len(x), n_basis + 1, n_basis + 1))
    vector = np.empty((len(x), n_basis + 1))
    chi2_zero, n_pix = np.empty(len(x)), np.empty(len(x), int)
    for k, (cx, cy) in enumerate(zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True)):
        wide = np.s_[cy - outer : cy + outer + 1, cx - outer : cx + outer + 1]
        inner = np.s_[cy - half : cy + half + 1, cx - half : cx + half + 1]
        convolved = np.fft.irfft2(np.fft.rfft2(reference[wide]) * transfer, s=(size, size))
        columns = np.empty((n_basis + 1, (2 * half + 1) ** 2))
        columns[:-1] = convolved[:, kernel_half:-kernel_half, kernel_half:-kernel_half].reshape(n_basis, -1)
        columns[-1] = 1.0
        w, value = weight[inner].ravel().astype(float), target[inner].ravel().astype(float)
        weighted = columns * w
        matrix[k] = weighted @ columns.T
        vector[k] = weighted @ value
        chi2_zero[k] = np.sum(w * value**2)
        n_pix[k] = np.count_nonzero(w)
    return StarEquations(matrix, vector, chi2_zero, n_pix, np.asarray(x, float), np.asarray(y, float))


def _wrapped(functions, size):
    n, k = functions.shape[0], functions.shape[-1]
    padded = np.zeros((n, size, size))
    padded[:, :k, :k] = functions
    return np.roll(padded, (-(k // 2), -(k // 2)), axis=(1, 2))


@dataclass(frozen=True)
class KernelFit:
    """A fitted kernel and how it was reached.

    Attributes
    ----------
    model : KernelModel
    kept : (n_star,) bool, stars that survived clipping
    star_chi2 : (n_star,) reduced chi2 of every star, control stars included
    is_control : (n_star,) bool, stars that never took part in the fit and have not varied
    """

    model: KernelModel
    kept: np.ndarray
    star_chi2: np.ndarray
    is_control: np.ndarray


def fit_kernel(equations, basis, *, shape, kernel_order, sum_order, background_order, is_control, clip_sigma=4.0):
    """Solve for the spatially varying kernel, leaving out stars that do not fit or that have varied.

    Stars are judged with a kernel that is the same everywhere: a flexible one would follow a variable star.  Where
    they are many, it changes linearly over the image, else all stars of a corner might seem to vary; the kernel that
    judges a star has then not seen it.

    Parameters
    ----------
    equations : StarEquations
    basis : KernelBasis
    shape : (ny, nx) of the image
    kernel_order, sum_order, background_order : int, polynomial degrees of shape, flux ratio and background
    is_control : (n_star,) bool, stars held out
    clip_sigma : float, in robust standard deviations of the stars' flux residual and reduced chi2

    Returns
    -------
    KernelFit

    Raises
    ------
    DataError
        If fewer than three stars remain.
    """
    good = equations.n_pix > 0
    for _ in range(6):
        kept = good & ~is_control
        if kept.sum() < 3:
            raise DataError("too few stars for a matching kernel", n_star=int(kept.sum()), n_required=3)
        better = (equations.n_pix > 0) & _agree(
            _judge(equations, basis, kept, background_order, shape), kept, clip_sigma
        )
        # never leave out more than half: then it is the model that is wrong
        if np.array_equal(better, good) or better.sum() < 0.5 * len(good):
            break
        good = better
    kept = good & ~is_control
    model = solve_kernel(equations, basis, kept, (kernel_order, sum_order, background_order), shape)
    return KernelFit(model, kept, star_chi2(equations, model), is_control & good)


def _judge(equations, basis, kept, background_order, shape):
    """Return the flux residual and the reduced chi2 (2, n_star) of every star under a kernel made of the kept ones."""
    if kept.sum() < N_STAR_TILTED:
        stiff = solve_kernel(equations, basis, kept, (0, 0, background_order), shape)
        return np.stack([flux_residual(equations, stiff), star_chi2(equations, stiff)])
    judged = np.empty((2, len(kept)))
    fold = np.arange(len(kept)) % N_FOLD
    for k in range(N_FOLD):
        unseen = solve_kernel(equations, basis, kept & (fold != k), (1, 0, background_order), shape)
        part = equations.take(np.flatnonzero(fold == k))
        judged[:, fold == k] = flux_residual(part, unseen), star_chi2(part, unseen)
    return judged


def _agree(judged, kept, clip_sigma):
    """Tell which stars agree with their model, in flux and in chi2, against the scatter of the kept ones."""
    good = np.ones(len(kept), bool)
    for measure in judged:
        centre = np.median(measure[kept])
        width = MAD_TO_SIGMA * np.median(np.abs(measure[kept] - centre))
        good &= measure - centre < clip_sigma * max(width, 1e-3 * abs(centre))
        if measure[kept].min() < 0:
            good &= centre - measure < clip_sigma * max(width, 1e-3 * abs(centre))
    return good


def solve_kernel(equations, basis, kept, orders, shape):
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
    full = np.einsum("spq,sab->paqb", equations.matrix[index], pairs, optimize=True)
    right = np.einsum("sp,sa->pa", equations.vector[index], spatial[:, :widest])
    use = (np.arange(widest)[None, :] < n_term[:, None]).ravel()
    n = use.size
    normal = full.reshape(n, n)[np.ix_(use, use)]
    scale = np.sqrt(np.maximum(np.diag(normal), 1e-300))
    normal = normal / scale[:, None] / scale[None, :] + RIDGE * np.eye(len(scale))
    solution = np.zeros(n)
    solution[use] = np.linalg.solve(normal, right.ravel()[use] / scale) / scale
    table = solution.reshape(n_basis + 1, widest)
    return KernelModel(
        basis=basis,
        coefficients=table[:-1, :n_kernel],
        background=table[-1, :n_back],
        shape=tuple(shape),
        kernel_order=kernel_order,
        background_order=background_order,
    )


def star_chi2(equations, model):
    """Return the reduced chi2 (n_star,) of each star under a kernel model."""
    shape = model.shape
    kernel = terms(equations.x, equations.y, shape, model.kernel_order) @ model.coefficients.T
    background = terms(equations.x, equations.y, shape, model.background_order) @ model.background
    p = np.concatenate([kernel, background[:, None]], axis=1)
    quadratic = np.einsum("sp,spq,sq->s", p, equations.matrix, p, optimize=True)
    chi2 = equations.chi2_zero - 2.0 * np.einsum("sp,sp->s", equations.vector, p) + quadratic
    return chi2 / np.maximum(equations.n_pix, 1)


def flux_residual(equations, model):
    """Return by how much the flux of each star (n_star,) differs from its model, as a fraction.

    The star's stamp is fitted with the model's own image, scaled, and a constant.
    """
    n = equations.matrix.shape[1]
    kernel = terms(equations.x, equations.y, model.shape, model.kernel_order) @ model.coefficients.T
    background = terms(equations.x, equations.y, model.shape, model.background_order) @ model.background
    p = np.concatenate([kernel, np.zeros((len(kernel), 1))], axis=1)
    image_matrix = np.einsum("sp,spq->sq", p, equations.matrix)
    own = np.einsum("sp,sp->s", image_matrix, p)
    cross, ones = image_matrix[:, n - 1], equations.matrix[:, n - 1, n - 1]
    # residual = data - image - background, projected on the image and on the constant
    on_image = np.einsum("sp,sp->s", equations.vector, p) - own - background * cross
    on_constant = equations.vector[:, n - 1] - cross - background * ones
    determinant = own * ones - cross**2
    return (on_image * ones - on_constant * cross) / np.maximum(determinant, 1e-300)
