"""What is to be decided or predicted: known from rows alone, without what calculates."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from dbpipe.catalog.sql.queries import fetch_table, load_named
from dbpipe.catalog.work import units
from dbpipe.catalog.work.offer import Options
from dbpipe.declared import flatten
from dbpipe.template.contract import TEMPLATE, TemplateConfig


def query(name: str) -> str:
    """Return a statement of ``sql/stages/template.sql``."""
    return load_named("stages", "template")[name]


def is_due(connection: duckdb.DuckDBPyConnection, config: TemplateConfig, options: Options) -> bool:
    """Return whether a run has a template to decide, a prediction to make, or a verdict to forget."""
    if find_outdated(connection):
        return True
    targets = find_targets(connection)
    if any(target["template_id"] is None or target["is_astray"] for target in targets):
        return True
    recorded = {row["unit_key"] for row in fetch_table(connection, query("verdicts"), {}).to_pylist()}
    if recorded & {unit_key(target) for target in targets}:
        return True
    return any(not find_basis(connection, config, target).is_predicted for target in targets)


def count_outdated(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how many decisions in force the version before this one made."""
    return len(find_outdated(connection))


def find_outdated(connection: duckdb.DuckDBPyConnection) -> list[Any]:
    """Return the decisions in force that a dbpipe made which knew only Gaussian model PSFs: tract, band, how ..."""
    return fetch_table(connection, query("of_before"), {}).to_pylist()


def find_targets(connection: duckdb.DuckDBPyConnection, band: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return the tracts and bands that a template could be made for, with the decision in force."""
    return fetch_table(connection, query("targets"), {"band": band}).to_pylist()


def unit_key(target: Mapping[str, Any]) -> str:
    """Return the name of a tract and band in the table ``unit``."""
    return units.format_key({"tract": target["tract"], "band": target["band"]})


@dataclass(frozen=True)
class Basis:
    """What the predictions of a template in force are made from."""

    candidates: list[dict[str, Any]]
    """Every calibrated exposure of the tract and band."""
    chosen: set[tuple[int, int]]
    """Visit and detector of those that went in."""
    sha256: str
    is_predicted: bool
    """What is predicted was made from just this."""


def find_basis(connection: duckdb.DuckDBPyConnection, config: TemplateConfig, target: Mapping[str, Any]) -> Basis:
    """Return what the predictions of a template in force are made from now."""
    parameters = {"tract": target["tract"], "band": target["band"], **flatten(config)}
    candidates = fetch_table(connection, query("candidates"), parameters).to_pylist()
    inputs = fetch_table(connection, query("inputs"), {"template_id": target["template_id"]}).to_pylist()
    chosen = {(row["visit"], row["detector"]) for row in inputs if row["selected"]}
    text = json.dumps([TEMPLATE.version, candidates, sorted(chosen)], separators=(",", ":"), default=str)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    before = fetch_table(connection, query("predicted_from"), {"template_id": target["template_id"]}).to_pylist()
    return Basis(candidates, chosen, sha256, is_predicted=[row["sha256"] for row in before] == [sha256])
