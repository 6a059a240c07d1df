"""The loop: ask the database for work, run it in worker processes, commit rows and files together.

`run_stage` does it for one stage, `run_all` for the stages in their order.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from dbpipe.catalog import files
from dbpipe.catalog.sql import queries
from dbpipe.catalog.store.connection import is_of_rows
from dbpipe.catalog.store.lent import lent
from dbpipe.catalog.store.undisturbed import undisturbed
from dbpipe.catalog.work import request, units
from dbpipe.catalog.work.offer import Offer, Options, Task, fetch_work, find_where, offer_work, stage_queries
from dbpipe.errors import CatalogError, ConfigError, DbpipeError, DiskError
from dbpipe.runner.order import stages_after_ingest
from dbpipe.runner.pool import Died, WorkerPool
from dbpipe.runner.report import Report, Summary, summarize
from dbpipe.runner.worker import Done, failed, settled, work
from dbpipe.stage import ParentStage, Stage

if TYPE_CHECKING:
    from dbpipe.association.contract import AssociateConfig
    from dbpipe.catalog.work.units import Verdict
    from dbpipe.template.contract import TemplateConfig

log = logging.getLogger("dbpipe")


def run_stage(
    connection: duckdb.DuckDBPyConnection,
    stage: Stage,
    config: Any,
    *,
    run_id: int,
    pool: Any,
    root: Path,
    options: Options | None = None,
    statements: Mapping[str, str] | None = None,
    report: Any = None,
) -> Summary:
    """Do everything that a stage has to do and commit it unit by unit, in the order of its work query.

    Parameters
    ----------
    connection : duckdb connection
        The only writer of the survey.
    stage : Stage
    config : instance of ``stage.config``
    run_id : int
        Row of the table ``run`` that the verdicts point to.
    pool : WorkerPool
    root : path
        The survey.
    options : Options
    statements : dict, optional
        Named queries of the stage; those of its SQL file by default.
    report : Report

    Raises
    ------
    DbpipeError
        If a unit met what is not of it alone, a full disk or a broken contract: the message names it. What was
        committed before stays. Any other error of a unit is its verdict, and the run goes on.
    """
    options, report = options or Options(), report or Report()
    statements = statements or stage_queries(stage)
    files.check_names(connection, root)
    offer = offer_work(connection, stage, config, options=options, statements=statements)
    n_removed = _remove_stale(connection, stage, offer, root) if options.remove_stale else 0
    report.start(stage.name, len(offer.due))
    verdicts = []
    calls = (_call(connection, stage, statements, task, config) for task in offer.due)
    with lent(connection, {"offered": offer.units}):  # for the queries that judge a unit: which others are due
        # `zip` asks the pool first and the due tasks second: both go on in work order
        for (_, outcome), task in zip(pool.run_ordered(calls), offer.due, strict=True):
            done = _settle(stage, task, outcome)
            verdict = _commit(connection, stage, task, done, run_id=run_id, statements=statements, root=root)
            verdicts.append(verdict)
            report.unit(verdict)
    summary = summarize(stage.name, verdicts, n_removed)
    report.finish(summary)
    return summary


def run_in_parent(
    connection: duckdb.DuckDBPyConnection,
    stage: ParentStage,
    config: "AssociateConfig | TemplateConfig",
    *,
    run_id: int,
    options: Options | None = None,
    report: Any = None,
) -> Summary:
    """Do everything that a `ParentStage` has to do and return the `Summary`; arguments as `run_stage`."""
    options, report = options or Options(), report or Report()
    verdicts, n_removed = [], 0
    if stage.is_due(connection, config, options):
        verdicts, n_removed = stage.run(connection, config, run_id=run_id, options=options, report=report)
    else:
        report.start(stage.name, 0)
    for verdict in verdicts:
        if verdict.status == "failed":
            log_failure(verdict)
    summary = summarize(stage.name, verdicts, n_removed)
    report.finish(summary)
    return summary


def run_all(
    connection: duckdb.DuckDBPyConnection,
    settings: Any,
    *,
    run_id: int,
    pool: WorkerPool,
    root: Path,
    to: str | None = None,
    options: Options | None = None,
    report: Any = None,
) -> list[Summary]:
    """Run every stage after ingest up to ``to``, in order, and return their summaries.

    Raises
    ------
    ConfigError
        If ``to`` is no stage, or the ``where`` condition fits the work of none of them.
    """
    check_request(connection, to=to, where=options.where if options else None)
    keywords: dict[str, Any] = {"run_id": run_id, "options": options, "report": report}
    summaries = []
    for stage in stages_after_ingest(to):
        if isinstance(stage, ParentStage):
            summaries.append(run_in_parent(connection, stage, settings[stage.name], **keywords))
        else:
            summaries.append(run_stage(connection, stage, settings[stage.name], pool=pool, root=root, **keywords))
    request.forget_unused_visits(connection)
    return summaries


def check_request(connection: duckdb.DuckDBPyConnection, *, to: str | None = None, where: str | None = None) -> None:
    """Refuse a stage that does not exist, or a condition that fits the work of none, before anything is done."""
    stages = stages_after_ingest(to)
    if where is not None:
        _check_where(connection, [stage for stage in stages if not isinstance(stage, ParentStage)], where)


def _call(
    connection: duckdb.DuckDBPyConnection, stage: Stage, statements: Mapping[str, str], task: Task, config: Any
) -> tuple[Any, ...]:
    """Return the call that does a unit; one whose inputs cannot be had is settled already."""
    try:
        with undisturbed():  # they may look at what was offered, which Python holds
            inputs = {name: queries.fetch_table(connection, statements[name], task.unit) for name in stage.inputs}
    except duckdb.Error as error:
        if is_of_rows(error):
            return settled, failed(error)
        raise CatalogError(f"the inputs of {stage.name} {task.unit_key} cannot be read: {error}") from error
    return work, stage, task.unit, inputs, config, task.fingerprint


def _check_where(connection: duckdb.DuckDBPyConnection, stages: Sequence[Stage], where: str) -> None:
    """Refuse a condition that no stage's work rows can be asked."""
    columns = {}
    for stage in stages:
        rows = fetch_work(connection, stage_queries(stage)["work"], {})
        if find_where(connection, rows, where) is not None:
            return
        columns[stage.name] = ", ".join(rows.column_names)
    known = "\n".join(f"  {name}: {text}" for name, text in columns.items())
    raise ConfigError(f"no stage has the columns that {where!r} asks for; they have\n{known}")


