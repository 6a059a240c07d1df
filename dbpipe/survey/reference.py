"""Where the reference catalog of a survey comes from: a file, or an exposure of its own."""

from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.refcat import replace_reference_catalog
from dbpipe.catalog.sql.queries import fetch_table, load_named
from dbpipe.errors import DataError


def store_from_file(connection: duckdb.DuckDBPyConnection, path: Path, mapping: Mapping[str, Any]) -> tuple[int, int]:
    """Read a file into the survey; see `dbpipe.survey.Survey.set_reference_catalog`."""
    from dbpipe.io.tables.refcat import read_refcat

    fields = connection.execute(load_named("catalog", "refcat")["fields"]).fetchall()
    return _store(connection, *read_refcat(path, mapping, fields=fields))


def store_from_exposure(connection: duckdb.DuckDBPyConnection, root: Path, visit: int, config: Any) -> tuple[int, int]:
    """Make the stars of one raw exposure the reference catalog.

    Parameters
    ----------
    connection : duckdb connection
    root : path
        The survey, where the paths of files begin.
    visit : int
    config : dbpipe.stages.calibrate.stage.CalibrateConfig
    """
    from dbpipe.stages.calibrate.selfref import reference_from_visit

    rows = fetch_table(connection, load_named("catalog", "refcat")["raw_of_visit"], {"visit": visit})
    if rows.num_rows == 0:
        raise DataError("no raw exposure of this visit", visit=visit)
    with chdir(root):
        stars, magnitudes = reference_from_visit(rows.to_pylist()[0], config)
    return _store(connection, stars, magnitudes)


def _store(connection: duckdb.DuckDBPyConnection, stars: pa.Table, magnitudes: pa.Table) -> tuple[int, int]:
    replace_reference_catalog(connection, stars, magnitudes)
    return stars.num_rows, magnitudes.num_rows
