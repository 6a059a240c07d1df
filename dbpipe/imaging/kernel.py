"""The Alard-Lupton matching kernel: basis, least squares on star stamps, clipping, held-out control.

Alard & Lupton 1998 ApJ 503 325, eq. 1..3: I ~ R * K + background, K(u, v; x, y) a sum of Gaussians times polynomials
in (u, v) whose coefficients are polynomials in (x, y) (Alard 2000 A&AS 144 363, eq. 4..8).  Here they correct a start:
the kernel K0 that the PSF models give (`start_kernel`), K = K0 * sum_i a_i B_i.  The first function is a single pixel;
all others are made zero-sum (Alard 2000, sect. 2.3), so that the first one alone carries the flux ratio and its
spatial variation can be chosen apart.

The image that is convolved has noise of its own.  In plain least squares it counts as signal: the normal matrix is too
large by its covariance and the kernel too small where the noise rivals the stars, at high frequencies, so that every
star keeps its core (attenuation; Fuller 1987, Measurement Error Models, sect. 1.1).  The expected covariance is known
and is taken out, mode by mode.
"""

from dataclasses import dataclass

import numpy as np
from scipy.fft import next_fast_len
from scipy.linalg import eigh
from scipy.signal import fftconvolve

from dbpipe.errors import DataError
from dbpipe.imaging.convolve import KernelField, block_centres
from dbpipe.imaging.noise import kernel_transfer
from dbpipe.imaging.polynomial import term_count, terms
from dbpipe.imaging.start_kernel import StartKernel
from dbpipe.units import MAD_TO_SIGMA

RIDGE = 1e-9
"""Added to the diagonal of the normalised equations: keeps degenerate terms at zero."""

CLIP_SIGMA = 4.0
"""A star further off in flux or chi2 than this many standard deviations takes no part."""


@dataclass(frozen=True)
class KernelBasis:
    """A pixel, and Gaussians times polynomials.

    Attributes
    ----------
    sigma_pix, degree : tuples of one Gaussian each
    functions : (n_basis, size, size) float array; the first is one pixel of 1, the others have zero sum
    """

    sigma_pix: tuple
    degree: tuple
    functions: np.ndarray


@dataclass(frozen=True)
class KernelModel:
    """A spatially varying matching kernel.

    Attributes
    ----------
    start : StartKernel, K0
    basis : KernelBasis
    coefficients : (n_basis, n_spatial) float array; rows beyond their own degree hold zeros
    background : (n_background,) float array, coefficients of the differential background [image units]
    shape : (ny, nx) of the image
    kernel_order, background_order : int, polynomial degrees
    """

    start: StartKernel
    basis: KernelBasis
    coefficients: np.ndarray
    background: np.ndarray
    shape: tuple
    kernel_order: int
    background_order: int

    def kernels_at(self, x, y):
        """Return the kernels (n, size, size) at positions (n,) [pix]."""
        coefficients = terms(x, y, self.shape, self.kernel_order) @ self.coefficients.T
        start = self.start.at_many(x, y)
        corrected = fftconvolve(
            start, np.tensordot(coefficients, self.basis.functions, axes=1), mode="same", axes=(1, 2)
        )
        return corrected + (coefficients[:, 0] - corrected.sum(axis=(1, 2)))[:, None, None] * start

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
    pixel = np.outer(u == 0, u == 0).astype(float)
    functions = [pixel]
    for sigma, d in zip(sigma_pix, degree, strict=True):
        g = np.exp(-0.5 * (u / sigma) ** 2)
        for total in range(d + 1):
            for j in range(total + 1):
                f = np.outer(g * (u / sigma) ** j, g * (u / sigma) ** (total - j))
                # parity makes odd functions zero-sum by themselves; the even ones give their flux back to the pixel
                f /= f.sum() if total == 0 else np.sqrt(np.sum(f**2))
                functions.append(f - f.sum() * pixel)
    return KernelBasis(tuple(map(float, sigma_pix)), tuple(map(int, degree)), np.array(functions))


@dataclass(frozen=True)
class StarEquations:
    """The least-squares problem of each star, reduced to its normal equations.

    Attributes
    ----------
    matrix : (n_star, n_p, n_p); n_p = n_basis + 1, the last parameter is the local background
    noise : (n_star, n_p, n_p), what the reference's noise adds to the matrix on average
    vector : (n_star, n_p)
    chi2_zero : (n_star,) sum of w I^2
    target_noise : (n_star,) what the target's noise adds to it on average
    n_pix : (n_star,)
    x, y : (n_star,) positions [pix]
    """

    matrix: np.ndarray
    noise: np.ndarray
    vector: np.ndarray
    chi2_zero: np.ndarray
    target_noise: np.ndarray
    n_pix: np.ndarray
    x: np.ndarray
    y: np.ndarray

    def take(self, index):
        """Return the equations of some of the stars."""
        return StarEquations(*(getattr(self, f)[index] for f in self.__dataclass_fields__))