def _remove_stale(connection: duckdb.DuckDBPyConnection, stage: Stage, offer: Offer, root: Path) -> int:
    stale = units.find_stale(connection, stage.name, offer.units)
    for unit_key in stale:
        key = units.parse_key(unit_key, stage.key)
        garbage = units.remove_unit(connection, stage.name, unit_key, key=key, writes=stage.writes)
        files.delete(root, garbage)
    return len(stale)


def _settle(stage: Stage, task: Task, outcome: Any) -> Done:
    """Turn what came from the pool into a `Done`, or stop the run."""
    if isinstance(outcome, Died):
        return Done("failed", outcome.reason, outcome.numbers, kind=outcome.kind)
    if isinstance(outcome, Done):
        return outcome
    if isinstance(outcome, DbpipeError):
        raise type(outcome)(f"{stage.name} {task.unit_key}: {outcome}") from outcome
    if isinstance(outcome, OSError):
        raise DiskError(f"{stage.name} stopped at {task.unit_key}: {outcome}") from outcome
    raise outcome


def _commit(
    connection: duckdb.DuckDBPyConnection,
    stage: Stage,
    task: Task,
    done: Done,
    *,
    run_id: int,
    statements: Mapping[str, str],
    root: Path,
) -> "Verdict":
    names = ("status", "reason", "numbers", "n_pix", "wall_s", "cpu_s", "peak_rss_mib", "kind", "traceback")
    verdict = units.Verdict(
        stage=stage.name,
        unit_key=task.unit_key,
        fingerprint=task.fingerprint,
        stage_version=stage.version,
        run_id=run_id,
        **{name: getattr(done, name) for name in names},
    )
    place = units.Place({name: task.unit[name] for name in stage.key}, stage.writes, stage.inserts, dict(statements))
    verdict, garbage = units.commit_unit(connection, verdict, units.Result(done.rows, done.files), place)
    files.delete(root, garbage)  # after the COMMIT: the catalog never names a file that is not there
    if verdict.status == "failed":
        log_failure(verdict)
    return verdict


def log_failure(verdict: "Verdict") -> None:
    """Write to the log why a unit failed, and where in the program if nobody foresaw it."""
    values = (verdict.stage, verdict.unit_key, verdict.kind, verdict.reason, verdict.numbers)
    log.warning("%s %s failed (%s): %s %s%s", *values, f"\n{verdict.traceback}" if verdict.traceback else "")
