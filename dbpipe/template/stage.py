"""The template as a stage: a run decides where there is no decision yet."""

from typing import Any

import duckdb

from dbpipe.catalog.work.offer import Options
from dbpipe.catalog.work.units import Verdict
from dbpipe.failures import DATA
from dbpipe.template.choice import decide_missing
from dbpipe.template.contract import TemplateConfig


def decide(
    connection: duckdb.DuckDBPyConnection, config: TemplateConfig, *, run_id: int, options: Options, report: Any
) -> tuple[list[Verdict], int]:
    """Decide for the bands that have no template; a band that has too few exposures as yet is no news."""
    made = decide_missing(connection, config, run_id)
    verdicts = [verdict for verdict in made if verdict.status == "done" or verdict.kind != DATA]
    report.start("template", len(verdicts))
    for verdict in verdicts:
        report.unit(verdict)
    return verdicts, 0
