"""The kernel between two PSF models."""

import numpy as np
import pytest
from scipy.signal import fftconvolve

from dbpipe.imaging.kernel.basis import Transfers, corrections, make_basis
from dbpipe.imaging.kernel.start import N_NODE, StartKernel, fit_start_kernel
from dbpipe.imaging.psf.homogenize import moffat_psf
from dbpipe.imaging.psf.model import UniformPsf

SHAPE = (300, 500)


class WideningPsf:
    """A PSF whose FWHM grows along x from 4 to 5 pixels."""

    def at_many(self, x, y):
        return np.array([moffat_psf(4.0 + u / (SHAPE[1] - 1), 4.0, 41) for u in x])


@pytest.mark.parametrize(("x", "fwhm_pix"), [(0.0, 4.0), (249.5, 4.5), (400.0, 4.8)])
def test_the_reference_becomes_the_target_everywhere(x, fwhm_pix):
    """Convolved with the kernel of a place, the reference's PSF is the target's there, to 1% of its peak."""
    reference = UniformPsf(moffat_psf(3.7, 4.0, 41))
    start = fit_start_kernel(reference, WideningPsf(), shape=SHAPE, size_pix=25)
    kernel = start.at_many(np.array([x]), np.array([120.0]))[0]
    made, wanted = fftconvolve(reference.stamp, kernel, mode="same"), moffat_psf(fwhm_pix, 4.0, 41)
    assert np.abs(made - wanted).max() < 0.01 * wanted.max()
    assert kernel.sum() == pytest.approx(1.0, abs=1e-9)


def test_the_middle_is_that_of_the_image():
    """The kernel in the middle is what its position gives."""
    start = fit_start_kernel(UniformPsf(moffat_psf(3.7, 4.0, 41)), WideningPsf(), shape=SHAPE, size_pix=25)
    np.testing.assert_allclose(start.middle, start.at_many(np.array([249.5]), np.array([149.5]))[0], atol=1e-12)


def test_transforms_between_nodes_are_those_of_the_kernel_there():
    """What is put together from the nodes is the transform of the corrections of the start kernel at the place."""
    rng = np.random.default_rng(3)
    nodes = rng.uniform(0.0, 1.0, (N_NODE, N_NODE, 15, 15))
    nodes /= nodes.sum(axis=(2, 3), keepdims=True)
    start = StartKernel(nodes, (300, 500), 0.0)
    basis = make_basis((0.7, 1.5), (2, 1), 15)
    transfers = Transfers(start, basis, (48, 48))
    for x, y in ((0.0, 0.0), (499.0, 299.0), (77.3, 211.9), (250.0, 149.5)):
        (kernel,) = start.at_many(np.array([x]), np.array([y]))
        expected = np.fft.rfft2(corrections(kernel, basis), s=(48, 48))
        np.testing.assert_allclose(transfers.at(x, y), expected, atol=1e-12)
