"""The light curve of one object: which object is meant, its epochs, and pieces of its images."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.catalog.files import product_path
from dbpipe.catalog.sql.queries import fetch_table, load_named
from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.errors import ConfigError
from dbpipe.imaging.mask import UNUSABLE
from dbpipe.io.difference import read_difference
from dbpipe.sky.sphere import deproject
from dbpipe.sky.wcs import sky_to_pixel

SEARCH_ARCSEC = 2.0
"""How far an object may be from the direction that is asked for."""
_DIRECTION = re.compile(r"\s*([+-]?[\d.]+(?:e[+-]?\d+)?)\s*[,\s]\s*([+-]?[\d.]+(?:e[+-]?\d+)?)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """An object, and what had to be done to find it."""

    dia_object_id: int
    row: dict[str, Any]
    """Its position, numbers and times."""
    note: str = ""
    """What became of the id that was asked for, or how far the object is from the direction."""


def find_object(connection: duckdb.DuckDBPyConnection, name: int | str) -> Found:
    """Find an object by its id, also one that it had before, or by a direction.

    Parameters
    ----------
    connection : duckdb connection
    name : int or str
        A dia_object_id, or "RA,DEC" in degrees.

    Raises
    ------
    ConfigError
        If there is none; names what is nearest.
    """
    text = str(name).strip()
    if re.fullmatch(r"[+-]?\d+", text):
        return _find_by_id(connection, int(text))
    direction = _DIRECTION.fullmatch(text)
    if direction is None:
        raise ConfigError(f"{text!r} is neither a dia_object_id nor a direction RA,DEC in degrees")
    return _find_by_direction(connection, *map(float, direction.groups()))


def _ask(connection: duckdb.DuckDBPyConnection, query: str, **values: float) -> list[dict[str, Any]]:
    return fetch_table(connection, load_named("reports", "light_curve")[query], values).to_pylist()


def _find_by_id(connection: duckdb.DuckDBPyConnection, asked: int) -> Found:
    current, story, seen = asked, [], set()
    while not (rows := _ask(connection, "object", dia_object_id=current)):
        seen.add(current)
        entries = _ask(connection, "successors", dia_object_id=current)
        successors = [row["successor_id"] for row in entries if row["successor_id"] is not None]
        if not entries:
            near = ", ".join(str(row["dia_object_id"]) for row in _ask(connection, "nearest_ids", dia_object_id=asked))
            raise ConfigError(f"no object {asked}; the nearest ids are {near or 'none: there is no object yet'}")
        if not successors or successors[0] in seen:
            raise ConfigError(f"object {asked} was withdrawn: its detections are gone, or are part of a track")
        if len(successors) > 1:
            raise ConfigError(f"object {asked} was split; its detections are now in {', '.join(map(str, successors))}")
        story.append(entries[0]["change"])
        current = successors[0]
    note = f"object {asked} is {current} now ({', then '.join(story)})" if story else ""
    return Found(current, rows[0], note)


def _find_by_direction(connection: duckdb.DuckDBPyConnection, ra: float, dec: float) -> Found:
    if not abs(dec) <= 90.0:
        raise ConfigError(f"there is no declination {dec}")
    near = _ask(connection, "nearest_objects", ra=ra, dec=dec)
    if not near or near[0]["separation_arcsec"] > SEARCH_ARCSEC:
        others = ", ".join(f"{row['dia_object_id']} ({row['separation_arcsec']:.1f} arcsec)" for row in near)
        raise ConfigError(
            f"no object within {SEARCH_ARCSEC:g} arcsec of {ra:g}, {dec:g}; the nearest are {others or 'none'}"
        )
    found = near[0]["dia_object_id"]
    note = f"object {found} is {near[0]['separation_arcsec']:.2f} arcsec from there"
    if len(near) > 1 and near[1]["separation_arcsec"] < SEARCH_ARCSEC:
        note += f", {near[1]['dia_object_id']} {near[1]['separation_arcsec']:.2f} arcsec"
    return Found(found, _ask(connection, "object", dia_object_id=found)[0], note)


def fetch_light_curve(connection: duckdb.DuckDBPyConnection, dia_object_id: int) -> pa.Table:
    """Return every epoch of an object, rows of the view light_curve in time, as a pyarrow.Table."""
    query = load_named("reports", "light_curve")["light_curve"]
    return fetch_table(connection, query, {"dia_object_id": dia_object_id})


def fetch_bands(connection: duckdb.DuckDBPyConnection, dia_object_id: int) -> list[dict[str, Any]]:
    """Return the statistics of an object in each band, rows of the view dia_object_band, as dictionaries."""
    return _ask(connection, "bands", dia_object_id=dia_object_id)


@dataclass(frozen=True)
class Cutout:
    """Pieces of one epoch's images around an object, north up and east to the left."""

    epoch: dict[str, Any]
    """Its row of the light curve."""
    images: dict[str, Any]
    """science, template, difference -> (n, n) array [electron], NaN where there is no image or no usable pixel."""
    noise: dict[str, Any]
    """The same names -> noise of blank sky [electron]."""
    side_arcsec: float


