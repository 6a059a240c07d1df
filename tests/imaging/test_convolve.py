"""Convolution with a kernel that is constant in blocks, against scipy."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from dbpipe.imaging.convolve import KernelField, block_centers, convolve


def field_of(rng, shape, size, block_pix):
    n_y, n_x = (-(-n // block_pix) for n in shape)
    return KernelField(rng.normal(size=(n_y, n_x, size, size)).astype(np.float32), block_pix)


@pytest.mark.parametrize("size", [1, 3, 7, 21])
@pytest.mark.parametrize("shape", [(64, 64), (61, 90), (130, 47)])
def test_one_kernel_is_a_plain_convolution(shape, size):
    """With the same kernel in every block the result is scipy's, zero outside the image."""
    rng = np.random.default_rng(1)
    image = rng.normal(size=shape).astype(np.float32)
    kernel = rng.normal(size=(size, size)).astype(np.float32)
    field = KernelField(np.tile(kernel, (5, 5, 1, 1)), 32)
    expected = fftconvolve(image.astype(float), kernel.astype(float), mode="same")
    np.testing.assert_allclose(convolve(image, field), expected, atol=2e-6 * size**2 + 1e-5)


def test_every_block_has_its_own_kernel():
    """Inside a block the result is the convolution of the whole image with the kernel of that block."""
    rng = np.random.default_rng(2)
    image = rng.normal(size=(75, 101)).astype(np.float32)
    field = field_of(rng, image.shape, 9, 32)
    result = convolve(image, field)
    for j in range(3):
        for i in range(4):
            block = np.s_[32 * j : 32 * (j + 1), 32 * i : 32 * (i + 1)]
            whole = fftconvolve(image.astype(float), field.kernels[j, i].astype(float), mode="same")
            np.testing.assert_allclose(result[block], whole[block], atol=1e-4)


def test_a_displaced_peak_moves_the_image_its_way():
    """A kernel with its one at (+2, -1) moves what is at (x, y) to (x + 2, y - 1)."""
    image = np.zeros((20, 20), np.float32)
    image[10, 8] = 3.0
    kernel = np.zeros((1, 1, 5, 5), np.float32)
    kernel[0, 0, 2 - 1, 2 + 2] = 1.0
    result = convolve(image, KernelField(kernel, 64))
    assert result[9, 10] == 3.0 and np.count_nonzero(result) == 1


def test_the_kernel_at_a_pixel_is_that_of_its_block():
    """Positions outside the image have the kernel of the nearest block."""
    field = field_of(np.random.default_rng(3), (96, 64), 3, 32)
    assert np.array_equal(field.at(33.0, 70.9), field.kernels[2, 1])
    assert np.array_equal(field.at(-5.0, 500.0), field.kernels[2, 0])


def test_block_centers_are_the_middle_of_what_the_blocks_cover():
    """The last block may be narrower; its center is that of its own pixels."""
    x, y = block_centers((64, 80), 32)
    np.testing.assert_array_equal(x, [15.5, 47.5, 71.5])
    np.testing.assert_array_equal(y, [15.5, 47.5])
