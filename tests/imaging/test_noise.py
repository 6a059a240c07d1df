"""Predicted noise power against noise that went through the real thing."""

import numpy as np
import pytest
from scipy.signal import fftconvolve
from warps import affine_warp, turned

from dbpipe.imaging import noise, resample
from dbpipe.imaging.psf.homogenize import moffat_psf


def measured_autocovariance(image, half):
    """Return the (2 half + 1)^2 mean products of an image with itself, shifted."""
    d = image.astype(float)
    inner = np.s_[half:-half, half:-half]
    lags = range(-half, half + 1)
    return np.array([[np.mean(d[inner] * np.roll(d, (-j, -i), (0, 1))[inner]) for i in lags] for j in lags])


@pytest.mark.parametrize(("angle_deg", "scale"), [(23.0, 1.07), (5.0, 0.9)])
def test_white_noise_through_a_warp(angle_deg, scale):
    """Variance and correlations of warped white noise are as predicted, to 1% of the variance."""
    matrix = turned(angle_deg, scale)
    image = np.random.default_rng(1).normal(size=(1100, 1100)).astype(np.float32)
    warped = affine_warp(image, matrix, origin=(550, 550), shape=(650, 650))
    assert not warped.mask.any()
    expected = noise.autocovariance(noise.interpolation_power(64, matrix), 3)
    np.testing.assert_allclose(measured_autocovariance(warped.image, 3), expected, atol=0.01 * expected.max())


def test_transfer_is_that_of_the_weights_that_a_warp_uses():
    """Up to the highest frequency the interpolation passes what its table of normalized weights does, to 2e-4."""
    phase = np.arange(1024) / 1024
    place = np.arange(-2, 4) - phase[:, None]
    for k in (0.0, 1.0, 2.5, np.pi, 4.0):
        expected = np.mean(np.sum(resample._TABLE[:-1] * np.cos(k * place), axis=1))
        assert noise._lanczos_transfer(k) == pytest.approx(expected, abs=2e-4)


def test_smooth_noise_through_a_warp():
    """Noise that was correlated before the warp is predicted from its own autocovariance."""
    rng, matrix, kernel = np.random.default_rng(2), turned(23.0, 1.1), moffat_psf(3.5, None, 21)
    smooth = fftconvolve(rng.normal(size=(1200, 1200)), kernel, mode="same")
    stamp = noise.autocovariance(noise.kernel_power(kernel, 64), 20)
    warped = affine_warp(smooth.astype(np.float32), matrix, origin=(600, 600), shape=(700, 700))
    power = noise.interpolation_power(64, matrix, power=noise.power_of(stamp))
    expected = noise.autocovariance(power, 4)
    np.testing.assert_allclose(measured_autocovariance(warped.image, 4), expected, atol=0.03 * expected.max())


def test_the_mean_power_of_a_kernel_is_the_sum_of_its_squares():
    """Convolution multiplies the variance of white noise by the sum of the squared kernel (Parseval)."""
    kernel = np.random.default_rng(3).normal(size=(9, 9))
    assert noise.kernel_power(kernel, 32).mean() == pytest.approx(np.sum(kernel**2))


def test_a_kernel_has_its_origin_at_the_center():
    """The transfer function of the identity is 1, and that of a symmetric kernel is real."""
    identity = np.zeros((5, 5))
    identity[2, 2] = 1.0
    np.testing.assert_allclose(noise.kernel_transfer(identity, 16), 1.0, atol=1e-14)
    np.testing.assert_allclose(noise.kernel_transfer(moffat_psf(3.0, None, 15), 32).imag, 0.0, atol=1e-14)


def test_power_and_autocovariance_are_two_sides_of_one_thing():
    """Power to stamp and back gives the power, at the grid's frequencies and their aliases."""
    power = noise.kernel_power(moffat_psf(3.0, None, 15), 64)
    kx, ky = noise.frequencies(64)
    back = noise.power_of(noise.autocovariance(power, 20))
    np.testing.assert_allclose(back(kx, ky), power, atol=1e-6)
    np.testing.assert_allclose(back(kx + 2 * np.pi, ky - 2 * np.pi), power, atol=1e-6)


def test_white_noise_is_one_everywhere():
    """The autocovariance of power 1 is a single one at lag zero."""
    stamp = noise.autocovariance(np.ones((32, 32)), 3)
    assert stamp[3, 3] == pytest.approx(1.0) and np.abs(stamp).sum() == pytest.approx(1.0)


def test_power_is_measured_between_the_sources():
    """The power of noise of which a fifth is hidden comes out to 3% of its maximum, with a mean of 1."""
    rng = np.random.default_rng(8)
    kernel = moffat_psf(2.2, None, 9)
    field = fftconvolve(rng.normal(size=(620, 660)), kernel, mode="valid")
    blank = rng.random(field.shape) > 0.2
    expected = noise.kernel_power(kernel, 32)
    measured = noise.measure_power(np.where(blank, field + 5.0, 1e5), blank, half=6, size=32)
    assert measured.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(measured, expected / expected.mean(), atol=0.03 * expected.max() / expected.mean())


@pytest.mark.parametrize("matrix", [np.eye(2), [[0.9, 0.2], [-0.25, 1.1]], [[-1.3, 0.0], [0.1, 1.2]]])
def test_powers_by_one_matrix_are_those_one_by_one(matrix):
    """The sparse matrix of a geometry gives the power of any stamp as the evaluation alias by alias does."""
    rng = np.random.default_rng(3)
    on_grid = noise.PowerOnGrid(48, np.array(matrix))
    for size in (5, 21):
        half = rng.normal(size=(size, size)) * 0.05
        stamp = half + half[::-1, ::-1]
        stamp[size // 2, size // 2] = 1.0
        slow = noise.interpolation_power(48, np.array(matrix), power=noise.power_of(stamp))
        np.testing.assert_allclose(on_grid(stamp), slow, rtol=1e-10, atol=1e-12)
