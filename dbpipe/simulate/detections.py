"""Made-up detections of a survey of years, without images: the same seed gives the same ones, visit by visit.

A field is a disk of 1.75 degrees that is visited some hundred times, in pairs an hour or two apart. Seven of ten
detections of a visit are of objects that stay, drawn from a pool; the others are seen once.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.errors import ConfigError
from dbpipe.ids import detector_base
from dbpipe.sky.healpix import hpx29
from dbpipe.sky.sphere import directions, local_axes, project, unit_vectors

BANDS = "ugrizy"
DETECTOR = 0
FIELD_RADIUS_DEG = 1.75
N_PER_VISIT = 10_000
VISITS_PER_FIELD = 100
PIXEL_SCALE_ARCSEC = 0.2
SIZE_PIX = 2 * round(FIELD_RADIUS_DEG * ARCSEC_PER_DEG / PIXEL_SCALE_ARCSEC)
"""Side of the one detector, which the whole field falls on."""
SEEING_SIGMA_ARCSEC = 0.5
"""Error of a position at a signal to noise of 1."""
_FIRST_NIGHT = date(2025, 11, 1)
_FIRST_NIGHT_MJD = 60980
_MAX_VISITS_PER_NIGHT = 30
_VISIT_SPACING_D = 8.0 / 1440.0
_FIELD_SPACING_DEG = 4.0
_POOL_FRACTION = 0.7
_N_POOL = 20_000
_FLUX_ERR_NJY = dict(zip(BANDS, (260.0, 90.0, 80.0, 110.0, 170.0, 320.0), strict=True))
_FLAGS = {
    "flag_edge": 0.01,
    "flag_saturated": 0.01,
    "flag_near_saturated": 0.02,
    "flag_cosmic_ray": 0.005,
    "flag_template_rejected": 0.02,
    "flag_dipole": 0.04,
    "flag_shape": 0.03,
    "flag_bright_star": 0.03,
}
"""Flag -> how many of the detections that are seen once have it."""


@dataclass(frozen=True)
class Visit:
    """One exposure of a field."""

    visit: int
    night: int
    midpoint_mjd_tai: float
    band: str
    field: int


def plan_visits(n_source: float) -> list[Visit]:
    """Return the visits, in time order, of a survey with so many detections; it grows by area.

    Raises
    ------
    ConfigError
        If the sky has not room for that many fields.
    """
    n_visit, fields_per_night, n_field = _layout(n_source)
    return [_visit(number, fields_per_night, n_field) for number in range(n_visit)]


def plan_next_night(n_source: float) -> Any:
    """Return the visits of the first whole night after those of `plan_visits`."""
    n_visit, fields_per_night, n_field = _layout(n_source)
    n_per_night = 2 * fields_per_night
    first = -(-n_visit // n_per_night) * n_per_night
    return [_visit(number, fields_per_night, n_field) for number in range(first, first + n_per_night)]


def _layout(n_source: float) -> tuple[int, int, int]:
    """Return the numbers of visits, of fields in a night, and of fields."""
    n_visit = max(1, round(n_source / N_PER_VISIT))
    n_field = -(-n_visit // VISITS_PER_FIELD)
    if n_field > len(field_centers()):
        raise ConfigError(f"{n_source} detections are more than the {len(field_centers())} fields of the sky have")
    return n_visit, min(_MAX_VISITS_PER_NIGHT // 2, n_field), n_field


def _visit(number: int, fields_per_night: int, n_field: int) -> Visit:
    """Each night goes twice through its fields, the next night through the next ones, in another filter."""
    night, slot = divmod(number, 2 * fields_per_night)
    field = (night * fields_per_night + slot % fields_per_night) % n_field
    day = _FIRST_NIGHT + timedelta(days=night)
    label = int(day.strftime("%Y%m%d"))
    pass_number = night * fields_per_night // n_field
    return Visit(
        visit=label * 1000 + slot,
        night=label,
        midpoint_mjd_tai=_FIRST_NIGHT_MJD + night + 1.1 + slot * _VISIT_SPACING_D,
        band=BANDS[(pass_number + field) % len(BANDS)],
        field=field,
    )


@lru_cache(maxsize=1)
def field_centers() -> list[tuple[float, float]]:
    """Return the centers (ra, dec) [deg] of all fields, which do not touch each other."""
    centers = []
    for dec in np.arange(-28.0, 61.0, _FIELD_SPACING_DEG):
        n = int(360.0 * np.cos(np.radians(abs(dec) + FIELD_RADIUS_DEG)) / _FIELD_SPACING_DEG)
        centers += [(360.0 * k / n, float(dec)) for k in range(n)]
    return centers


def make_detections(seed: int, visit: Visit) -> dict[str, np.ndarray]:
    """Return the detections of a visit as columns of `dia_source`, those that are the same for all left out.

    Returns
    -------
    dict of (n,) arrays
    """
    rng = np.random.default_rng([seed, visit.visit])
    pool = _pool(seed, visit.field)
    n_pool = round(_POOL_FRACTION * N_PER_VISIT)
    chosen = rng.choice(_N_POOL, n_pool, replace=False)
    n_once = N_PER_VISIT - n_pool
    vectors = np.concatenate([pool["vectors"][chosen], _directions_in_field(rng, visit.field, n_once)])
    snr = np.concatenate([pool["snr"][chosen] * rng.lognormal(0.0, 0.2, n_pool), _power_law(rng, 4.0, n_once)])
    snr = np.clip(np.round(snr, 2), 4.0, None)
    sign = np.where(rng.random(N_PER_VISIT) < np.concatenate([pool["rising"][chosen], np.full(n_once, 0.9)]), 1.0, -1.0)
    return _columns(rng, visit, _jitter(rng, vectors, snr), snr, sign) | _flags(rng, n_pool)


@lru_cache(maxsize=128)
def _pool(seed: int, field: int) -> dict[str, np.ndarray]:
    """Objects of a field that stay: where they are, how bright they usually are, how often they are brighter."""
    rng = np.random.default_rng([seed, field])
    return {
        "vectors": _directions_in_field(rng, field, _N_POOL),
        "snr": _power_law(rng, 6.0, _N_POOL),
        "rising": rng.choice([0.1, 0.5, 1.0], _N_POOL, p=[0.1, 0.4, 0.5]),
    }


def _power_law(rng: np.random.Generator, lowest: float, n: int) -> np.ndarray:
    """Signal to noise of sources whose number above a flux falls as flux^-1.5, as in Euclidean space."""
    return np.minimum(lowest * rng.random(n) ** (-1.0 / 1.5), 1000.0)


def _directions_in_field(rng: np.random.Generator, field: int, n: int) -> np.ndarray:
    ra, dec = field_centers()[field]
    east, north = local_axes(ra, dec)
    depth = rng.uniform(np.cos(np.radians(FIELD_RADIUS_DEG)), 1.0, n)
    angle, radius = rng.uniform(0.0, 2.0 * np.pi, n), np.sqrt(1.0 - depth**2)
    parts = (depth, radius * np.cos(angle), radius * np.sin(angle))
    return np.tensordot(np.stack(parts, -1), np.stack([unit_vectors(ra, dec), east, north]), 1)


def _jitter(rng: np.random.Generator, vectors: np.ndarray, snr: np.ndarray) -> np.ndarray:
    """Move directions by a Gaussian in each coordinate, the wider the fainter."""
    sigma = np.radians(SEEING_SIGMA_ARCSEC / snr / ARCSEC_PER_DEG)
    return vectors + sigma[:, None] * rng.standard_normal(vectors.shape)


def _columns(
    rng: np.random.Generator, visit: Visit, vectors: np.ndarray, snr: np.ndarray, sign: np.ndarray
) -> dict[str, np.ndarray]:
    ra, dec = directions(vectors)
    xi, eta = project(ra, dec, ra0=field_centers()[visit.field][0], dec0=field_centers()[visit.field][1])
    n, scale = len(ra), PIXEL_SCALE_ARCSEC / ARCSEC_PER_DEG
    flux_err = np.round(_FLUX_ERR_NJY[visit.band] * rng.normal(1.0, 0.05, n), 2)
    flux = np.round(sign * snr * flux_err, 2)
    template = np.round(flux_err * 10.0 ** rng.normal(0.5, 0.8, n), 2)
    # the digits that mean something, no more: the rest would only fill the disk
    position_err = np.round(SEEING_SIGMA_ARCSEC / snr / ARCSEC_PER_DEG, 9)
    return {
        "dia_source_id": detector_base(visit.visit, DETECTOR) + np.arange(n),
        "ra": ra,
        "dec": dec,
        "ra_err": position_err,
        "dec_err": position_err,
        "hpx29": hpx29(ra, dec),
        "x": np.round(SIZE_PIX / 2 - xi / scale, 3),
        "y": np.round(SIZE_PIX / 2 + eta / scale, 3),
        "is_negative": sign < 0.0,
        "score": np.round(sign * snr, 2),
        "snr": snr,
        "psf_flux_njy": flux,
        "psf_flux_err_njy": flux_err,
        "psf_chi2": np.round(rng.chisquare(48, n), 1),
        "aperture_flux_njy": np.round(flux + 2.0 * flux_err * rng.standard_normal(n), 1),
        "science_flux_njy": np.round(template + flux, 2),
        "template_flux_njy": template,
        "is_primary": snr >= 5.0,
    }


def _flags(rng: np.random.Generator, n_good: int) -> dict[str, np.ndarray]:
    """Flags of the detections that come after the good ones."""
    n = N_PER_VISIT - n_good
    return {name: np.concatenate([np.zeros(n_good, bool), rng.random(n) < part]) for name, part in _FLAGS.items()}
