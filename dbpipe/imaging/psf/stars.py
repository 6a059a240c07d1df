"""Which sources are stars, by size, and which of them may make the PSF model."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import KDTree

from dbpipe.constants import robust_sigma
from dbpipe.errors import DataError

HALF_WIDTH = 0.12
"""Sources within this of the mode in ln(size) define center and scatter of the locus."""

MIN_SIGNAL_TO_NOISE = 30.0
"""Of a star that makes the PSF, as long as there are enough."""
N_WANTED = 40
"""So many stars are enough; with fewer, more crowded and fainter ones are taken."""

N_SIGMA = 3.5
"""Distance from the locus, in its scatter and the error of a size, up to which a source is a star."""


@dataclass(frozen=True)
class StellarLocus:
    """The narrow ridge of stars in the plane of size and signal to noise."""

    sigma_pix: float
    """Size of a star: determinant radius [pix]."""
    scatter: float
    """Scatter of ln(size) of bright stars about it."""
    n_star: int
    """Bright sources on the ridge."""
    plane: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """ln(size / sigma_pix) at pixel (0, 0) and its change per pixel in x and y."""

    def sigma_at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the size of a star at positions (n,) [pix]."""
        start, along_x, along_y = self.plane
        return self.sigma_pix * np.exp(start + along_x * x + along_y * y)


def find_stellar_locus(
    sigma_pix: np.ndarray, signal_to_noise: np.ndarray, candidate: np.ndarray, *, n_star_min: int = 3
) -> StellarLocus:
    """Find the size that most bright sources share.

    The mode of ln(size) is found by halving the sample on its densest part (Bickel & Fruehwirth 2006 CSDA 50
    3500), which neither galaxies and blends (larger) nor defects (smaller) can pull.

    Parameters
    ----------
    sigma_pix : (n,) float array [pix], NaN where unmeasured
    signal_to_noise : (n,) float array
    candidate : (n,) bool array, sources whose size can be trusted
    n_star_min : int

    Raises
    ------
    DataError
        If fewer than ``n_star_min`` candidates share a size.
    """
    usable = candidate & (sigma_pix > 0.5)
    if usable.sum() < n_star_min:
        raise DataError(
            "too few stars: bright sources that are alone and free of bad pixels",
            n_star=int(usable.sum()), n_required=n_star_min, n_source=len(sigma_pix),
        )  # fmt: skip
    bright = np.flatnonzero(usable)[np.argsort(-signal_to_noise[usable], kind="stable")]
    bright = bright[: max(20, int(0.4 * len(bright)))]
    log_size = np.log(sigma_pix[bright])
    center = _half_sample_mode(log_size)
    for _ in range(5):
        near = np.abs(log_size - center) < HALF_WIDTH
        center = np.median(log_size[near])
    if near.sum() < n_star_min:
        raise DataError(
            "too few stars: bright sources of one size",
            n_star=int(near.sum()),
            n_required=n_star_min,
            n_bright=len(bright),
        )
    scatter = robust_sigma(log_size[near], center)
    return StellarLocus(float(np.exp(center)), float(max(scatter, 0.01)), int(near.sum()))


def tilt_locus(
    locus: StellarLocus, sigma_pix: np.ndarray, x: np.ndarray, y: np.ndarray, candidate: np.ndarray
) -> StellarLocus:
    """Let the size of a star change linearly over the image, where one size cannot hold all stars.

    From the stars of the common size the plane grows outward: it is fitted to the sources near it, and those near the
    new plane are fitted again.  It is kept if it changes by more than twice the ridge's half width across the sources
    and holds a fifth more of them than one size does; otherwise the locus stays as it is.

    Parameters
    ----------
    locus : StellarLocus
    sigma_pix, x, y : (n,) float arrays [pix], NaN where unmeasured
    candidate : (n,) bool array, bright sources whose size can be trusted

    Returns
    -------
    StellarLocus
    """
    usable = candidate & (sigma_pix > 0.5)
    log_size = np.log(sigma_pix[usable] / locus.sigma_pix)
    design = np.column_stack([np.ones(usable.sum()), x[usable], y[usable]])
    level = near = np.abs(log_size) < HALF_WIDTH
    if level.sum() < 10:
        return locus
    for _ in range(30):
        plane = np.linalg.lstsq(design[near], log_size[near], rcond=None)[0]
        closer = np.abs(log_size - design @ plane) < HALF_WIDTH
        if closer.sum() < 10 or np.array_equal(closer, near):
            break
        near = closer
    if near.sum() < 1.2 * level.sum() or np.ptp(design @ plane) < 2.0 * HALF_WIDTH:
        return locus
    residual = (log_size - design @ plane)[near]
    scatter = robust_sigma(residual)
    return replace(locus, scatter=max(scatter, 0.01), n_star=int(near.sum()), plane=tuple(plane.tolist()))


