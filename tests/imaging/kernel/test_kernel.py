"""The matching kernel: found where it is known, and not deceived by stars that vary."""

import numpy as np
import pytest
from pair import paint
from point_sources import gaussian_psf
from scipy.signal import fftconvolve

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.errors import DataError
from dbpipe.imaging.convolve import convolve
from dbpipe.imaging.kernel.basis import KernelModel, corrections, make_basis
from dbpipe.imaging.kernel.equations import star_equations
from dbpipe.imaging.kernel.fit import fit_kernel
from dbpipe.imaging.kernel.residuals import flux_residual, residual_squares, star_parameters
from dbpipe.imaging.kernel.start import StartKernel
from dbpipe.imaging.polynomial import terms

SHAPE, N_STAR, SIGMA = (400, 400), 49, 10.0
BASIS = make_basis([0.8, 1.6, 3.0], [4, 2, 2], 21)
START = StartKernel(np.tile(np.pad([[1.0]], 10), (2, 2, 1, 1)), SHAPE, 0.0)
"""A single pixel: nothing is known beforehand."""
RIPPLE = (-1.0) ** np.add.outer(np.arange(41), np.arange(41))
ORDERS = {"kernel_order": 1, "sum_order": 0, "background_order": 1}


def scene(*, ratio=1.0, vary=(), background=0.0, target_fwhm=5.0, seed=1, noise=SIGMA, slope=0.0):
    """Return equations and star positions: a reference of FWHM 4 pix and a target that is ``ratio`` times as bright.

    Stars numbered in ``vary`` are 30% brighter in the target; ``slope`` changes the target's width over x.
    """
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:7, :7].reshape(2, -1) * 48.0 + 56.0) + rng.uniform(-0.5, 0.5, (2, N_STAR))
    flux = 10 ** rng.uniform(4.5, 5.5, N_STAR)
    reference, target = np.zeros((2, *SHAPE))
    paint(reference, x, y, flux, lambda dx, dy: gaussian_psf(41, 4.0, dx, dy))
    factor = np.full(N_STAR, ratio)
    factor[list(vary)] *= 1.3
    for u, v, f in zip(x, y, flux * factor, strict=True):
        width = target_fwhm * (1 + slope * (u - 200.0) / 400.0)
        paint(target, [u], [v], [f], lambda dx, dy, w=width: gaussian_psf(41, w, dx, dy))
    target += background + rng.normal(size=SHAPE) * noise
    return equations_of(reference, target, x, y, noise), reference, target


def equations_of(reference, target, x, y, noise, reference_noise=0.0):
    """Return the equations of stars whose target and reference have white noise."""
    return star_equations(
        reference,
        target,
        np.ones(SHAPE, bool),
        reference_variance=np.full(SHAPE, reference_noise**2),
        target_variance=np.full(SHAPE, max(noise, 1e-3) ** 2),
        reference_power=np.ones((64, 64)),
        model_error=0.0,
        x=x,
        y=y,
        start=START,
        basis=BASIS,
        half=12,
    )


def fit(equations, is_control=None, **orders):
    is_control = np.zeros(N_STAR, bool) if is_control is None else is_control
    return fit_kernel(equations, START, BASIS, shape=SHAPE, is_control=is_control, **(ORDERS | orders))


def test_basis_functions_keep_the_flux_in_the_first():
    """The first function has unit sum, all others zero sum."""
    sums = BASIS.functions.sum(axis=(1, 2))
    assert sums[0] == pytest.approx(1.0)
    np.testing.assert_allclose(sums[1:], 0.0, atol=1e-9)
    assert len(sums) == 1 + 15 + 6 + 6


def test_a_known_kernel_is_recovered():
    """Between Gaussians the kernel adds the difference of the squared widths, times the flux ratio."""
    equations, _, _ = scene(ratio=1.7, noise=0.01)
    kernel = fit(equations).model.kernels_at(np.array([200.0]), np.array([200.0]))[0]
    assert kernel.sum() == pytest.approx(1.7, rel=1e-3)
    u = np.arange(21) - 10
    for moment in (np.sum(kernel * u**2), np.sum(kernel.T * u**2)):
        assert moment / kernel.sum() == pytest.approx((5.0**2 - 4.0**2) / FWHM_PER_SIGMA**2, rel=0.01)
    assert abs(np.sum(kernel * u)) < 1e-3
    # what the reference's PSF has no power for cannot be known: the kernel counts after it was applied
    matched = fftconvolve(gaussian_psf(61, 4.0), kernel, mode="same")
    expected = 1.7 * gaussian_psf(61, 5.0)
    assert np.abs(matched - expected).max() < 1e-3 * expected.max()


