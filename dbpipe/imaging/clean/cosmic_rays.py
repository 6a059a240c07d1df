"""Cosmic rays: what is sharper than the PSF.

Every star, every galaxy and every blend is a sum of PSFs of positive flux. In such a sum the mean of two opposite
neighbors of a pixel is never less than a fixed part of the pixel: for a Gaussian PSF of width s and neighbors at
distance d that part is exp(-d^2 / 2 s^2), reached in the middle of a star, whatever its place on the pixels (with the
star off by x along the line the ratio is larger by cosh(x d / s^2)). A hit that leaves less than its part, in one of
the four directions, is none of them. SDSS's Photo and the Rubin pipelines (findCosmicRays of meas_algorithms) ask the
same; here the bound and its noise are explicit. Laplacian edge detection (van Dokkum 2001 PASP 113 1420) does not know
the PSF: of stars of FWHM 1.4 to 4 pix it took the core of one in thirty to one in two, and 0.4 s a megapixel.
"""

import numpy as np

_DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""(dy, dx) to one of two opposite neighbors; the other one is at (-dy, -dx). Means of four neighbors find no more."""
_PSF_MARGIN = 0.75
"""The bound is lowered to this part of it. Stars that are 15% sharper than is known, with ellipticity 0.3, are safe
then at FWHM 1.4 pix, where there is least room."""
_GROW = 0.5
"""Part of the threshold for what touches a hit."""


def find_cosmic_rays(
    image: np.ndarray,
    unusable: np.ndarray,
    *,
    sky_e: float | np.ndarray,
    read_noise_e: float,
    psf_sigma_pix: float,
    sigma: float = 5.0,
) -> np.ndarray:
    """Find cosmic rays.

    Noise is that of the sky and of the light that the neighbors show: a variance plane would hold the counts of the
    hits themselves. What touches a hit is looked at again, the hits replaced by the mean of their neighbors.

    Parameters
    ----------
    image : (ny, nx) float array [electron], background subtracted
    unusable : (ny, nx) bool array, left out of the search; a pair of neighbors of which one is unusable says nothing
    sky_e : float or (ny, nx) array [electron], the background that was subtracted
    read_noise_e : float [electron]
    psf_sigma_pix : float, width of the PSF as a Gaussian, pixels included
    sigma : float, threshold in standard deviations

    Returns
    -------
    hit : (ny, nx) bool array; never the outermost pixels, which lack neighbors
    """
    nx = image.shape[1]
    sky = np.maximum(sky_e, np.float32(0)).astype(np.float32) + np.float32(read_noise_e**2)
    noise_e2 = np.broadcast_to(sky, image.shape).ravel()
    # Poisson's tail is longer than Gauss's: by this many electrons at the threshold (Cornish & Fisher 1938)
    value = (image - np.float32((sigma**2 - 1.0) / 6.0)).astype(np.float32).ravel()
    searched = ~unusable
    searched[[0, -1]] = searched[:, [0, -1]] = False
    searched, usable, hit = searched.ravel(), ~unusable.ravel(), np.zeros(image.size, bool)
    cleaned = value.copy()
    around = np.array([dy * nx + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)])

    def sharper(index: np.ndarray, threshold: float) -> np.ndarray:
        """Return those of the pixels that a sum of PSFs cannot have."""
        index = index[searched[index] & ~hit[index] & (value[index] > threshold * np.sqrt(noise_e2[index]))]
        excess = np.zeros(len(index), np.float32)
        for dy, dx in _DIRECTIONS:
            bound = np.float32(_PSF_MARGIN * np.exp(-(dy * dy + dx * dx) / (2.0 * psf_sigma_pix**2)))
            first, second = index + dy * nx + dx, index - dy * nx - dx
            mean = 0.5 * (cleaned[first] + cleaned[second])
            light = np.maximum(mean, 0.0)
            variance = bound**2 * (noise_e2[index] + light / bound) + 0.5 * (noise_e2[index] + light)
            told = usable[first] & usable[second]
            excess = np.maximum(excess, told * (bound * value[index] - mean) / np.sqrt(variance))
        return index[excess > threshold]

    found = sharper(np.flatnonzero(value > sigma * np.sqrt(noise_e2)), sigma)
    while len(found):
        hit[found] = True
        near = found[:, None] + around
        shown = usable[near] & ~hit[near]
        cleaned[found] = (value[near] * shown).sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
        found = sharper(np.unique(near), _GROW * sigma)
    return hit.reshape(image.shape)
