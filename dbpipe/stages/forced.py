"""Measure every object on a difference image that covers it, detected or not.

The place is the object's mean position rounded to the center of its HEALPix pixel of order 23 (0.025 arcsec): a pure
function of all its detections that one detection more normally leaves as it is. An image is due when the image itself
or the objects around it have changed, and only what is new, moved or beside such a one is measured: fluxes are a
function of the image and of the places in a group of neighbors alone.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.declared import flatten
from dbpipe.imaging import mask as bit
from dbpipe.imaging.psf.shapes import psf_size
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.sources.forced_fit import find_groups, joint_flux
from dbpipe.io.difference import read_difference
from dbpipe.sky.healpix import hpx29, place_centers, place_pixels
from dbpipe.sky.wcs import sky_to_pixel
from dbpipe.stage import Outputs
from dbpipe.stages.contracts.forced import FORCED, ForcedConfig
from dbpipe.stages.shared.columns import mask_columns, sides


def forced(unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: ForcedConfig) -> Outputs:
    """Measure the objects of one difference image; what is known of it already is taken over."""
    used = measured_with(unit, config)
    columns = {}
    if inputs["objects"].num_rows:
        columns = measure_objects(read_difference(unit["path"]), unit, inputs, config)
    n_place = len(np.unique(columns.get("hpx29", [])))
    image = {name: unit[name] for name in ("visit", "detector")}
    image |= {"measured_with": used, "n_object": len(columns.get("x", [])), "n_place": n_place}
    return Outputs(rows={"dia_forced_source": columns, "forced_image": [image]})


def measured_with(unit: Mapping[str, Any], config: ForcedConfig) -> str:
    """Return the hash of what a measurement depends on besides the places."""
    whole = [FORCED.version, flatten(config), unit["sha256"], unit["calexp_sha256"]]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def measure_objects(
    image: Any, unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: ForcedConfig
) -> dict[str, Any]:
    """Return the columns of the objects on a difference image."""
    ny, nx = image.difference.shape
    psf = image.psf_field.at((nx - 1) / 2, (ny - 1) / 2)
    fwhm_pix = psf_size(psf).fwhm_pix
    object_id = inputs["objects"]["dia_object_id"].to_numpy()
    object_pixel = place_pixels(inputs["objects"]["hpx29"].to_numpy())
    places = _find_places(image, object_pixel, blend_pix=config.blend_fwhm * fwhm_pix)
    known = _still_valid(inputs["known"], measured_with(unit, config))
    old = _find_places(image, place_pixels(known["hpx29"].to_numpy()), blend_pix=config.blend_fwhm * fwhm_pix)
    is_new = ~np.isin(_group_names(places), _group_names(old))
    radius_pix = float(np.clip(config.fit_radius_fwhm * fwhm_pix, 4.0, psf.shape[0] // 2))
    measured = _measure(image, unit, places.take(is_new), radius_pix=radius_pix, fwhm_pix=fwhm_pix)
    columns = _merged(measured, known, places, is_new)
    covered = np.flatnonzero(np.isin(object_pixel, places.pixel))
    place = np.searchsorted(places.pixel, object_pixel[covered])
    shared = {name: [unit[name]] * len(covered) for name in ("visit", "detector", "band", "midpoint_mjd_tai")}
    return {"dia_object_id": object_id[covered], **shared} | {name: values[place] for name, values in columns.items()}


@dataclass(frozen=True)
class _Places:
    """Where to measure, by rising pixel of order 23."""

    pixel: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    x: np.ndarray
    y: np.ndarray
    group: np.ndarray

    def take(self, chosen: np.ndarray) -> "_Places":
        return _Places(*(getattr(self, name)[chosen] for name in ("pixel", "ra", "dec", "x", "y", "group")))


def _find_places(image: Any, pixels: np.ndarray, *, blend_pix: float) -> _Places:
    """Return the different places that lie on the image where it has data, with their groups."""
    pixel = np.unique(pixels)
    ra, dec = place_centers(pixel)
    x, y = (np.atleast_1d(v) for v in sky_to_pixel(image.wcs, ra, dec))
    ny, nx = image.mask.shape
    on_image = (x >= -0.5) & (x < nx - 0.5) & (y >= -0.5) & (y < ny - 0.5)
    column, row = (np.floor(np.where(on_image, v, 0.0) + 0.5).astype(int) for v in (x, y))
    covered = on_image & (image.mask[row, column] & bit.NO_DATA == 0)
    groups = find_groups(x[covered], y[covered], blend_pix)
    return _Places(pixel[covered], ra[covered], dec[covered], x[covered], y[covered], groups)


def _group_names(places: _Places) -> np.ndarray:
    """Return a text for each place that says which places its group has."""
    order = np.argsort(places.group, kind="stable")
    bounds = np.flatnonzero(np.diff(places.group[order])) + 1
    names = np.empty(len(order), object)
    for members in np.split(order, bounds):
        names[members] = ",".join(map(str, places.pixel[members]))
    return names.astype(str)


def _still_valid(known: pa.Table, used: str) -> pa.Table:
    """Return the rows that were measured with the same image, settings and code, one for each place."""
    fits = np.array([name == used for name in known["measured_with"].to_pylist()], bool)
    known = known.filter(pa.array(fits, pa.bool_())) if len(fits) else known
    _, first = np.unique(place_pixels(known["hpx29"].to_numpy()), return_index=True)
    return known.take(first).drop_columns(["dia_object_id", "measured_with"])


def _measure(
    image: Any, unit: Mapping[str, Any], places: _Places, *, radius_pix: float, fwhm_pix: float
) -> dict[str, np.ndarray]:
    """Return the columns that depend on places alone, as arrays."""
    at: dict[str, Any] = {"x": places.x, "y": places.y, "group": places.group}
    difference = joint_flux(
        image.difference,
        image.variance,
        image.mask,
        psf_spline=spline_coefficients(image.psf_field.at_many(places.x, places.y)),
        radius_pix=radius_pix,
        **at,
    )
    spline = spline_coefficients(image.science_psf.at_many(places.x, places.y))
    beneath_pix = min(radius_pix, spline.shape[-1] // 2)
    science, template = (
        joint_flux(*side, image.mask, psf_spline=spline, radius_pix=beneath_pix, **at) for side in sides(image, unit)
    )
    _, group, n_member = np.unique(places.group, return_inverse=True, return_counts=True)
    return {
        "hpx29": hpx29(places.ra, places.dec),
        "x": places.x,
        "y": places.y,
        **_flux_columns("psf", difference, unit),
        **_flux_columns("science", science, unit),
        **_flux_columns("template", template, unit),
        "n_blend": n_member[group],
        **mask_columns(image.mask, places.x, places.y, radius_pix=radius_pix, fwhm_pix=fwhm_pix),
    }


def _flux_columns(name: str, measured: tuple[np.ndarray, np.ndarray], unit: Mapping[str, Any]) -> dict[str, np.ndarray]:
    flux, flux_err = (values * unit["njy_per_e"] for values in measured)
    return {f"{name}_flux_njy": flux, f"{name}_flux_err_njy": flux_err}


def _merged(
    measured: Mapping[str, np.ndarray], known: pa.Table, places: _Places, is_new: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the columns of all places: what was measured now where it is new, what is known elsewhere."""
    row = np.searchsorted(place_pixels(known["hpx29"].to_numpy()), places.pixel[~is_new])
    columns = {"ra": places.ra, "dec": places.dec}
    for name, values in measured.items():
        columns[name] = np.empty(len(is_new), values.dtype)
        columns[name][is_new] = values
        columns[name][~is_new] = known[name].to_numpy()[row]
    return columns
