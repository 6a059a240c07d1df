"""The matching kernel that the PSF models of two images give: the start that the stars then correct.

A PSF model is the mean of many stars and smooth, so this kernel is known at frequencies where the pixels of single
stars are all noise.  What is left for the fit to the stars' pixels is small and broad.
"""

from dataclasses import dataclass

import numpy as np

from dbpipe.imaging.psf.homogenize import match_psf
from dbpipe.imaging.psf.model import Psf

N_NODE = 5
"""Places along each axis where it is computed: PSF models are polynomials of low degree."""


@dataclass(frozen=True)
class StartKernel:
    """Kernels at nodes, linear in between.

    Attributes
    ----------
    nodes : (n, n, size, size) float array of unit-sum kernels
    shape : (ny, nx) of the image, whose corners are the outer nodes
    residual : float, largest rms of (reference's PSF * kernel - target's) over the rms of the target's
    """

    nodes: np.ndarray
    shape: tuple[int, ...]
    residual: float

    def at_many(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the kernels (n, size, size) at n positions [pix]."""
        left, right_part = self._cell(np.asarray(x, float), self.shape[1])
        low, upper_part = self._cell(np.asarray(y, float), self.shape[0])
        kernels = np.zeros(1)
        for dy, v in ((0, 1.0 - upper_part), (1, upper_part)):
            for dx, u in ((0, 1.0 - right_part), (1, right_part)):
                kernels = kernels + (u * v)[:, None, None] * self.nodes[low + dy, left + dx]
        return kernels

    def shares(self, x: float, y: float) -> list[tuple[tuple[int, int], float]]:
        """Return the four nodes (j, i) around a place [pix] and their shares in the kernel there."""
        i, u = (v[()] for v in self._cell(np.asarray(x, float), self.shape[1]))
        j, v = (v[()] for v in self._cell(np.asarray(y, float), self.shape[0]))
        return [
            ((int(j + dy), int(i + dx)), float((u if dx else 1.0 - u) * (v if dy else 1.0 - v)))
            for dy in (0, 1) for dx in (0, 1)
        ]  # fmt: skip

    @property
    def middle(self) -> np.ndarray:
        """The kernel in the middle of the image, (size, size)."""
        return self.nodes[len(self.nodes) // 2, len(self.nodes) // 2]

    def _cell(self, at: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        place = np.clip(at / (length - 1) * (len(self.nodes) - 1), 0.0, len(self.nodes) - 1.0)
        cell = np.minimum(place.astype(int), len(self.nodes) - 2)
        return cell, place - cell


def fit_start_kernel(reference_psf: Psf, target_psf: Psf, *, shape: tuple[int, ...], size_pix: int) -> StartKernel:
    """Fit the kernel that turns the reference's PSF model into the target's.

    Parameters
    ----------
    reference_psf, target_psf : objects with ``at_many(x, y) -> (n, p, p)``
    shape : (ny, nx) of the image
    size_pix : int, odd, side of the kernel

    Returns
    -------
    StartKernel
    """
    x, y = np.meshgrid(np.linspace(0, shape[1] - 1, N_NODE), np.linspace(0, shape[0] - 1, N_NODE))
    pairs = zip(*(psf.at_many(x.ravel(), y.ravel()).astype(float) for psf in (reference_psf, target_psf)), strict=True)
    fits = [match_psf(p / p.sum(), g / g.sum(), kernel_size_pix=size_pix) for p, g in pairs]
    nodes = np.reshape([fit.kernel for fit in fits], (N_NODE, N_NODE, size_pix, size_pix))
    return StartKernel(nodes, tuple(shape), max(fit.residual for fit in fits))


def no_start(shape: tuple[int, ...], size_pix: int) -> StartKernel:
    """Return the start where PSF models do not tell one: a single pixel."""
    nodes = np.zeros((N_NODE, N_NODE, size_pix, size_pix))
    nodes[:, :, size_pix // 2, size_pix // 2] = 1.0
    return StartKernel(nodes, tuple(shape), np.nan)
