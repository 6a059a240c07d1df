"""How the template lies on the science image: by the two WCS where there are two, and by the stars in any case."""

from dataclasses import dataclass

import numpy as np

from dbpipe.constants import robust_sigma
from dbpipe.errors import DataError
from dbpipe.pair.side import Side
from dbpipe.sky.astrometry.pattern import match_pattern
from dbpipe.sky.matching import match_points
from dbpipe.sky.wcs import PixelMap, pixel_to_sky, sky_to_pixel

MIN_STARS = 6
"""Stars that both images must have: fewer cannot tell a shift from chance."""
AFFINE_STARS = 12
"""Stars from which on rotation and scale are fitted too."""
MATCH_RADIUS_PIX = 3.0
MAX_OFFSET_PIX = 200.0
"""Largest offset that is looked for where the WCS do not lead to the stars."""
SAME_GRID_PIX = 0.25
"""Two images that are nowhere further apart are not resampled: the matching kernel takes the rest."""
MAX_SCATTER_PIX = 0.5
"""Stars that scatter more are no common stars, or one image is distorted beyond what a plane map can undo."""
STEP_PIX = 32


@dataclass(frozen=True)
class Alignment:
    """How a template lies on a science image.

    Attributes
    ----------
    n_star : int, stars that both have
    offset_pix : float, largest distance of one and the same pixel number in the two images
    scatter_pix : float, robust scatter per axis of the stars about the map [pix]
    grid : PixelMap, where the nodes of the science image lie in the template; None if it is on the same grid already
    """

    n_star: int
    offset_pix: float
    scatter_pix: float
    grid: PixelMap | None


def align(science: Side, template: Side) -> Alignment:
    """Find where the pixels of the science image lie in the template.

    Raises
    ------
    DataError
        If the two have too few stars in common, or these do not agree.
    """
    there = _predicted(science, template)
    here = _places(science)
    matrix, shift, n_star, scatter_pix = _fit(science, template, there, here)
    shape = science.plane.image.shape
    nodes = [np.arange(-(-n // STEP_PIX) + 1) * float(STEP_PIX) for n in shape]
    y, x = np.meshgrid(*nodes, indexing="ij")
    flat = np.stack([x.ravel(), y.ravel()], axis=1)
    before = (flat - shift) @ np.linalg.inv(matrix).T
    if science.wcs is not None and template.wcs is not None:
        before = np.stack(sky_to_pixel(template.wcs, *pixel_to_sky(science.wcs, *before.T)), axis=1)
    offset_pix = float(np.nanmax(np.hypot(*(before - flat).T)))
    same = offset_pix <= SAME_GRID_PIX and template.plane.image.shape == shape
    grid = None if same else PixelMap(before[:, 0].reshape(x.shape), before[:, 1].reshape(x.shape), STEP_PIX)
    return Alignment(n_star, offset_pix, scatter_pix, grid)


def _places(side: Side) -> np.ndarray:
    return np.stack([side.stars.x, side.stars.y], axis=1)[side.stars.is_good]


def _predicted(science: Side, template: Side) -> np.ndarray:
    """Return where the template's stars should be on the science image, (n, 2) [pix]."""
    places = _places(template)
    if science.wcs is None or template.wcs is None:
        return places
    return np.stack(sky_to_pixel(science.wcs, *pixel_to_sky(template.wcs, *places.T)), axis=1)


def _fit(
    science: Side, template: Side, there: np.ndarray, here: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Return matrix (2, 2) and shift (2,) from predicted to measured positions, the number of stars, their scatter."""
    index_there, index_here = match_points(there, here, radius=MATCH_RADIUS_PIX)
    inside = np.isfinite(there).all(axis=1) & (there > 0).all(axis=1) & (there < science.plane.image.shape[::-1]).all(1)
    if len(index_there) < max(MIN_STARS, 0.3 * min(inside.sum(), len(here))):
        index_there, index_here = _search(science, template, there, here)
    if len(index_there) < MIN_STARS:
        raise _unaligned(there, here, len(index_there))
    source, target = there[index_there], here[index_here]
    kept = np.ones(len(source), bool)
    for _ in range(5):
        matrix, shift = _plane_map(source[kept], target[kept])
        left = target - source @ matrix.T - shift
        sigma = max(float(np.mean([robust_sigma(v, 0.0) for v in left[kept].T])), 1e-3)
        kept = (np.abs(left) < 4.0 * sigma).all(axis=1)
        if kept.sum() < MIN_STARS:
            raise _unaligned(there, here, int(kept.sum()))
    if sigma > MAX_SCATTER_PIX:
        raise DataError(
            "the two images do not lie on each other: common stars scatter too much",
            scatter_pix=sigma,
            allowed_pix=MAX_SCATTER_PIX,
            n_star=int(kept.sum()),
        )
    return matrix, shift, int(kept.sum()), sigma


def _search(science: Side, template: Side, there: np.ndarray, here: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs by the pattern that the stars make, whatever the headers say."""
    flux_there = template.stars.flux[template.stars.is_good]
    flux_here = science.stars.flux[science.stars.is_good]
    shape = science.plane.image.shape
    reach = min(MAX_OFFSET_PIX, 0.5 * min(shape))
    try:
        found = match_pattern(here, there, shape, flux=flux_here, mag=-flux_there, max_offset_pix=reach)
    except DataError as error:
        raise _unaligned(there, here, 0) from error
    return found.reference_index, found.source_index


def _unaligned(there: np.ndarray, here: np.ndarray, n_common: int) -> DataError:
    return DataError(
        "the two images do not show the same stars: register them first, or give both a WCS that is right to "
        f"{MAX_OFFSET_PIX:.0f} pixels",
        n_common_star=n_common,
        n_required=MIN_STARS,
        n_science_star=len(here),
        n_template_star=len(there),
    )


def _plane_map(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit target = matrix @ source + shift; with few stars the matrix stays 1."""
    if len(source) < AFFINE_STARS:
        return np.eye(2), np.median(target - source, axis=0)
    middle = source.mean(axis=0)
    terms = np.column_stack([source - middle, np.ones(len(source))])
    solution = np.linalg.lstsq(terms, target, rcond=None)[0]
    matrix = solution[:2].T
    return matrix, solution[2] - matrix @ middle
