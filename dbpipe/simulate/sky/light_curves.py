"""How bright and where everything that changes is at each visit."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from dbpipe.constants import flux_njy
from dbpipe.simulate.sky.fixed import offset_position

COLOR_G_R = {"supernova": 0.1, "lensed_agn": 0.25, "agn": 0.25, "asteroid": 0.55, "variable_star": 0.4}
"""Mean g - r; the other bands follow from it as for a smooth spectrum."""
COLOR_SCALE = {"u": 2.2, "g": 1.0, "r": 0.0, "i": -0.5, "z": -0.75, "y": -0.9}
"""Color relative to r, in units of g - r."""
SUPERNOVA_REDDENING_PER_DAY = 0.02
"""Growth of a supernova's g - r after peak [mag/day]."""


def light_curves(
    objects: "pd.DataFrame", visit_id: ArrayLike, visit_band: ArrayLike, mjd_tai: np.ndarray
) -> "pd.DataFrame":
    """Evaluate every object at every visit.

    Parameters
    ----------
    objects : DataFrame of `make_objects`
    visit_id, visit_band, mjd_tai : (m,) arrays
        The visits and their mid-exposures.

    Returns
    -------
    DataFrame with obj_id, kind, obsid, filter, mjd_mid, ra, dec [deg], mag and flux_njy.
    """
    mjd_tai = np.asarray(mjd_tai, float)
    visit_band = np.asarray(visit_band)
    parts = []
    for o in objects.itertuples():
        magnitude = _MAGNITUDE[o.kind](o, mjd_tai)
        color = COLOR_G_R[o.kind] * np.ones_like(mjd_tai)
        if o.kind == "supernova":
            color += SUPERNOVA_REDDENING_PER_DAY * np.clip(mjd_tai - o.mjd_peak, 0.0, 50.0)
        magnitude = magnitude + color * np.array([COLOR_SCALE[band] for band in visit_band])
        ra, dec = np.full(len(mjd_tai), o.ra), np.full(len(mjd_tai), o.dec)
        if o.kind == "asteroid":
            path = o.rate_arcsec_per_day * (mjd_tai - o.mjd_epoch)
            angle = np.radians(o.direction_deg)
            ra, dec = offset_position(o.ra, o.dec, path * np.sin(angle), path * np.cos(angle))
        parts.append(pd.DataFrame({
            "obj_id": o.obj_id, "kind": o.kind, "obsid": visit_id, "filter": visit_band, "mjd_mid": mjd_tai,
            "ra": ra, "dec": dec, "mag": magnitude, "flux_njy": flux_njy(magnitude),
        }))  # fmt: skip
    return pd.concat(parts, ignore_index=True) if parts else _NO_LIGHT_CURVE


_NO_LIGHT_CURVE = pd.DataFrame({
    "obj_id": np.zeros(0, int), "kind": np.zeros(0, str), "obsid": np.zeros(0, int), "filter": np.zeros(0, str),
    **{name: np.zeros(0) for name in ("mjd_mid", "ra", "dec", "mag", "flux_njy")},
})  # fmt: skip


def _supernova_magnitude(o: Any, mjd_tai: np.ndarray) -> np.ndarray:
    """Rise and fall of Bazin et al. 2009 A&A 499 653, eq. 1, scaled to its peak; 40 where it has not begun."""
    middle = o.mjd_peak - o.rise_days * np.log(o.fall_days / o.rise_days - 1.0)

    def log_shape(t: float | np.ndarray) -> float | np.ndarray:
        return -(t - middle) / o.fall_days - np.logaddexp(0.0, -(t - middle) / o.rise_days)

    return np.minimum(o.peak_mag_r - 2.5 / np.log(10.0) * (log_shape(mjd_tai) - log_shape(o.mjd_peak)), 40.0)


def _periodic_magnitude(o: Any, mjd_tai: np.ndarray) -> np.ndarray:
    phase = (mjd_tai / o.period_days + o.phase) % 1.0
    if o.shape == "sinusoid":
        curve = 0.5 * np.sin(2.0 * np.pi * phase)
    elif o.shape == "rrlyrae":  # a quick rise and a slow decline
        curve = np.where(phase < 0.15, 0.5 - phase / 0.15, (phase - 0.15) / 0.85 - 0.5)
    else:
        curve = np.exp(-0.5 * ((phase - 0.5) / 0.05) ** 2)
    return o.mean_mag_r + o.amplitude_mag * curve


def _nucleus_magnitude(o: Any, mjd_tai: np.ndarray) -> np.ndarray:
    """A damped random walk (Kelly, Bechtold & Siemiginowska 2009 ApJ 698 895, eqs. 1-4).

    It is walked in steps of a quarter of a day from a fixed date, so that the images of a lens see one and the
    same walk, each at its delay.
    """
    start, step = np.floor(mjd_tai.min()) - 100.0, 0.25
    n_step = int((mjd_tai.max() - start) / step) + 2
    keep = np.exp(-step / o.tau_days)
    kicks = np.random.default_rng(int(o.walk_seed)).normal(0.0, o.sigma_mag, n_step)
    walk = np.empty(n_step)
    walk[0] = kicks[0]
    for k in range(1, n_step):
        walk[k] = keep * walk[k - 1] + np.sqrt(1.0 - keep**2) * kicks[k]
    return o.mean_mag_r + np.interp(mjd_tai - o.delay_days, start + step * np.arange(n_step), walk)


def _constant_magnitude(o: Any, mjd_tai: np.ndarray) -> np.ndarray:
    return np.full_like(mjd_tai, o.mean_mag_r)


_MAGNITUDE = {
    "supernova": _supernova_magnitude,
    "variable_star": _periodic_magnitude,
    "agn": _nucleus_magnitude,
    "lensed_agn": _nucleus_magnitude,
    "asteroid": _constant_magnitude,
}