def test_an_image_minus_itself_is_zero():
    """Matched to itself, an image is reproduced and the kernel is the identity."""
    _, reference, _ = scene()
    y, x = np.mgrid[:7, :7].reshape(2, -1) * 48.0 + 56.0
    result = fit(equations_of(reference, reference, x, y, SIGMA))
    difference = reference - convolve(reference, result.model.field(128)) - result.model.background_image()
    assert np.abs(difference).max() < 0.002 * reference.max()
    assert result.star_chi2.max() < 0.05


def test_the_kernel_follows_the_psf_over_the_image():
    """A PSF that widens along x is matched at both ends, to the noise."""
    equations, _, _ = scene(slope=0.1)
    result = fit(equations, kernel_order=2)
    assert 0.9 < np.median(result.star_chi2) < 1.1
    widths = result.model.kernels_at(np.array([50.0, 350.0]), np.array([200.0, 200.0]))
    u = np.arange(21) - 10
    moments = np.sum(widths * u**2, axis=(1, 2)) / widths.sum(axis=(1, 2))
    expected = (np.square(5.0 * np.array([0.9625, 1.0375])) - 16.0) / FWHM_PER_SIGMA**2
    np.testing.assert_allclose(moments, expected, rtol=0.1)


def test_the_differential_background_is_found():
    """A constant between the two images is in the background, not in the kernel."""
    equations, _, _ = scene(background=25.0)
    result = fit(equations)
    np.testing.assert_allclose(result.model.background_image(), 25.0, atol=2.5)
    assert result.model.kernels_at(np.array([200.0]), np.array([200.0]))[0].sum() == pytest.approx(1.0, abs=0.003)


def test_the_background_image_is_the_polynomial_of_the_fit():
    """The background image equals the star equations' polynomial at every pixel."""
    coefficients = np.random.default_rng(2).normal(size=6)
    model = KernelModel(START, BASIS, np.zeros((28, 1)), coefficients, (30, 50), 0, 2)
    y, x = np.mgrid[:30, :50]
    expected = terms(x.ravel(), y.ravel(), (30, 50), 2) @ coefficients
    np.testing.assert_allclose(model.background_image(), expected.reshape(30, 50), rtol=1e-5, atol=1e-6)


def test_the_fit_sees_the_kernel_that_is_applied():
    """With a start kernel that rings to its edge, the equations' residual is that of the convolved image."""
    equations, reference, target = scene()
    u = np.arange(21) - 10
    ripple = np.outer(np.cos(u), np.cos(0.7 * u)) * np.exp(-0.5 * (u[:, None] ** 2 + u**2) / 36.0)
    start = StartKernel(np.tile(ripple / ripple.sum(), (2, 2, 1, 1)), SHAPE, 0.0)
    settings = dict(reference_variance=np.zeros(SHAPE), target_variance=np.full(SHAPE, SIGMA**2), model_error=0.0)
    equations = star_equations(
        reference, target, np.ones(SHAPE, bool), **settings, reference_power=np.ones((64, 64)),
        x=equations.x, y=equations.y, start=start, basis=BASIS, half=12,
    )  # fmt: skip
    coefficients = np.random.default_rng(4).normal(0.0, 0.1, (28, 1))
    model = KernelModel(start, BASIS, coefficients, np.zeros(1), SHAPE, 0, 0)
    left = target - convolve(reference, model.field(128))
    for k, squares in enumerate(residual_squares(equations, star_parameters(equations, model))):
        x, y = int(np.rint(equations.x[k])), int(np.rint(equations.y[k]))
        stamp = left[y - 12 : y + 13, x - 12 : x + 13]
        assert squares == pytest.approx(np.sum(stamp**2) / SIGMA**2, rel=1e-3)


def test_only_the_first_function_carries_the_flux_ratio():
    """Whatever is lost beyond the kernel's edge, its sum is the coefficient of the first function."""
    start = np.random.default_rng(6).normal(size=(21, 21))
    start = StartKernel(np.tile(start / start.sum(), (2, 2, 1, 1)), SHAPE, 0.0)
    coefficients = np.random.default_rng(7).normal(size=(28, 1))
    kernel = KernelModel(start, BASIS, coefficients, np.zeros(1), SHAPE, 0, 0).kernels_at(np.zeros(1), np.zeros(1))[0]
    assert kernel.sum() == pytest.approx(coefficients[0, 0])
    made = np.tensordot(coefficients[:, 0], corrections(start.middle, BASIS), axes=1)
    np.testing.assert_allclose(made, kernel, atol=1e-9 * np.abs(kernel).max())