def corrections(start, basis):
    """Return the kernels (n_basis, size, size) that the basis makes of one start kernel of unit sum.

    The kernel has an end: what a convolution puts beyond it is lost, and given back to the start kernel, so that the
    first function alone carries the flux ratio here too.
    """
    return _corrected(np.fft.rfft2(basis.functions, s=_full(basis)), start, basis)


def _full(basis):
    """Return a size that holds a start kernel's convolution with a basis function."""
    return _fast(2 * basis.functions.shape[-1] - 1)


def _fast(size):
    """Return the next shape whose Fourier transform is quick."""
    return (next_fast_len(size, real=True),) * 2


def _corrected(transfer, start, basis):
    """Return `corrections` from the Fourier transform of the basis functions."""
    n = start.shape[0]
    kernels = np.fft.irfft2(transfer * np.fft.rfft2(start, s=_full(basis)), s=_full(basis))
    kernels = kernels[:, n // 2 : n // 2 + n, n // 2 : n // 2 + n]
    kernels[0] = start
    kernels[1:] -= kernels[1:].sum(axis=(1, 2))[:, None, None] * start
    return kernels


def basis_covariance(kernels, power):
    """Return the covariance (n_basis, n_basis) of kernels applied to noise of unit variance.

    Parameters
    ----------
    kernels : (n_basis, size, size) float array
    power : (n, n) float array in FFT order, mean 1: the shape of the noise power
    """
    transfer = np.array([kernel_transfer(k, power.shape[0]).ravel() for k in kernels])
    return ((transfer * power.ravel()) @ transfer.conj().T).real / power.size


def star_equations(
    reference,
    target,
    usable,
    *,
    reference_variance,
    target_variance,
    reference_power,
    model_error,
    x,
    y,
    start,
    basis,
    half,
):
    """Set up the normal equations of stars.

    All pixels of a star have one weight, by the mean of the variance over its light: then the part of the reference's
    noise is what its power says, whereas weights that avoid the core would meet the core's noise spread by the kernel.

    Parameters
    ----------
    reference : (ny, nx), image to be convolved
    target : (ny, nx), image to be matched
    usable : (ny, nx) bool
    reference_variance, target_variance : (ny, nx), of their pixels
    reference_power : (n, n) float array in FFT order, mean 1: shape of the reference's noise power
    model_error : float, error of a bright star's model as a fraction of its flux
    x, y : (n,) positions of the stars, whole stamps inside the image [pix]
    start : StartKernel
    basis : KernelBasis
    half : int, half side of the fitted stamps [pix]

    Returns
    -------
    StarEquations
    """
    kernel_half = basis.functions.shape[-1] // 2
    outer = half + kernel_half
    size = 2 * outer + 1
    padded = _fast(size)
    n_basis = len(basis.functions)
    transfer = np.fft.rfft2(basis.functions, s=_full(basis))
    covariance = np.zeros((n_basis + 1, n_basis + 1))
    covariance[:-1, :-1] = basis_covariance(corrections(start.middle, basis), reference_power)
    matrix, noise = np.empty((2, len(x), n_basis + 1, n_basis + 1))
    vector = np.empty((len(x), n_basis + 1))
    chi2_zero, target_noise = np.empty((2, len(x)))
    n_pix = np.empty(len(x), int)
    centres = zip(np.rint(x).astype(int), np.rint(y).astype(int), start.at_many(x, y), strict=True)
    for k, (cx, cy, first) in enumerate(centres):
        wide = np.s_[cy - outer : cy + outer + 1, cx - outer : cx + outer + 1]
        inner = np.s_[cy - half : cy + half + 1, cx - half : cx + half + 1]
        kernels = np.fft.rfft2(_corrected(transfer, first, basis), s=padded)
        convolved = np.fft.irfft2(np.fft.rfft2(reference[wide], s=padded) * kernels, s=padded)
        columns = np.empty((n_basis + 1, (2 * half + 1) ** 2))
        columns[:-1] = convolved[:, 2 * kernel_half : size, 2 * kernel_half : size].reshape(n_basis, -1)
        columns[-1] = 1.0
        value, seen = target[inner].ravel().astype(float), usable[inner].ravel()
        noise_of = [variance[inner].ravel().astype(float) for variance in (reference_variance, target_variance)]
        w = seen * _weight(value * seen, sum(noise_of) + np.square(model_error * value))
        weighted = columns * w
        matrix[k] = weighted @ columns.T
        noise[k] = np.sum(w * noise_of[0]) * covariance
        vector[k] = weighted @ value
        chi2_zero[k] = np.sum(w * value**2)
        target_noise[k] = np.sum(w * noise_of[1])
        n_pix[k] = np.count_nonzero(w)
    return StarEquations(
        matrix, noise, vector, chi2_zero, target_noise, n_pix, np.asarray(x, float), np.asarray(y, float)
    )


def _weight(value, variance):
    """Return the inverse of the variance, averaged over the square of the light."""
    light = np.square(value)
    return light.sum() / max(np.sum(light * variance), 1e-300)


@dataclass(frozen=True)
class KernelFit:
    """A fitted kernel and how it was reached.

    Attributes
    ----------
    model : KernelModel
    kept : (n_star,) bool, stars that survived clipping
    star_chi2 : (n_star,) reduced chi2 of every star, control stars included
    is_control : (n_star,) bool, stars that never took part in the fit and have not varied
    x, y : (n_star,) positions [pix]
    """

    model: KernelModel
    kept: np.ndarray
    star_chi2: np.ndarray
    is_control: np.ndarray
    x: np.ndarray
    y: np.ndarray


def fit_kernel(equations, start, basis, *, shape, kernel_order, sum_order, background_order, is_control):
    """Solve for the spatially varying kernel, leaving out stars that do not fit or that have varied.

    Stars are judged with a correction that is the same everywhere: a flexible one would follow a variable star.  The
    start kernel has the variation over the image that the PSF models know.

    Parameters
    ----------
    equations : StarEquations
    start : StartKernel
    basis : KernelBasis
    shape : (ny, nx) of the image
    kernel_order, sum_order, background_order : int, polynomial degrees of shape, flux ratio and background
    is_control : (n_star,) bool, stars held out

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
        stiff = solve_kernel(equations, start, basis, kept, (0, 0, background_order), shape)
        better = _fits(equations, stiff, kept)
        # never leave out more than half: then it is the model that is wrong
        if np.array_equal(better, good) or better.sum() < 0.5 * len(good):
            break
        good = better
    kept = good & ~is_control
    model = solve_kernel(equations, start, basis, kept, (kernel_order, sum_order, background_order), shape)
    return KernelFit(model, kept, star_chi2(equations, model), is_control & good, equations.x, equations.y)


def _fits(equations, model, kept):
    """Tell which stars agree with a model in flux and shape, against what the kept ones show.

    A star may be off by its noise and by a part of its own light that is common to all of them: a limit that forgot
    the latter would leave out the bright stars, which know the kernel best.
    """
    good = equations.n_pix > 0
    signal = np.maximum(_signal(equations, model), 1e-30)
    flux = flux_residual(equations, model)
    flux -= np.nanmedian(flux[kept])
    good &= np.abs(flux) < CLIP_SIGMA * np.hypot(signal**-0.5, _common(flux**2 - 1.0 / signal, kept) ** 0.5)
    chi2 = star_chi2(equations, model)
    faint = kept & (signal <= np.median(signal[kept]))
    centre = np.median(chi2[faint])
    width = MAD_TO_SIGMA * np.median(np.abs(chi2[faint] - centre))
    per_noise = signal / np.maximum(equations.target_noise, 1e-30)
    own_light = _common((chi2 - centre) / per_noise, kept & ~faint) * per_noise
    return good & (chi2 - centre < CLIP_SIGMA * (max(width, 1e-3 * centre) + own_light))


def _common(part, among):
    """Median of what some stars show, and no less than nothing."""
    part = part[among & np.isfinite(part)]
    return max(float(np.median(part)), 0.0) if part.size else 0.0


def solve_kernel(equations, start, basis, kept, orders, shape):
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


def _assemble(matrices, pairs, use):
    """Sum the stars' matrices times their products of monomials; the parameters in use."""
    full = np.einsum("spq,sab->paqb", matrices, pairs, optimize=True)
    return full.reshape(use.size, use.size)[np.ix_(use, use)]


def _solve_without_noise(normal, noise, right):
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


def _parameters(equations, model):
    """Return kernel coefficients and background (n_star, n_p) of a model at each star."""
    kernel = terms(equations.x, equations.y, model.shape, model.kernel_order) @ model.coefficients.T
    background = terms(equations.x, equations.y, model.shape, model.background_order) @ model.background
    return np.concatenate([kernel, background[:, None]], axis=1)


def _signal(equations, model):
    """Return the squared signal to noise (n_star,) of each star's convolved image."""
    p = _parameters(equations, model)[:, :-1]
    return np.einsum("sp,spq,sq->s", p, (equations.matrix - equations.noise)[:, :-1, :-1], p, optimize=True)


def reference_noise(equations, model):
    """Return what the convolved noise of the reference adds to each star's weighted sum of squares (n_star,)."""
    p = _parameters(equations, model)
    return np.einsum("sp,spq,sq->s", p, equations.noise, p, optimize=True)


def residual_squares(equations, model):
    """Return the weighted sum of squares (n_star,) that a kernel model leaves of each star."""
    p = _parameters(equations, model)
    quadratic = np.einsum("sp,spq,sq->s", p, equations.matrix, p, optimize=True)
    return equations.chi2_zero - 2.0 * np.einsum("sp,sp->s", equations.vector, p) + quadratic


def star_chi2(equations, model):
    """Return the reduced chi2 (n_star,) of each star under a kernel model: the squares over what noise makes them."""
    expected = equations.target_noise + reference_noise(equations, model)
    return residual_squares(equations, model) / np.maximum(expected, 1e-300)


def flux_residual(equations, model):
    """Return by how much the flux of each star (n_star,) differs from its model, as a fraction; NaN if unknown.

    The star's stamp is fitted with the model's own image, scaled, and a constant.
    """
    n = equations.matrix.shape[1]
    p = _parameters(equations, model)
    background = p[:, -1].copy()
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
