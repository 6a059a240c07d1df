"""What changes: supernovae, variable stars, active and lensed nuclei, asteroids."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dbpipe.simulate.sky.fixed import offset_position
from dbpipe.simulate.sky.light_curves import COLOR_SCALE

if TYPE_CHECKING:
    from dbpipe.simulate.sky.fixed import Field

SHAPES = ("sinusoid", "rrlyrae", "eclipsing")


def make_objects(
    field: "Field",
    galaxies: "pd.DataFrame",
    counts: Mapping[str, int],
    mjd_range: tuple[float, float],
    rng: np.random.Generator,
) -> "tuple[pd.DataFrame, pd.DataFrame]":
    """Make everything that changes.

    Parameters
    ----------
    field : Field
    galaxies : DataFrame
        Hosts are drawn from it.
    counts : dict
        How many of each: supernova, variable_star, agn, lens (four images each), asteroid.
    mjd_range : (first, last) mid-exposure of the survey [MJD TAI]
    rng : numpy.random.Generator

    Returns
    -------
    objects : DataFrame
        One row per object (lensed nuclei: per image) with obj_id, kind, ra, dec and the numbers of its kind.
    lenses : DataFrame
        Galaxies to add, the deflectors, with the columns of `galaxies`.
    """
    rows = _supernovae(galaxies, counts["supernova"], mjd_range, rng)
    rows += _variable_stars(field, counts["variable_star"], rng)
    rows += _nuclei(galaxies, counts["agn"], rng)
    lensed, lenses = _lensed_nuclei(field, galaxies, counts["lens"], rng)
    rows += lensed + _asteroids(field, counts["asteroid"], mjd_range, rng)
    objects = pd.DataFrame(rows, columns=_COLUMNS)
    objects.insert(0, "obj_id", np.arange(1, len(objects) + 1))
    return objects, lenses


_COLUMNS = [
    "kind", "ra", "dec", "peak_mag_r", "mjd_peak", "rise_days", "fall_days", "host_galaxy_id", "host_mag_r",
    "host_sep_arcsec", "shape", "mean_mag_r", "period_days", "amplitude_mag", "phase", "lens_galaxy_id", "lens_system",
    "image", "magnification", "delay_days", "einstein_arcsec", "tau_days", "sigma_mag", "walk_seed",
    "rate_arcsec_per_day", "direction_deg", "mjd_epoch",
]  # fmt: skip


def _supernovae(
    galaxies: "pd.DataFrame", n: int, mjd_range: tuple[float, float], rng: np.random.Generator
) -> list[dict[str, Any]]:
    candidates = galaxies[(galaxies.mag_r > 19.0) & (galaxies.mag_r < 25.5)]
    rows = []
    for host in candidates.sample(min(n, len(candidates)), random_state=rng).itertuples():
        separation = abs(rng.normal(0.0, 0.6)) * host.hlr_arcsec
        angle = rng.uniform(0.0, 2.0 * np.pi)
        ra, dec = offset_position(host.ra, host.dec, separation * np.sin(angle), separation * np.cos(angle))
        rows.append({
            "kind": "supernova", "ra": float(ra), "dec": float(dec), "peak_mag_r": rng.uniform(20.0, 24.5),
            "mjd_peak": rng.uniform(mjd_range[0] - 10.0, mjd_range[1]), "rise_days": rng.uniform(2.5, 5.0),
            "fall_days": rng.uniform(18.0, 35.0), "host_galaxy_id": host.galaxy_id, "host_mag_r": host.mag_r,
            "host_sep_arcsec": separation,
        })  # fmt: skip
    return rows


def _variable_stars(field: "Field", n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    ra, dec = field.random_positions(n, rng, margin_arcsec=0.1 * field.side_arcsec)
    rows = []
    for k in range(n):
        shape = SHAPES[k % len(SHAPES)]
        period = {"sinusoid": rng.uniform(8.0, 60.0), "rrlyrae": rng.uniform(0.45, 0.7),
                  "eclipsing": rng.uniform(2.0, 6.0)}[shape]  # fmt: skip
        rows.append({
            "kind": "variable_star", "ra": ra[k], "dec": dec[k], "shape": shape, "mean_mag_r": rng.uniform(18.0, 22.8),
            "period_days": period, "amplitude_mag": rng.uniform(0.15, 0.7), "phase": rng.random(),
        })  # fmt: skip
    return rows


def _nuclei(galaxies: "pd.DataFrame", n: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    hosts = galaxies[(galaxies.mag_r > 18.5) & (galaxies.mag_r < 23.0)]
    return [
        {"kind": "agn", "ra": host.ra, "dec": host.dec, "mean_mag_r": host.mag_r + rng.uniform(0.0, 1.5),
         "host_galaxy_id": host.galaxy_id, "host_mag_r": host.mag_r, "host_sep_arcsec": 0.0, "delay_days": 0.0,
         "tau_days": rng.uniform(20.0, 60.0), "sigma_mag": rng.uniform(0.15, 0.4),
         "walk_seed": int(rng.integers(1 << 31))}
        for host in hosts.sample(min(n, len(hosts)), random_state=rng).itertuples()
    ]  # fmt: skip


def _lensed_nuclei(
    field: "Field", galaxies: "pd.DataFrame", n: int, rng: np.random.Generator
) -> "tuple[list[dict[str, Any]], pd.DataFrame]":
    """Quads: four images near the Einstein ring, each with its magnification and delay."""
    ra, dec = field.random_positions(n, rng, margin_arcsec=0.2 * field.side_arcsec)
    rows, lenses = [], []
    for system in range(n):
        galaxy_id = len(galaxies) + 1 + system
        einstein = rng.uniform(0.7, 1.3)
        mean_mag = rng.uniform(19.5, 21.5)
        tau, sigma, seed = rng.uniform(30, 60), rng.uniform(0.2, 0.4), int(rng.integers(1 << 31))
        delays = rng.permutation([0.0, *rng.uniform(3.0, 50.0, 3)])
        turn = rng.uniform(0.0, 90.0)
        for image in range(4):
            angle = np.radians(turn + 90.0 * image + rng.normal(0.0, 8.0))
            radius = einstein * rng.uniform(0.85, 1.15)
            magnification = rng.uniform(0.3, 1.0)
            offset = radius * np.sin(angle), radius * np.cos(angle)
            image_ra, image_dec = offset_position(ra[system], dec[system], *offset)
            rows.append({
                "kind": "lensed_agn", "ra": float(image_ra), "dec": float(image_dec),
                "mean_mag_r": mean_mag - 2.5 * np.log10(magnification), "lens_galaxy_id": galaxy_id,
                "lens_system": system + 1, "image": image, "magnification": magnification,
                "delay_days": delays[image], "einstein_arcsec": einstein, "tau_days": tau, "sigma_mag": sigma,
                "walk_seed": seed,
            })  # fmt: skip
        magnitude = rng.uniform(18.5, 20.0)
        lenses.append({
            "galaxy_id": galaxy_id, "ra": ra[system], "dec": dec[system],
            **{f"mag_{band}": magnitude + 1.1 * scale for band, scale in COLOR_SCALE.items()},
            "hlr_arcsec": 0.8 * einstein, "sersic_n": 4.0, "g_shape": 0.1, "pa_deg": turn, "is_lens": True,
        })  # fmt: skip
    return rows, pd.DataFrame(lenses, columns=galaxies.columns).astype(galaxies.dtypes)


def _asteroids(
    field: "Field", n: int, mjd_range: tuple[float, float], rng: np.random.Generator
) -> list[dict[str, Any]]:
    ra, dec = field.random_positions(n, rng, margin_arcsec=0.3 * field.side_arcsec)
    return [
        {"kind": "asteroid", "ra": ra[k], "dec": dec[k], "mean_mag_r": rng.uniform(20.0, 22.5),
         "rate_arcsec_per_day": rng.uniform(1.5, 4.0), "direction_deg": rng.uniform(0.0, 360.0),
         "mjd_epoch": rng.uniform(*mjd_range)}
        for k in range(n)
    ]  # fmt: skip
