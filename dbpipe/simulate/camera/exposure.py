"""One simulated exposure: the image, and the truth about what is in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import ndimage

from dbpipe.constants import flux_njy
from dbpipe.simulate.camera import detector
from dbpipe.simulate.camera.render import add_sources
from dbpipe.simulate.camera.visits import CCD, sky_to_pixel
from dbpipe.simulate.sky.fixed import galaxy_gaussians, star_positions

if TYPE_CHECKING:
    from dbpipe.simulate.camera.visits import Visit

MARGIN_PIX = 60.0
"""Sources this far outside the image still shine into it."""
AROUND_PIX = 5
"""Side of the square around a source in which a bad pixel spoils it."""


@dataclass(frozen=True)
class Exposed:
    """What one exposure recorded, and the truth tables of it."""

    image: np.ndarray
    """(ny, nx) float32 [electron]."""
    stars: pd.DataFrame
    variables: pd.DataFrame
    bad_regions: pd.DataFrame


def simulate_exposure(
    visit: "Visit", sky: Any, dead_boxes: Sequence[tuple[int, int, int, int]], rng: np.random.Generator
) -> Exposed:
    """Expose one visit.

    Parameters
    ----------
    visit : Visit
    sky : Sky
    dead_boxes : list of (x0, x1, y0, y1)
    rng : numpy.random.Generator

    Returns
    -------
    Exposed
    """
    stars, galaxies, variables = (_in_image(table, visit) for table in _tables(visit, sky))
    expected = sky_level(visit)
    if visit.has_light:
        _draw_nebula(expected, sky.nebula, visit)
        _draw_galaxies(expected, galaxies, visit)
        add_sources(expected, stars.x, stars.y, stars.flux_e, visit.psf)
    background = ndimage.uniform_filter(expected, AROUND_PIX, mode="nearest")
    if visit.has_light:
        add_sources(expected, variables.x, variables.y, variables.flux_e, visit.psf)
    visitors, visitor_mask, lines = _visitors(visit, rng)
    image, saturated = detector.expose(expected + visitors, rng)
    mask: np.ndarray = visitor_mask | np.where(saturated, detector.SATURATED, 0)
    for x0, x1, y0, y1 in dead_boxes:
        image[y0 : y1 + 1, x0 : x1 + 1] = 0.0
        mask[y0 : y1 + 1, x0 : x1 + 1] |= detector.DEAD
    mask |= _blot_out(image, visit, rng)
    regions = _bad_regions(mask, dead_boxes, lines)
    regions.insert(0, "ccd", CCD)
    regions.insert(0, "obsid", visit.obsid)
    return Exposed(image, _star_truth(stars, mask), _variable_truth(variables, mask, background), regions)


def sky_level(visit: "Visit") -> np.ndarray:
    """Return the expected sky (ny, nx) [electron]."""
    v, u = np.meshgrid(np.linspace(-1, 1, visit.ny), np.linspace(-1, 1, visit.nx), indexing="ij")
    return visit.sky_e * (1.0 + visit.sky_gradient[0] * u + visit.sky_gradient[1] * v)


def electrons(flux: "pd.Series", visit: "Visit") -> "pd.Series":
    """Turn nJy into expected electrons of a visit."""
    return flux / flux_njy(visit.zero_point_mag)


def _tables(visit: "Visit", sky: Any) -> Iterator[Any]:
    """Return stars, galaxies and variables at the time of the visit, with ra, dec, mag and flux_njy."""
    ra, dec = star_positions(sky.stars, sky.field, visit.mjd_mid_tai)
    stars = sky.stars.assign(ra=ra, dec=dec, mag=sky.stars[f"mag_{visit.band}"])
    galaxies = sky.galaxies.assign(mag=sky.galaxies[f"mag_{visit.band}"])
    variables = sky.curves[sky.curves.obsid == visit.obsid]
    return (table.assign(flux_njy=flux_njy(table.mag)) for table in (stars, galaxies, variables))


def _in_image(table: "pd.DataFrame", visit: "Visit") -> "pd.DataFrame":
    """Return the rows that shine into the image, with x, y and flux_e."""
    x, y = sky_to_pixel(visit, table.ra, table.dec)
    near = (x > -MARGIN_PIX) & (x < visit.nx + MARGIN_PIX) & (y > -MARGIN_PIX) & (y < visit.ny + MARGIN_PIX)
    return table.assign(x=x, y=y, flux_e=electrons(table.flux_njy, visit))[near].reset_index(drop=True)


def _draw_galaxies(image: np.ndarray, galaxies: "pd.DataFrame", visit: "Visit") -> None:
    if len(galaxies) == 0:
        return
    weight, covariance = galaxy_gaussians(galaxies)
    parts = _in_pixels(covariance, visit)
    add_sources(image, galaxies.x, galaxies.y, galaxies.flux_e, visit.psf, shape_weight=weight, shape_covariance=parts)


def _draw_nebula(image: np.ndarray, nebula: "pd.DataFrame", visit: "Visit") -> None:
    if len(nebula) == 0:
        return
    x, y = sky_to_pixel(visit, nebula.ra, nebula.dec)
    parts = _in_pixels(nebula[["var_ee", "var_en", "var_nn"]].to_numpy()[:, None, :], visit)
    flux_e = electrons(flux_njy(nebula.mag), visit)
    add_sources(image, x, y, flux_e, visit.psf, shape_weight=np.ones((len(nebula), 1)), shape_covariance=parts)


def _in_pixels(covariance: np.ndarray, visit: "Visit") -> np.ndarray:
    """Turn covariances ee, en, nn (..., 3) [arcsec^2] into xx, xy, yy [pix^2] of a visit."""
    ee, en, nn = np.moveaxis(covariance, -1, 0)
    to_pixel = np.linalg.inv(visit.cd_matrix()) / 3600.0
    on_sky = np.stack([np.stack([ee, en], -1), np.stack([en, nn], -1)], -2)
    in_pixels = to_pixel @ on_sky @ to_pixel.T
    return np.stack([in_pixels[..., 0, 0], in_pixels[..., 0, 1], in_pixels[..., 1, 1]], -1)


def _visitors(visit: "Visit", rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, list[tuple[Any, ...]]]:
    """Return unwanted light [electron], its truth mask and the streaks as rows of bad_regions."""
    light, mask, lines = np.zeros(visit.shape), np.zeros(visit.shape, np.int64), []
    if "cosmic_rays" in visit.problems:
        hits = detector.cosmic_rays(visit.shape, rng)
        mask |= np.where(hits > 0, detector.COSMIC_RAY, 0)
        light += hits
    if "satellite" in visit.problems:
        streak, ends, width = detector.satellite_streak(visit.shape, 0.43 * visit.psf.fwhm_pix, rng)
        mask |= np.where(streak > 0.5, detector.STREAK, 0)
        light += streak
        x0, y0, x1, y1 = ends
        lines.append(("satellite", "line", x0, x1, y0, y1, width))
    return light, mask, lines


def _blot_out(image: np.ndarray, visit: "Visit", rng: np.random.Generator) -> np.ndarray:
    """Set a block to NaN in place where the visit has that problem, and return the mask of it."""
    mask = np.zeros(image.shape, np.int64)
    if "nan_block" in visit.problems:
        side = min(image.shape) // 6
        y, x = (int(rng.integers(0, n - side)) for n in image.shape)
        image[y : y + side, x : x + side] = np.nan
        mask[y : y + side, x : x + side] = detector.NAN
    return mask


def _bad_regions(
    mask: np.ndarray, dead_boxes: Sequence[tuple[int, int, int, int]], lines: list[tuple[Any, ...]]
) -> "pd.DataFrame":
    rows = [("dead_column", "box", x0, x1, y0, y1, 0.0) for x0, x1, y0, y1 in dead_boxes] + lines
    kinds = {"saturation": detector.SATURATED, "cosmic_ray": detector.COSMIC_RAY, "nan": detector.NAN}
    for kind, bit in kinds.items():
        labels, _ = ndimage.label(mask & bit, structure=np.ones((3, 3)))
        for y, x in ndimage.find_objects(labels):
            rows.append((kind, "box", x.start, x.stop - 1, y.start, y.stop - 1, 0.0))
    table = pd.DataFrame(rows, columns=["kind", "shape", "x0", "x1", "y0", "y1", "width"])
    return table.astype(dict.fromkeys(["x0", "x1", "y0", "y1", "width"], float))


def _edge_distance(x: "pd.Series", y: "pd.Series", shape: tuple[int, int]) -> np.ndarray:
    """Return the distance to the nearest edge pixel's center [pix], negative outside."""
    return np.minimum.reduce([x, y, shape[1] - 1 - x, shape[0] - 1 - y])


