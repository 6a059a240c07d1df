"""The files of a HATS catalog (IVOA Note, Caplar et al. 2025) beside its tiles: what lsdb and hats look for."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import dbpipe

_DIRECTORY = 10_000
"""Tiles in one folder at most."""
_KIND = {"dia_object": "object"}
"""dataproduct_type; else it is "source": one object has many rows."""


def part_name(order: int, pixel: int) -> str:
    """Return the name of a tile, which is the middle of its path."""
    return f"Norder={order}/Dir={pixel // _DIRECTORY * _DIRECTORY}/Npix={pixel}"


def part_path(part: str) -> str:
    """Return where in its catalog a tile is."""
    return f"dataset/{part}.parquet"


def margin_name(table: str, margin_arcsec: float) -> str:
    """Return the name of the catalog of what lies around the tiles of another one."""
    return f"{table}_{margin_arcsec:g}arcs"


def write_catalog(folder: Path, n_row: Mapping[str, int], *, name: str, margin_arcsec: float | None) -> None:
    """Write what makes a folder of tiles a catalog, or a margin.

    Parameters
    ----------
    folder : path
    n_row : dict
        Tile name -> number of rows. The tiles are there.
    name : str
        The table.
    margin_arcsec : float or None
        None for the table itself.
    """
    tiles = sorted(_parse(part) for part in n_row)
    _write_metadata(folder / "dataset", [part_name(*tile) for tile in tiles])
    lines = ["Norder,Npix", *(f"{order},{pixel}" for order, pixel in tiles)]
    (folder / "partition_info.csv").write_text("\n".join(lines) + "\n")
    properties = {
        "obs_collection": name if margin_arcsec is None else margin_name(name, margin_arcsec),
        "dataproduct_type": "margin" if margin_arcsec is not None else _KIND.get(name, "source"),
        "hats_nrows": sum(n_row.values()),
        "hats_col_ra": "ra",
        "hats_col_dec": "dec",
        "hats_col_healpix": "_healpix_29",
        "hats_col_healpix_order": 29,
        "hats_npix_suffix": ".parquet",
        "hats_order": max(order for order, _ in tiles),
        "hats_max_rows": max(n_row.values()),
        "hats_estsize": sum(path.stat().st_size for path in (folder / "dataset").rglob("*.parquet")) // 1024,
        "hats_builder": f"dbpipe {dbpipe.__version__}",
        "hats_creation_date": f"{datetime.now(UTC):%Y-%m-%dT%H:%MUTC}",
        "hats_version": "v1.0",
    }
    if margin_arcsec is not None:
        properties |= {"hats_margin_threshold": margin_arcsec, "hats_primary_table_url": name}
    _write_properties(folder / "hats.properties", properties)


def write_collection(folder: Path, name: str, margins: Sequence[str]) -> None:
    """Write what makes a catalog and its margins a collection."""
    properties = {"obs_collection": name, "hats_primary_table_url": name}
    if margins:
        properties |= {"all_margins": " ".join(margins), "default_margin": margins[0]}
    _write_properties(folder / "collection.properties", properties)


def _parse(part: str) -> tuple[int, int]:
    values = dict(item.split("=") for item in part.split("/"))
    return int(values["Norder"]), int(values["Npix"])


def _write_metadata(dataset: Path, parts: Sequence[str]) -> None:
    """Gather the footers of the tiles, so that a reader opens only those that it needs."""
    whole: Any = None
    for part in parts:
        footer = pq.read_metadata(dataset / f"{part}.parquet")
        footer.set_file_path(f"{part}.parquet")
        if whole is None:
            whole = footer
        else:
            whole.append_row_groups(footer)
    whole.write_metadata_file(dataset / "_metadata")
    schema = pq.read_schema(dataset / f"{parts[0]}.parquet")
    pq.write_metadata(schema, dataset / "_common_metadata")


def _write_properties(path: Path, properties: Mapping[str, Any]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items() if value != ""))
