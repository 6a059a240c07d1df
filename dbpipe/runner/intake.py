"""Taking raw files in: ingest of the files that are named, and of those that waited for a change of these."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dbpipe.catalog.work import request
from dbpipe.catalog.work.offer import Options
from dbpipe.runner.pipeline import run_stage
from dbpipe.runner.report import Summary
from dbpipe.stages.contracts.ingest import INGEST, IngestConfig

if TYPE_CHECKING:
    import duckdb


def run_ingest(
    connection: "duckdb.DuckDBPyConnection",
    config: IngestConfig,
    paths: Sequence[str],
    *,
    instrument_sha256: str,
    retry_failed: bool = False,
    **keywords: Any,
) -> Summary:
    """Take raw files in, and those that waited for a change of these; arguments as `run_stage`.

    Returns
    -------
    Summary
        Each file counts once, with its last verdict.
    """
    parameters = {"instrument_sha256": instrument_sha256}
    # a file that is not named this time is still part of the survey
    options = Options(retry_failed=retry_failed, remove_stale=False, parameters=parameters)
    keywords |= {"config": config, "options": options}
    with request.seeing_files(connection):
        request.remember_images(connection)
        _take_in(connection, {*paths, *request.find_waiting(connection)}, keywords)
        again: set[str] = set()
        while due := set(request.find_waiting(connection)) - again:  # what came in may have been waited for
            _take_in(connection, due, keywords)
            again |= due
        request.forget_gone(connection)
    request.forget_unused_visits(connection)
    return _summarize_ingest(connection, keywords["run_id"])


def _take_in(connection: "duckdb.DuckDBPyConnection", paths: set[str], keywords: Mapping[str, Any]) -> None:
    request.request_ingest(connection, sorted(paths))
    run_stage(connection, INGEST, **keywords)


def _summarize_ingest(connection: "duckdb.DuckDBPyConnection", run_id: int) -> Summary:
    verdicts = request.count_verdicts(connection, run_id)
    n: Counter[str] = Counter()
    for status, _, n_unit in verdicts:
        n[status] += n_unit
    reasons = {f"{status}: {reason}": n_unit for status, reason, n_unit in verdicts if status != "done"}
    changes = request.find_changes(connection, run_id)
    lost = [
        f"{row['path_before']}: {row['reason'] or 'it holds another image now'}"
        for row in changes
        if row["change"] == "taken back"
    ]
    return Summary(
        "ingest", sum(n.values()), n["done"], n["skipped"], n["failed"], 0, reasons,
        kinds=request.count_kinds(connection, run_id), changes=dict(Counter(row["change"] for row in changes)),
        lost=tuple(lost),
    )  # fmt: skip