def choose_epochs(epochs: Sequence[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    """Choose epochs worth a picture: the brightest, the faintest, the last, the first, then the most significant.

    Of one night and band there is one, unless there are too few nights.

    Parameters
    ----------
    epochs : list of dict, rows of the light curve in time

    Returns
    -------
    list of at most n of them, in time.
    """
    clean = [row for row in epochs if row["is_clean"]]
    if not clean:
        return []
    by_flux = sorted(clean, key=lambda row: row["psf_flux_njy"])
    by_snr = sorted(clean, key=lambda row: -abs(row["psf_flux_njy"] / row["psf_flux_err_njy"]))
    wanted = [by_flux[-1], by_flux[0], clean[-1], clean[0], *by_snr]
    apart = {(row["band"], round(row["midpoint_mjd_tai"])): row for row in reversed(wanted)}
    first = [row for row in wanted if row in apart.values()]
    chosen = list({(row["visit"], row["detector"]): row for row in [*first, *wanted]}.values())[:n]
    return sorted(chosen, key=lambda row: (row["midpoint_mjd_tai"], row["visit"]))


def read_cutouts(
    connection: duckdb.DuckDBPyConnection,
    epochs: Sequence[dict[str, Any]],
    *,
    n_pix: int = 61,
    side_arcsec: float = 12.0,
) -> list[Cutout]:
    """Cut science image, template and difference out around an object; the current folder is the survey.

    Each pixel of a cutout is that of the image whose center is nearest: what is shown is what was measured.
    """
    query = load_named("reports", "light_curve")["images"]
    found = fetch_table(connection, query, {"dia_object_id": epochs[0]["dia_object_id"]}).to_pylist() if epochs else []
    images = {(row["visit"], row["detector"]): row for row in found}
    return [_cut(row, images[row["visit"], row["detector"]], n_pix, side_arcsec) for row in epochs]


def _cut(epoch: dict[str, Any], image: Mapping[str, Any], n_pix: int, side_arcsec: float) -> Cutout:
    product_path(".", image["path"])  # a table may say anything
    difference = read_difference(image["path"])
    offset = (np.arange(n_pix) - (n_pix - 1) / 2) * side_arcsec / n_pix / ARCSEC_PER_DEG
    eta, xi = np.meshgrid(offset, -offset, indexing="ij")  # east is on the left
    ra, dec = deproject(xi, eta, ra0=epoch["ra"], dec0=epoch["dec"])
    x, y = (
        np.floor(v + 0.5).astype(int).reshape(n_pix, n_pix)
        for v in sky_to_pixel(difference.wcs, ra.ravel(), dec.ravel())
    )
    ny, nx = difference.difference.shape
    inside = (x >= 0) & (x < nx) & (y >= 0) & (y < ny)
    x, y = x.clip(0, nx - 1), y.clip(0, ny - 1)
    usable = inside & (difference.mask[y, x] & UNUSABLE == 0)
    planes: dict[str, Any] = {
        "science": difference.science,
        "template": difference.template,
        "difference": difference.difference,
    }
    seen = {"science": inside, "template": usable, "difference": usable}
    pieces = {name: np.where(seen[name], plane[y, x], np.nan) for name, plane in planes.items()}
    noise = dict.fromkeys(("science", "template"), image["science_noise_e"]) | {"difference": image["diff_noise_e"]}
    return Cutout(epoch, pieces, noise, side_arcsec)