def is_star_like(
    sigma_pix: np.ndarray, signal_to_noise: np.ndarray, locus: StellarLocus, *, x: np.ndarray, y: np.ndarray
) -> np.ndarray:
    """Return which sources have the size of a star there within its error, about 1.2 / SN in ln(size)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        tolerance = N_SIGMA * np.hypot(locus.scatter, 1.2 / signal_to_noise)
        return np.abs(np.log(sigma_pix / locus.sigma_at(x, y))) < tolerance


def crowding(x: np.ndarray, y: np.ndarray, flux: np.ndarray, *, fwhm_pix: float) -> np.ndarray:
    """Estimate the light of neighbors in the core of each source, relative to its own flux.

    A Moffat profile with beta = 3 stands for the PSF: light within one FWHM at distance d.

    Returns
    -------
    (n,) float array
    """
    positions = np.column_stack([x, y])
    pairs = KDTree(positions).query_pairs(6.0 * fwhm_pix, output_type="ndarray")
    share = np.zeros(len(flux))
    if len(pairs) == 0:
        return share
    first, second = pairs.T
    distance = np.hypot(*(positions[first] - positions[second]).T)
    leak = (1.0 + (distance / (0.98 * fwhm_pix)) ** 2) ** -3
    flux = np.maximum(flux, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        np.add.at(share, first, leak * flux[second] / flux[first])
        np.add.at(share, second, leak * flux[first] / flux[second])
    return share


def select_psf_stars(
    star_like: np.ndarray, signal_to_noise: np.ndarray, share: np.ndarray, *, n_max: int = 200
) -> np.ndarray:
    """Choose the stars that make the PSF model: bright, and with as little light of neighbors as the field allows.

    Parameters
    ----------
    star_like : (n,) bool array: size of a star, unsaturated, no bad pixel, inside the image
    signal_to_noise : (n,) float array
    share : (n,) float array from `crowding`
    n_max : int; the limit on ``share`` is relaxed from 1% to 20% until `N_WANTED` stars pass

    Returns
    -------
    (n,) bool array
    """
    for limit, floor in [
        (0.01, MIN_SIGNAL_TO_NOISE), (0.03, MIN_SIGNAL_TO_NOISE), (0.03, 0.5 * MIN_SIGNAL_TO_NOISE),
        (0.1, 0.5 * MIN_SIGNAL_TO_NOISE), (0.2, max(10.0, MIN_SIGNAL_TO_NOISE / 3.0)),
    ]:  # fmt: skip
        chosen = star_like & (share < limit) & (signal_to_noise > floor)
        if chosen.sum() >= N_WANTED:
            break
    ranked = np.flatnonzero(chosen)[np.argsort(-signal_to_noise[chosen], kind="stable")]
    selected = np.zeros(len(share), bool)
    selected[ranked[:n_max]] = True
    return selected


def _half_sample_mode(values: np.ndarray) -> float:
    ordered = np.sort(values)
    while len(ordered) > 3:
        half = (len(ordered) + 1) // 2
        width = ordered[half - 1 :] - ordered[: len(ordered) - half + 1]
        start = int(np.argmin(width))
        ordered = ordered[start : start + half]
    return ordered.mean()
