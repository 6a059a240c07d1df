"""Where sources can be put: on stars, near bright stars, on galaxies and on blank sky."""

from collections.abc import Mapping

import numpy as np
from scipy.spatial import cKDTree

from dbpipe.imaging.mask import DETECTED, UNUSABLE

NEAR_FWHM = (1.0, 6.0)
"""Distance from a bright star that counts as near it, in FWHM."""
_EDGE_FWHM = 3.0
"""Nothing is put where the PSF fit would leave the image."""
_TRIES = 4
"""Places tried around each bright star and in each galaxy."""


def find_candidates(
    mask: np.ndarray,
    *,
    sources: Mapping[str, np.ndarray],
    kernel_stars: Mapping[str, np.ndarray],
    fwhm_pix: float,
    kernel_star_fraction: float,
    n_blank: int,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Return places in random order, kind -> (n, 2) array of x, y [pix]; the rarest kind first.

    Parameters
    ----------
    mask : (ny, nx) uint16 array of the difference image
    sources : dict of (n,) arrays
        x, y, kind ("star" or "galaxy"), size_pix, is_clean, is_bright_star: what the exposure shows.
    kernel_stars : dict with x and y
        Stars of the matching kernel: no more than a fraction of them gets a source, as in a sky where few things vary.
    fwhm_pix : float
    kernel_star_fraction : float
    n_blank : int
        Places tried on blank sky.
    rng : numpy.random.Generator
    """
    xy = np.column_stack([sources["x"], sources["y"]])
    clean, bright = sources["is_clean"].astype(bool), sources["is_bright_star"].astype(bool)
    star = xy[clean & (sources["kind"] == "star")]
    galaxy = clean & (sources["kind"] == "galaxy")
    size = np.minimum(sources["size_pix"][galaxy], 2.0 * fwhm_pix)
    in_galaxy = np.repeat(xy[galaxy], _TRIES, axis=0)
    in_galaxy += np.repeat(size, _TRIES)[:, None] * rng.normal(size=in_galaxy.shape)
    ny, nx = mask.shape
    everywhere = rng.random((n_blank, 2)) * [nx - 1.0, ny - 1.0]
    found = {
        "star": rng.permutation(star),
        "bright_star": rng.permutation(_around(xy[bright], fwhm_pix, rng)),
        "galaxy": rng.permutation(in_galaxy),
        "blank": everywhere[_distance(everywhere, xy[bright]) > NEAR_FWHM[1] * fwhm_pix],
    }
    kernel = np.column_stack([kernel_stars["x"], kernel_stars["y"]])
    barred = rng.permutation(kernel)[round(kernel_star_fraction * len(kernel)) :]
    allowed = {}
    for kind, places in found.items():
        places = places[_usable(mask, places, _EDGE_FWHM * fwhm_pix, DETECTED if kind == "blank" else 0)]
        allowed[kind] = places[_distance(places, barred) > 2.0 * fwhm_pix + 3.0]  # outside of their stamps
    return allowed


def _around(stars: np.ndarray, fwhm_pix: float, rng: np.random.Generator) -> np.ndarray:
    """Return places around stars, uniform in distance."""
    center = np.repeat(stars, _TRIES, axis=0)
    distance = fwhm_pix * rng.uniform(*NEAR_FWHM, len(center))
    angle = rng.uniform(0.0, 2.0 * np.pi, len(center))
    return center + np.column_stack([distance * np.cos(angle), distance * np.sin(angle)])


def _distance(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    if len(others) == 0 or len(places) == 0:
        return np.full(len(places), np.inf)
    return cKDTree(others).query(places)[0]


def _usable(mask: np.ndarray, places: np.ndarray, margin_pix: float, more_bits: int) -> np.ndarray:
    """Return whether the central pixel of each place can be used and is away from the edge."""
    ny, nx = mask.shape
    x, y = places.T
    inside = (np.minimum(x, y) >= margin_pix) & (x <= nx - 1 - margin_pix) & (y <= ny - 1 - margin_pix)
    column, row = (np.clip(np.rint(v).astype(int), 0, n - 1) for v, n in ((x, nx), (y, ny)))
    return inside & ((mask[row, column] & np.uint16(UNUSABLE | more_bits)) == 0)
