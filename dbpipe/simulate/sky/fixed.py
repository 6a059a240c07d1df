"""The fixed sky: stars and galaxies.

Tables are pandas DataFrames; positions in degrees, magnitudes AB, proper motions in arcsec/yr.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import nnls

from dbpipe.constants import ARCSEC_PER_DEG, JULIAN_YEAR_DAY
from dbpipe.simulate.sky import bands

N_COMPONENT = 6
"""Gaussians that make a galaxy."""

STAR_MAG_RANGE = (14.0, 25.0)
STAR_COUNT_SLOPE = 0.22
"""d log10(N) / d mag in r, about the slope of the halo and disk at high latitude."""
SATURATED_STAR_MAG = 15.2
BRIGHT_STAR_MAG = 12.0
NEBULA_MAG_ARCSEC2 = 20.5
"""Surface brightness of the thickest cloud of a nebula: as bright as a moonless sky in r, and more."""
NEBULA_SIGMA_ARCSEC = (3.0, 25.0)
GALAXY_MAG_RANGE = (17.0, 26.5)
GALAXY_COUNT_SLOPE = 0.33
"""d log10(N) / d mag in r (Metcalfe et al. 2001 MNRAS 323 795)."""
SERSIC_PROFILES = (1, 2, 4)
PM_REFERENCE_YEARS_BEFORE = 4.0
"""The reference catalog is this much older than the middle of the survey."""


@dataclass(frozen=True)
class Field:
    """A square of sky, on the tangent plane at its center."""

    ra: float
    dec: float
    side_arcsec: float
    epoch_mjd_tai: float
    """Time for which the positions of `stars` hold."""

    @property
    def area_arcmin2(self) -> float:
        return (self.side_arcsec / 60.0) ** 2

    def random_positions(
        self, n: int, rng: np.random.Generator, *, margin_arcsec: float = 0.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ra, dec of n places, uniform over the square without its margin [deg]."""
        half = self.side_arcsec / 2.0 - margin_arcsec
        return offset_position(self.ra, self.dec, *rng.uniform(-half, half, (2, n)))