def _mask_bits(mask: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the bits set in the square around each position."""
    bits = np.zeros(len(x), np.int64)
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    for bit in (detector.COSMIC_RAY, detector.DEAD, detector.SATURATED, detector.NAN, detector.STREAK):
        near = ndimage.maximum_filter((mask & bit) > 0, AROUND_PIX)
        bits |= np.where(near[row.clip(0, mask.shape[0] - 1), column.clip(0, mask.shape[1] - 1)], bit, 0)
    return bits


def _star_truth(stars: "pd.DataFrame", mask: np.ndarray) -> "pd.DataFrame":
    inside = _edge_distance(stars.x, stars.y, mask.shape) > -0.5
    kept = stars[inside].reset_index(drop=True)
    bits = _mask_bits(mask, kept.x.to_numpy(), kept.y.to_numpy())
    return kept.assign(saturated=(bits & detector.SATURATED) > 0)


def _variable_truth(variables: "pd.DataFrame", mask: np.ndarray, background: np.ndarray) -> "pd.DataFrame":
    edge = _edge_distance(variables.x, variables.y, mask.shape)
    kept = variables.assign(edge_px=edge)[edge > -0.5].reset_index(drop=True)
    place = np.stack([kept.y, kept.x])
    level = ndimage.map_coordinates(background, place, order=1, mode="nearest")
    return kept.assign(bg_e_px=level, mask_bits=_mask_bits(mask, kept.x.to_numpy(), kept.y.to_numpy()))
