"""Point sources of known flux: where to put them, how bright, and their light with its noise."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.spatial import cKDTree

from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.mask import UNUSABLE
from dbpipe.imaging.psf.model import PsfModel


def add_point_sources(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    psf: PsfModel,
    x: np.ndarray,
    y: np.ndarray,
    flux: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Add point sources to a copy of an image, with the Poisson noise of their light.

    Parameters
    ----------
    image : (ny, nx) float array [electron]
    mask : (ny, nx) uint16 array; unusable pixels stay as they are
    psf : PsfModel, evaluated at each place and moved by the fraction of a pixel
    x, y : (n,) float arrays [pix]
    flux : (n,) float array [electron]
    rng : numpy.random.Generator

    Returns
    -------
    (ny, nx) float32 array
    """
    light = paint_point_sources(image.shape, psf=psf, x=x, y=y, flux=flux)
    light[(mask & UNUSABLE) != 0] = 0.0
    # the wings of a measured PSF may be slightly negative: that part has no photons
    noisy = rng.poisson(np.maximum(light, 0.0)) + np.minimum(light, 0.0)
    return (image + noisy).astype(np.float32)


def paint_point_sources(
    shape: tuple[int, int],
    *,
    psf: PsfModel,
    x: Sequence[float] | np.ndarray,
    y: Sequence[float] | np.ndarray,
    flux: Sequence[float] | np.ndarray,
) -> np.ndarray:
    """Return the expected light of point sources on an image of a shape (ny, nx), float64 [unit of the flux]."""
    half = psf.size // 2
    light = np.zeros((shape[0] + 2 * half, shape[1] + 2 * half))
    stamps = psf.placed_at_many(x, y)
    columns, rows = (np.floor(np.asarray(v) + 0.5).astype(int) for v in (x, y))
    for stamp, column, row, amount in zip(stamps, columns, rows, flux, strict=True):
        light[row : row + psf.size, column : column + psf.size] += amount * stamp.astype(float)
    return light[half:-half, half:-half].copy()


def predict_flux_err(
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf_field: KernelField,
    x: np.ndarray,
    y: np.ndarray,
    light: np.ndarray | None = None,
) -> np.ndarray:
    """Predict the error of the PSF flux of a point source at each place of a whitened difference.

    1 / err^2 = sum P^2 / V over usable pixels (Naylor 1998 MNRAS 296 339, eq. 12), V with the source's own light.

    Parameters
    ----------
    variance : (ny, nx) float array
    mask : (ny, nx) uint16 array
    psf_field : KernelField, PSF of the difference
    x, y : (n,) float arrays [pix]
    light : (ny, nx) float array, optional
        Expected light that is not in the variance yet.

    Returns
    -------
    (n,) float array, infinite where no pixel is usable
    """
    half = psf_field.kernels.shape[-1] // 2
    total = variance if light is None else variance + np.maximum(light, 0.0)
    usable = ((mask & UNUSABLE) == 0) & (variance > 0)
    weight = np.pad(np.divide(1.0, total, out=np.zeros(variance.shape), where=usable), half)
    information = np.empty(len(x))
    for k, (column, row) in enumerate(zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True)):
        psf = psf_field.at(column, row)
        window = weight[row : row + len(psf), column : column + len(psf)]
        information[k] = np.sum(np.square(psf, dtype=float) * window)
    return np.divide(1.0, np.sqrt(information), out=np.full(len(x), np.inf), where=information > 0)


def draw_snr(
    rng: np.random.Generator,
    n: int,
    *,
    snr_range: tuple[float, float],
    dense_range: tuple[float, float],
    dense_fraction: float,
) -> np.ndarray:
    """Draw S/N uniformly over a range, a fraction of them over a narrower one; (n,) float array."""
    dense = rng.random(n) < dense_fraction
    return np.where(dense, rng.uniform(*dense_range, n), rng.uniform(*snr_range, n))


def spread_places(
    candidates: Mapping[str, np.ndarray], wanted: Mapping[str, int], *, separation_pix: float
) -> tuple[np.ndarray, np.ndarray]:
    """Choose places that keep their distance from one another, kind by kind.

    Parameters
    ----------
    candidates : dict
        Kind -> (n, 2) float array of x, y in the order in which they are tried.
    wanted : dict
        Kind -> largest number of places.
    separation_pix : float
        Least distance of two places.

    Returns
    -------
    kind : (m,) array of str
    place : (m, 2) float array
    """
    cells: dict[tuple[int, ...], list[np.ndarray]] = {}
    chosen, kinds = [], []
    for kind, places in candidates.items():
        n_left = wanted[kind]
        for place in places:
            if n_left == 0:
                break
            cell = tuple((place // separation_pix).astype(int))
            if any(np.hypot(*(place - other)) < separation_pix for other in _around(cells, cell)):
                continue
            cells.setdefault(cell, []).append(place)
            chosen.append(place)
            kinds.append(kind)
            n_left -= 1
    return np.array(kinds, dtype=str), np.array(chosen, float).reshape(-1, 2)


def _around(cells: Mapping[tuple[int, ...], list[np.ndarray]], cell: tuple[int, ...]) -> list[np.ndarray]:
    return [p for dy in (-1, 0, 1) for dx in (-1, 0, 1) for p in cells.get((cell[0] + dx, cell[1] + dy), ())]


def match_places(
    place: np.ndarray, x: Sequence[float] | np.ndarray, y: Sequence[float] | np.ndarray, *, radius_pix: float
) -> np.ndarray:
    """Return, for each place (n, 2), the index of the nearest of the points x, y within a radius, -1 if none."""
    if len(x) == 0 or len(place) == 0:
        return np.full(len(place), -1)
    distance, index = cKDTree(np.column_stack([x, y])).query(place, distance_upper_bound=radius_pix)
    return np.where(np.isfinite(distance), index, -1)