def offset_position(
    ra: ArrayLike, dec: ArrayLike, east_arcsec: ArrayLike, north_arcsec: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Return ra, dec of the place at these tangent-plane offsets from (ra, dec) [deg]."""
    xi = np.radians(np.asarray(east_arcsec) / ARCSEC_PER_DEG)
    eta = np.radians(np.asarray(north_arcsec) / ARCSEC_PER_DEG)
    dec0 = np.radians(dec)
    depth = np.cos(dec0) - eta * np.sin(dec0)
    new_ra = np.asarray(ra) + np.degrees(np.arctan2(xi, depth))
    new_dec = np.degrees(np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, depth)))
    return new_ra % 360.0, new_dec


def make_stars(field: Field, n: int, rng: np.random.Generator) -> "pd.DataFrame":
    """Make n stars: counts rise with magnitude, colors follow a stellar locus, 2% move fast.

    Returns
    -------
    DataFrame with star_id, ra, dec (at the field's epoch), mag_u .. mag_y, pm_ra_cosdec, pm_dec [arcsec/yr].
    """
    ra, dec = field.random_positions(n, rng)
    mag_r = _random_magnitudes(n, STAR_MAG_RANGE, STAR_COUNT_SLOPE, rng)
    mag_r[:1] = SATURATED_STAR_MAG  # however small the field, one star in it saturates
    ra[:1], dec[:1] = field.random_positions(1, rng, margin_arcsec=0.35 * field.side_arcsec)
    # blue halo stars, and red dwarfs that take over at the faint end
    red = rng.random(n) < np.clip(0.25 + 0.1 * (mag_r - 18.0), 0.2, 0.8)
    g_r = np.where(red, rng.normal(1.35, 0.12, n), rng.normal(0.5, 0.15, n)).clip(0.1, 1.6)
    r_i = np.where(red, rng.uniform(0.6, 2.0, n), 0.4 * g_r)
    colors = {"u": 1.0 + 1.9 * g_r, "g": g_r, "r": 0.0 * g_r, "i": -r_i, "z": -1.5 * r_i, "y": -1.7 * r_i}
    magnitudes = {f"mag_{band}": mag_r + colors[band] for band in bands.NAMES}
    speed = np.where(rng.random(n) < 0.02, rng.uniform(0.1, 0.9, n), 0.0)
    direction = rng.uniform(0.0, 2.0 * np.pi, n)
    motion = {"pm_ra_cosdec": speed * np.sin(direction), "pm_dec": speed * np.cos(direction)}
    return pd.DataFrame({"star_id": np.arange(1, n + 1), "ra": ra, "dec": dec, **magnitudes, **motion})


def make_bright_star(field: Any, stars: Any, rng: np.random.Generator) -> Any:
    """Make one star of 12th magnitude in every band, in the middle third of the field; a row like those of `stars`."""
    ra, dec = field.random_positions(1, rng, margin_arcsec=0.33 * field.side_arcsec)
    magnitudes = {f"mag_{band}": BRIGHT_STAR_MAG for band in bands.NAMES}
    star_id = int(stars.star_id.max()) + 1 if len(stars) else 1
    row = {"star_id": star_id, "ra": ra[0], "dec": dec[0], **magnitudes, "pm_ra_cosdec": 0.0, "pm_dec": 0.0}
    return pd.DataFrame([row])[stars.columns]


def make_nebula(field: Field, n: int, rng: np.random.Generator) -> "pd.DataFrame":
    """Make n Gaussian clouds of gas, long ones of a few arcseconds' width among them: those are its edges.

    Returns
    -------
    DataFrame with ra, dec, mag (in every band), var_ee, var_en, var_nn [arcsec^2]
    """
    ra, dec = field.random_positions(n, rng)
    low, high = np.log(NEBULA_SIGMA_ARCSEC)
    width, length = np.sort(np.exp(rng.uniform(low, high, (n, 2))), axis=1).T
    angle = rng.uniform(0.0, np.pi, n)
    sin, cos = np.sin(angle), np.cos(angle)
    peak = NEBULA_MAG_ARCSEC2 + np.arange(n) * 0.4
    return pd.DataFrame({
        "ra": ra,
        "dec": dec,
        "mag": peak - 2.5 * np.log10(2.0 * np.pi * width * length),
        "var_ee": (length * sin) ** 2 + (width * cos) ** 2,
        "var_en": (length**2 - width**2) * sin * cos,
        "var_nn": (length * cos) ** 2 + (width * sin) ** 2,
    })  # fmt: skip


def star_positions(stars: "pd.DataFrame", field: Field, mjd_tai: float) -> tuple[np.ndarray, np.ndarray]:
    """Return ra, dec of the stars at a time [deg]."""
    years = (mjd_tai - field.epoch_mjd_tai) / JULIAN_YEAR_DAY
    east, north = stars.pm_ra_cosdec.to_numpy() * years, stars.pm_dec.to_numpy() * years
    return offset_position(stars.ra.to_numpy(), stars.dec.to_numpy(), east, north)


def make_galaxies(field: Field, n: int, rng: np.random.Generator) -> "pd.DataFrame":
    """Make n galaxies with Sersic profiles.

    Returns
    -------
    DataFrame with galaxy_id, ra, dec, mag_u .. mag_y, hlr_arcsec, sersic_n, g_shape (reduced shear), pa_deg
    (north through east), is_lens.
    """
    ra, dec = field.random_positions(n, rng)
    mag_r = _random_magnitudes(n, GALAXY_MAG_RANGE, GALAXY_COUNT_SLOPE, rng)
    g_r = rng.normal(0.65, 0.25, n).clip(0.1, 1.5)
    colors = {"u": 0.7 + g_r, "g": g_r, "r": 0.0 * g_r, "i": -0.6 * g_r, "z": -0.9 * g_r, "y": -1.0 * g_r}
    half_light = (0.35 * 10.0 ** (-0.09 * (mag_r - 25.0)) * rng.lognormal(0.0, 0.35, n)).clip(0.1, 4.0)
    return pd.DataFrame({
        "galaxy_id": np.arange(1, n + 1),
        "ra": ra,
        "dec": dec,
        **{f"mag_{band}": mag_r + colors[band] for band in bands.NAMES},
        "hlr_arcsec": half_light,
        "sersic_n": rng.choice(SERSIC_PROFILES, n, p=(0.7, 0.15, 0.15)).astype(float),
        "g_shape": np.minimum(rng.rayleigh(0.18, n), 0.6),
        "pa_deg": rng.uniform(0.0, 180.0, n),
        "is_lens": np.zeros(n, bool),
    })  # fmt: skip


def galaxy_gaussians(galaxies: "pd.DataFrame") -> tuple[np.ndarray, np.ndarray]:
    """Return each galaxy as a sum of Gaussians on the sky.

    Returns
    -------
    weight : (n, m) array, each row sums to 1
    covariance : (n, m, 3) array [arcsec^2]
        East-east, east-north, north-north.
    """
    parts = [sersic_components(float(index)) for index in galaxies.sersic_n]
    weight = np.array([part[0] for part in parts])
    variance = np.array([part[1] for part in parts]) * galaxies.hlr_arcsec.to_numpy()[:, None] ** 2
    axis_ratio = ((1.0 - galaxies.g_shape) / (1.0 + galaxies.g_shape)).to_numpy()
    angle = np.radians(galaxies.pa_deg.to_numpy())
    major, minor = 1.0 / axis_ratio, axis_ratio
    sin, cos = np.sin(angle), np.cos(angle)
    shape = [major * sin**2 + minor * cos**2, (major - minor) * sin * cos, major * cos**2 + minor * sin**2]
    return weight, variance[:, :, None] * np.stack(shape, axis=-1)[:, None, :]


@cache
def sersic_components(index: float) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (summing to 1) and variances [half-light radius^2] of Gaussians that make a Sersic profile.

    Non-negative least squares on the light within the radius, out to 4 half-light radii, as Hogg & Lang
    (2013 PASP 125 719) do for the profile. The sum defines the simulated galaxy, so how well it fits is not an error.
    """
    radius = np.linspace(0.0, 4.0, 2001)[1:]
    steepness = 2.0 * index - 1.0 / 3.0 + 4.0 / (405.0 * index)  # Ciotti & Bertin 1999 A&A 352 447, eq. 18
    light = np.cumsum(radius * np.exp(-steepness * (radius ** (1.0 / index) - 1.0)))
    light /= light[-1]
    variance = np.geomspace(0.08 if index > 1 else 0.25, 2.5, N_COMPONENT) ** 2
    growth = 1.0 - np.exp(-0.5 * radius[:, None] ** 2 / variance)
    weight, _ = nnls(growth, light)
    weight = weight / weight.sum()
    return weight, variance


def _random_magnitudes(n: int, limits: tuple[float, float], slope: float, rng: np.random.Generator) -> np.ndarray:
    """Draw magnitudes between the limits from counts that grow as 10^(slope mag)."""
    low, high = 10.0 ** (slope * np.asarray(limits))
    return np.log10(low + (high - low) * rng.random(n)) / slope
