"""Bright stars in rings: what their light does beyond the PSF stamps."""

from dataclasses import dataclass

import numpy as np

MAX_RADIUS_PIX = 120
"""As far as stars are looked after."""
MIN_PIXELS = 12
"""Of a ring, for a median of it."""
MEDIAN_LOSS = np.sqrt(0.5 * np.pi)
"""Standard error of a median over that of a mean, of many Gaussian values."""
ONE_STAR_LIMIT = 0.1
"""Relative error to which a single star is believed to show the wings of all."""


@dataclass(frozen=True)
class Stars:
    """Bright stars: positions [pix] and fluxes [image unit], (n,) each; NaN where the flux is unknown."""

    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray

    def take(self, index: np.ndarray | slice) -> "Stars":
        """Return some of them."""
        return Stars(self.x[index], self.y[index], self.flux[index])


@dataclass(frozen=True)
class Profile:
    """A function of the distance from a star: one value for each ring between edges [pix]."""

    edges_pix: np.ndarray
    value: np.ndarray

    def at(self, radius_pix: np.ndarray) -> np.ndarray:
        """Interpolate between the middles of the rings; flat within the first, zero beyond the last edge."""
        middle = 0.5 * (self.edges_pix[1:] + self.edges_pix[:-1])
        nodes = np.append(middle, self.edges_pix[-1])
        return np.interp(radius_pix, nodes, np.append(self.value, 0.0), right=0.0)


def ring_edges(edges_fwhm: tuple[float, ...], fwhm_pix: float) -> np.ndarray:
    """Return edges of rings in pixels, as far as stars are looked after."""
    edges = np.asarray(edges_fwhm) * fwhm_pix
    return edges[edges <= MAX_RADIUS_PIX]


def window_radius(shape: tuple[int, int], x: float, y: float, reach: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """Return the window of an image around a place, and the distance of its pixels from it."""
    window, _ = overlap(shape, x, y, int(np.ceil(reach)))
    rows, columns = np.ogrid[window]
    return window, np.hypot(columns - x, rows - y)


def overlap(shape: tuple[int, int], x: float, y: float, half: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the slices of the image and of the stamp of this half side that overlap."""
    image, stamp = [], []
    for center, n in ((int(np.floor(y + 0.5)), shape[0]), (int(np.floor(x + 0.5)), shape[1])):
        first, last = max(center - half, 0), min(center + half + 1, n)
        image.append(slice(first, max(first, last)))
        stamp.append(slice(first - center + half, max(first, last) - center + half))
    return (image[0], image[1]), (stamp[0], stamp[1])
