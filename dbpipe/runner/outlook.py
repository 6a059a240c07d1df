"""What a run would find to do, and with what versions."""

import importlib.metadata
import platform
from dataclasses import dataclass
from typing import Any

import duckdb

import dbpipe
from dbpipe.catalog.sql import queries
from dbpipe.catalog.work.offer import offer_work
from dbpipe.runner.order import BY_NAME, STAGES
from dbpipe.stage import ParentStage

_LIBRARIES = ("duckdb", "pyarrow", "numpy", "scipy", "astropy", "sep", "numba", "hpgeom")


def versions() -> dict[str, str]:
    """Return the versions of everything that computes."""
    found = {"dbpipe": dbpipe.__version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in _LIBRARIES}


def count_due(connection: duckdb.DuckDBPyConnection, settings: Any) -> dict[str, int]:
    """Return how many units each stage would work on now, name -> number, for the status report."""
    due = {}
    for stage in STAGES[1:]:
        if not isinstance(stage, ParentStage):
            due[stage.name] = len(offer_work(connection, stage, settings[stage.name]).due)
        elif stage.count_due is not None:
            due[stage.name] = stage.count_due(connection, settings[stage.name])
    return due


@dataclass(frozen=True)
class Outdated:
    """Units that an older version of their stage made: its results are others now."""

    stage: str
    n_unit: int
    made_by: int
    """Version of the stage that made them."""
    version: int
    """Version of today."""


def find_outdated(connection: duckdb.DuckDBPyConnection) -> list[Outdated]:
    """Return what an older dbpipe made and this one makes otherwise, a list of `Outdated` in order of stages."""
    made = queries.fetch_table(connection, queries.load_named("reports", "status")["by_version"], {}).to_pylist()
    found = []
    for name, stage in BY_NAME.items():
        if isinstance(stage, ParentStage) and stage.count_outdated is not None:
            n_unit = stage.count_outdated(connection)
            found += [Outdated(name, n_unit, stage.version - 1, stage.version)] if n_unit else []
            continue
        found += [
            Outdated(name, row["n_unit"], row["stage_version"], stage.version)
            for row in made
            if row["stage"] == name and row["stage_version"] < stage.version
        ]
    return found