def test_variable_stars_are_left_out():
    """Stars that brightened by 30% are clipped, all of them, few others are, and the flux ratio is that of the rest."""
    vary = [3, 17, 30, 41]
    equations, _, _ = scene(vary=vary)
    result = fit(equations)
    assert not result.kept[vary].any()
    assert result.kept.sum() >= N_STAR - len(vary) - 3
    assert result.model.kernels_at(np.array([200.0]), np.array([200.0]))[0].sum() == pytest.approx(1.0, abs=0.002)
    np.testing.assert_allclose(flux_residual(equations, star_parameters(equations, result.model))[vary], 0.3, atol=0.02)


def test_control_stars_are_never_in_the_fit():
    """Whatever a held-out star does, the kernel stays the same; one that varied tells nothing and is no control."""
    is_control = np.zeros(N_STAR, bool)
    is_control[[5, 25, 40]] = True
    quiet, varying = (fit(scene(vary=vary)[0], is_control) for vary in ([], [5, 25]))
    np.testing.assert_array_equal(quiet.model.coefficients, varying.model.coefficients)
    np.testing.assert_array_equal(quiet.kept, varying.kept)
    assert not quiet.kept[is_control].any()
    assert np.array_equal(quiet.is_control, is_control) and np.flatnonzero(varying.is_control).tolist() == [40]
    assert quiet.star_chi2[is_control].max() < 1.3 and varying.star_chi2[[5, 25]].min() > 3


def test_control_stars_fit_as_well_as_the_others():
    """With noise as assumed, reduced chi2 is 1 for stars in the fit and held out: the kernel does not overfit."""
    is_control = np.arange(N_STAR) % 5 == 2
    result = fit(scene()[0], is_control)
    assert np.mean(result.star_chi2[result.kept]) == pytest.approx(1.0, abs=0.05)
    assert np.mean(result.star_chi2[is_control]) == pytest.approx(1.0, abs=0.06)


def test_noise_of_the_reference_does_not_blunt_the_kernel():
    """With a noisy reference the core of a star is matched to 1%; plain least squares leaves nearly twice as much."""
    rng = np.random.default_rng(5)
    _, reference, target = scene(target_fwhm=3.6, noise=20.0)
    y, x = np.mgrid[:7, :7].reshape(2, -1) * 48.0 + 56.0
    noisy = reference + rng.normal(size=SHAPE) * 20.0
    left = []
    for known_noise in (20.0, 0.0):
        result = fit(equations_of(noisy, target, x, y, 20.0, known_noise), kernel_order=0)
        matched = convolve(reference.astype(np.float32), result.model.field(400))
        core = [slice(int(v) - 2, int(v) + 3) for v in (y[24], x[24])]
        left.append(np.max(target[tuple(core)] - matched[tuple(core)]) / target[tuple(core)].max())
    assert left[0] < 0.01 and left[0] < 0.6 * left[1]


def test_bright_stars_with_a_common_model_error_stay():
    """Stars that are off by the same part of their light are kept, whatever their brightness."""
    y, x = np.mgrid[:7, :7].reshape(2, -1) * 48.0 + 56.0
    flux = np.geomspace(1e4, 1e7, N_STAR)
    reference, target = np.zeros((2, *SHAPE))
    paint(reference, x, y, flux, lambda dx, dy: gaussian_psf(41, 4.0, dx, dy))
    # a ripple that no kernel of the basis makes
    paint(target, x, y, flux, lambda dx, dy: gaussian_psf(41, 5.0, dx, dy) * (1 + 0.02 * RIPPLE))
    target += np.random.default_rng(3).normal(size=SHAPE) * SIGMA
    result = fit(equations_of(reference, target, x, y, SIGMA))
    assert result.kept.mean() > 0.9 and result.kept[-10:].all()


def test_too_few_stars_is_an_error_with_numbers():
    """Two stars do not make a kernel."""
    is_control = np.ones(N_STAR, bool)
    is_control[:2] = False
    with pytest.raises(DataError, match="too few stars") as error:
        fit(scene()[0], is_control)
    assert error.value.numbers["n_star"] == 2
