"""Taking raw files in: ingest of the files that are named, and of those that waited for a change of these."""

from collections import Counter

from dbpipe.catalog.work import request
from dbpipe.catalog.work.offer import Options
from dbpipe.runner.pipeline import run_stage
from dbpipe.runner.report import Summary


def run_ingest(connection, config, paths, *, instrument_sha256, retry_failed=False, **keywords):
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
        again = set()
        while due := set(request.find_waiting(connection)) - again:  # what came in may have been waited for
            _take_in(connection, due, keywords)
            again |= due
    request.forget_unused_visits(connection)
    return _summarize_ingest(connection, keywords["run_id"])


def _take_in(connection, paths, keywords):
    from dbpipe.stages.ingest import INGEST  # what only asks a survey needs no stage

    request.request_ingest(connection, sorted(paths))
    run_stage(connection, INGEST, **keywords)


def _summarize_ingest(connection, run_id):
    verdicts = request.count_verdicts(connection, run_id)
    n = Counter()
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
