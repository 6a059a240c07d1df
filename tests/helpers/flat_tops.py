"""Images of stars and galaxies for the search of flat tops."""

import math

import numpy as np

SKY_E, READ_NOISE_E = 500.0, 5.0


def moffat(radius2, fwhm_pix, beta=3.0):
    """Return a Moffat profile of height 1."""
    width2 = (0.5 * fwhm_pix) ** 2 / (2.0 ** (1.0 / beta) - 1.0)
    return (1.0 + radius2 / width2) ** -beta


def make_image(
    seed, *, fwhm_pix, n_star=60, n_galaxy=10, peak=(300.0, 100_000.0), size=300, trail_pix=0.0, disk_pix=0.0
):
    """Return the expected electrons of stars and galaxies with log-uniform peaks, (size, size).

    Parameters
    ----------
    trail_pix : float
        The telescope moved by this much along the rows.
    disk_pix : float
        Radius of the evenly lit disk that is the image of a star out of focus.
    """
    rng = np.random.default_rng(seed)
    image = np.full((size, size), SKY_E)
    for k in range(n_star + n_galaxy):
        x, y = rng.uniform(0.0, size, 2)
        height = math.exp(rng.uniform(*np.log(peak)))
        reach = int(8 * fwhm_pix + trail_pix + disk_pix)
        x0, x1, y0, y1 = (int(np.clip(v, 0, size)) for v in (x - reach, x + reach, y - reach, y + reach))
        v, u = np.mgrid[y0:y1, x0:x1].astype(float)
        u, v = u - x, v - y
        if k >= n_star:
            scale = rng.uniform(1.0, 4.0) * fwhm_pix
            profile = np.exp(-np.sqrt((u**2 + (v / rng.uniform(0.3, 1.0)) ** 2 + 0.3 * fwhm_pix**2) / scale**2))
        else:
            along = np.maximum(np.abs(u) - 0.5 * trail_pix, 0.0)
            radius = np.maximum(np.hypot(along, v) - disk_pix, 0.0)
            profile = moffat(radius**2, fwhm_pix)
        image[y0:y1, x0:x1] += height * profile
    return image


def expose(expected_e, seed):
    """Return an image with photon and read noise, whole electrons, float32."""
    rng = np.random.default_rng([seed, 1])
    return np.rint(rng.poisson(expected_e) + rng.normal(0.0, READ_NOISE_E, expected_e.shape)).astype(np.float32)
