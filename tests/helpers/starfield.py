"""Simulated star fields with a known PSF: Moffat stars, integrated over pixels by oversampling, on a Poisson sky."""

import numpy as np

from dbpipe.imaging.psf.fit import StarStamps
from dbpipe.imaging.psf.model import PsfModel


def moffat_stamp(fwhm_pix, *, beta=3.5, e1=0.0, dx=0.0, dy=0.0, size=81, oversample=5):
    """Return an effective Moffat PSF (size, size), unit sum over the infinite plane up to the tail outside."""
    scale = fwhm_pix / 2.0 / np.sqrt(2.0 ** (1.0 / beta) - 1.0)
    sub = (np.arange(oversample) + 0.5) / oversample - 0.5
    grid = (np.arange(size) - size // 2)[:, None] + sub
    v, u = np.meshgrid(grid.ravel() - dy, grid.ravel() - dx, indexing="ij")
    r2 = u**2 * (1.0 - e1) / np.sqrt(1 - e1**2) + v**2 * (1.0 + e1) / np.sqrt(1 - e1**2)
    profile = (beta - 1.0) / (np.pi * scale**2) * (1.0 + r2 / scale**2) ** -beta
    return profile.reshape(size, oversample, size, oversample).mean(axis=(1, 3))


def star_field(
    *, seed, shape=(512, 512), n_star=80, fwhm_pix=4.0, gradient=0.0, sky_e=500.0, flux_range=(3e3, 3e5), **psf
):
    """Simulate a field whose FWHM changes by ``gradient`` (relative) from the left edge to the right.

    Returns
    -------
    image (raw electrons, sky included), truth: dict of x, y, flux arrays, brightest first
    """
    rng = np.random.default_rng(seed)
    ny, nx = shape
    x, y = rng.uniform(0, nx - 1, n_star), rng.uniform(0, ny - 1, n_star)
    flux = np.sort(np.exp(rng.uniform(*np.log(flux_range), n_star)))[::-1]
    padded = np.full((ny + 200, nx + 200), float(sky_e))
    for xs, ys, fs in zip(x, y, flux, strict=True):
        row, column = int(np.floor(ys + 0.5)), int(np.floor(xs + 0.5))
        fwhm = fwhm_pix * (1.0 + gradient * (xs / (nx - 1) - 0.5))
        stamp = moffat_stamp(fwhm, dx=xs - column, dy=ys - row, **psf)
        half = stamp.shape[0] // 2
        padded[row + 100 - half : row + 101 + half, column + 100 - half : column + 101 + half] += fs * stamp
    expected = padded[100:-100, 100:-100]
    image = rng.poisson(expected) + rng.normal(0.0, 5.0, expected.shape)
    return image.astype(np.float32), {"x": x, "y": y, "flux": flux}


def moffat_model(fwhm_pix, *, size=41, shape=(512, 512), **psf):
    """Return a constant Moffat PsfModel."""
    stamp = moffat_stamp(fwhm_pix, size=size, **psf)
    return PsfModel(stamp[None] / stamp.sum(), shape, 0)


def star_stamps(image, variance, x, y, size=41):
    """Cut StarStamps out of an image; the stars must be inside."""
    half = size // 2
    boxes = [
        np.s_[int(np.floor(b + 0.5)) - half : int(np.floor(b + 0.5)) + half + 1,
              int(np.floor(a + 0.5)) - half : int(np.floor(a + 0.5)) + half + 1]
        for a, b in zip(x, y, strict=True)
    ]  # fmt: skip
    return StarStamps(np.array([image[box] for box in boxes]), 1.0 / np.array([variance[box] for box in boxes]), x, y)
