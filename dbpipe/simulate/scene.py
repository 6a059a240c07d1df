"""What is on the sky of a simulated survey, and what goes wrong in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dbpipe.constants import JULIAN_YEAR_DAY
from dbpipe.errors import ConfigError
from dbpipe.simulate.camera.visits import DITHER_ARCSEC, PIXEL_SCALE_ARCSEC, plan_visits
from dbpipe.simulate.sky.fixed import (
    PM_REFERENCE_YEARS_BEFORE,
    Field,
    make_bright_star,
    make_galaxies,
    make_nebula,
    make_stars,
)
from dbpipe.simulate.sky.light_curves import light_curves
from dbpipe.simulate.sky.variables import make_objects

if TYPE_CHECKING:
    from dbpipe.simulate.camera.visits import Visit

SKY_SCENES = {
    "static": "stars and galaxies, but nothing changes",
    "noise_only": "no source at all: sky and noise",
    "nebula": "clouds of glowing gas, some with edges, brighter than the sky where they are thickest",
    "bright_star": "a star of 12th magnitude near the middle: it bleeds across the chip",
}
PIXEL_TROUBLE = {
    "cosmic_rays": "every visit is hit",
    "satellite": "a satellite crosses one visit",
    "nan_block": "a block of one visit is NaN",
}
VISIT_TROUBLE = {
    "trailed": ("one more visit, badly guided", "refused, or left out of the template"),
    "empty": ("one more visit that saw only sky", "refused: no stars"),
    "cloudy": ("one more visit through thick cloud", "left out of the template although its seeing is good"),
    "filter_mismatch": ("one more visit, named for another filter than its header", "header believed, or refused"),
    "truncated": ("one more visit whose file is cut short", "refused: cannot be read"),
    "no_wcs": ("one more visit without WCS cards", "refused, or solved from its neighbors"),
}
FILE_TROUBLE = {
    "duplicate_id": "one visit comes twice: a second file with the same observation id",
    "utc_clock": "MJD-OBS is UTC, TAI is TAI, as in newer phosim files",
}
SCENES = (*SKY_SCENES, *PIXEL_TROUBLE, *VISIT_TROUBLE, *FILE_TROUBLE)
"""Every name that a scene may contain."""
N_NEBULA_CLOUD = 6


@dataclass(frozen=True)
class Density:
    """How many of everything on a square arcminute."""

    star: float = 60.0
    """Stars of r = 14 to 25."""
    galaxy: float = 110.0
    """Galaxies of r = 17 to 26.5."""
    supernova: float = 2.5
    variable_star: float = 0.9
    agn: float = 0.5
    lens: float = 0.12
    """Quasars lensed into four images."""
    asteroid: float = 0.2


@dataclass(frozen=True)
class Sky:
    """Everything that can be seen, and all light curves at the visits."""

    field: Field
    stars: pd.DataFrame
    galaxies: pd.DataFrame
    nebula: pd.DataFrame
    """Gaussian clouds, see `make_nebula`; no rows without one."""
    objects: pd.DataFrame
    curves: pd.DataFrame


def make_survey(
    n_per_band: Mapping[str, int],
    *,
    ra: float,
    dec: float,
    size_pix: tuple[int, int],
    scene: tuple[str, ...],
    density: Density,
    seed: int,
) -> "tuple[list[Visit], Sky]":
    """Plan the visits and populate the sky.

    Parameters
    ----------
    n_per_band : dict
        Good visits in each band; trouble adds more.
    ra, dec : float
        Center [deg].
    size_pix : (nx, ny)
    scene : tuple of names from `SCENES`
    density : Density
    seed : int

    Returns
    -------
    visits : list of Visit, in order of time
    sky : Sky

    Raises
    ------
    ConfigError
        If a name is not in `SCENES`.
    """
    unknown = [name for name in scene if name not in SCENES]
    if unknown:
        raise ConfigError(f"no such scene: {', '.join(unknown)}; there are {', '.join(SCENES)}")
    plan_rng, sky_rng = (np.random.default_rng([seed, stream]) for stream in (1, 2))
    extra = [name for name in scene if name in VISIT_TROUBLE]
    main_band = max(n_per_band, key=lambda band: n_per_band[band])
    wanted = {band: n + (len(extra) if band == main_band else 0) for band, n in n_per_band.items()}
    visits = plan_visits(wanted, ra=ra, dec=dec, size_pix=size_pix, rng=plan_rng)
    visits = _give_trouble(visits, extra, scene, main_band, plan_rng)
    side = 2.0 * DITHER_ARCSEC + 1.02 * PIXEL_SCALE_ARCSEC * float(np.hypot(*size_pix))
    middle = 0.5 * (visits[0].mjd_mid_tai + visits[-1].mjd_mid_tai)
    field = Field(ra, dec, side, middle - PM_REFERENCE_YEARS_BEFORE * JULIAN_YEAR_DAY)
    sky = _make_sky(field, visits, scene=scene, density=density, rng=sky_rng)
    # from a stream of its own: everything else is as without it
    return visits, _add_guests(sky, scene, np.random.default_rng([seed, 6]))


def _give_trouble(
    visits: "Sequence[Visit]", extra: Sequence[str], scene: tuple[str, ...], main_band: str, rng: np.random.Generator
) -> "list[Visit]":
    """Return the visits with their problems, each in a visit of its own."""
    eligible = [k for k, visit in enumerate(visits) if visit.band == main_band]
    single = [name for name in ("satellite", "nan_block", "duplicate_id") if name in scene]
    chosen = rng.permutation(eligible)
    if len(extra) + len(single) > len(eligible):
        raise ConfigError(f"{len(extra) + len(single)} kinds of trouble need as many visits in {main_band}")
    problem_of = dict(zip(chosen.tolist(), [*extra, *single], strict=False))
    changed = []
    for k, visit in enumerate(visits):
        problem = problem_of.get(k)
        problems = ((problem,) if problem else ()) + (("cosmic_rays",) if "cosmic_rays" in scene else ())
        visit = replace(visit, problems=problems)
        if problem == "trailed":
            visit = replace(visit, psf=replace(visit.psf, trail_pix=8.0))
        elif problem == "cloudy":
            visit = replace(visit, transparency=0.12, psf=replace(visit.psf, fwhm_pix=3.3))
        elif problem == "empty":
            visit = replace(visit, has_light=False)
        changed.append(visit)
    return changed


def _make_sky(
    field: "Field", visits: "Sequence[Visit]", *, scene: tuple[str, ...], density: Density, rng: np.random.Generator
) -> Sky:
    dark, static = "noise_only" in scene, "static" in scene or "noise_only" in scene

    def count(per_arcmin2: float, least: int = 0) -> int:
        return max(least, round(per_arcmin2 * field.area_arcmin2))

    stars = make_stars(field, 0 if dark else count(density.star), rng)
    galaxies = make_galaxies(field, 0 if dark else count(density.galaxy), rng)
    if static:
        stars[["pm_ra_cosdec", "pm_dec"]] = 0.0
    kinds = ("supernova", "variable_star", "agn", "lens", "asteroid")
    counts = {kind: 0 if static else count(getattr(density, kind), least=1) for kind in kinds}
    mjd = np.array([visit.mjd_mid_tai for visit in visits])
    objects, lenses = make_objects(field, galaxies, counts, (mjd[0], mjd[-1]), rng)
    galaxies = pd.concat([galaxies, lenses], ignore_index=True) if len(lenses) else galaxies
    curves = light_curves(objects, [visit.obsid for visit in visits], [visit.band for visit in visits], mjd)
    return Sky(field, stars, galaxies, make_nebula(field, 0, rng), objects, curves)


def _add_guests(sky: Sky, scene: tuple[str, ...], rng: np.random.Generator) -> Sky:
    """Return the sky with the bright star and the nebula that the scene has."""
    if "bright_star" in scene:
        sky = replace(sky, stars=pd.concat([sky.stars, make_bright_star(sky.field, sky.stars, rng)], ignore_index=True))
    if "nebula" in scene:
        sky = replace(sky, nebula=make_nebula(sky.field, N_NEBULA_CLOUD, rng))
    return sky
