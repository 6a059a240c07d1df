"""The loop: ask the database for work, run it in worker processes, commit rows and files together.

`run_stage` does it for one stage, `run_all` for the stages in their order. This module alone sees both the catalogue
and the stages.
"""

import importlib
import importlib.metadata
import logging
import platform
from collections import Counter
from dataclasses import dataclass, field

import duckdb

import dbpipe
from dbpipe.catalog import files
from dbpipe.catalog.checks import CheckConfig
from dbpipe.catalog.sql import queries
from dbpipe.catalog.store.connection import is_of_rows
from dbpipe.catalog.store.lent import lent
from dbpipe.catalog.work import request, units
from dbpipe.errors import CatalogError, ConfigError, DbpipeError, DiskError
from dbpipe.failures import DATA, UNEXPECTED
from dbpipe.io.names import did_you_mean
from dbpipe.runner.offer import Options, fetch_work, find_where, offer_work, stage_queries
from dbpipe.runner.pool import Died, RunConfig
from dbpipe.runner.worker import Done, failed, settled, work

STAGES = ("ingest", "calibrate", "skymap", "template", "warp", "coadd", "difference", "detect", "associate", "forced")
"""The order of things. ``template`` is a decision, taken by `dbpipe.template.choice`, and ``associate`` reads what it
writes: both run in the parent; the rest are stages."""
IN_PARENT = ("template", "associate")
ON_REQUEST = ("inject",)
"""Stages that run only when they are asked for by name."""

_LIBRARIES = ("duckdb", "pyarrow", "numpy", "scipy", "astropy", "sep", "numba", "astroscrappy", "hpgeom")

log = logging.getLogger("dbpipe")


def load_stage(name):
    """Return the Stage of a name by importing its module."""
    return getattr(importlib.import_module(f"dbpipe.stages.{name}"), name.upper())


def sections():
    """Return the sections of the settings, name -> dataclass, in the order of the stages."""
    from dbpipe.io.tables.refcat import (
        RefcatColumns,  # workers import this module too, and have no use for astropy's tables
    )

    found = {}
    for name in STAGES + ON_REQUEST:
        if name == "template":
            found[name] = importlib.import_module("dbpipe.template.decision").TemplateConfig
        elif name == "associate":
            found[name] = importlib.import_module("dbpipe.association").AssociateConfig
        else:
            found[name] = load_stage(name).config
        if name == "ingest":
            found["refcat"] = RefcatColumns
    found["run"] = RunConfig
    found["check"] = CheckConfig
    return found


def versions():
    """Return the versions of everything that computes."""
    found = {"dbpipe": dbpipe.__version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in _LIBRARIES}


class Report:
    """What `run_stage` tells while it works; this one is silent."""

    def start(self, stage_name, n_unit):
        """A stage begins with so many units due."""

    def unit(self, verdict):
        """A unit was committed."""

    def finish(self, summary):
        """A stage has ended."""


@dataclass(frozen=True)
class Summary:
    """What one stage did."""

    stage: str
    n_unit: int = 0
    n_done: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_removed: int = 0
    reasons: dict = field(default_factory=dict)
    """Reason -> number of units skipped or failed for it."""
    kinds: dict = field(default_factory=dict)
    """Kind of failure (`dbpipe.failures`) -> number of units."""
    changes: dict = field(default_factory=dict)
    """Of ingest: new, read again, moved, taken back -> number of images."""
    lost: tuple = ()
    """Of ingest: each image that was in use and is no more, and why."""

    @property
    def n_unexpected(self):
        """Number of units that failed in a way that no input should bring about."""
        return sum(self.kinds.get(kind, 0) for kind in UNEXPECTED)


def run_stage(connection, stage, config, *, run_id, pool, root, options=None, statements=None, report=None):
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
    summary = _summarize(stage.name, verdicts, n_removed)
    report.finish(summary)
    return summary


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
    request.request_ingest(connection, sorted(paths))
    run_stage(connection, load_stage("ingest"), **keywords)


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


def run_all(connection, settings, *, run_id, pool, root, to=None, options=None, report=None):
    """Run every stage after ingest up to ``to``, in order, and return their summaries.

    Raises
    ------
    ConfigError
        If ``to`` is no stage, or the ``where`` condition fits the work of none of them.
    """
    check_request(connection, to=to, where=options.where if options else None)
    summaries = []
    for name in stage_names(to):
        if name == "template":
            summaries += _decide_templates(connection, settings, run_id, report)
            continue
        if name == "associate":
            summaries.append(_associate(connection, settings[name], run_id, options, report))
            continue
        stage = load_stage(name)
        keywords = {"run_id": run_id, "pool": pool, "root": root, "options": options, "report": report}
        summaries.append(run_stage(connection, stage, settings[name], **keywords))
    request.forget_unused_visits(connection)
    return summaries


def _decide_templates(connection, settings, run_id, report):
    """Decide the templates that are missing, in the parent; a summary only if one waits or met an error."""
    failures = importlib.import_module("dbpipe.template.choice").decide_missing(connection, settings, run_id)
    told = [verdict for verdict in failures if verdict.kind != DATA]  # the others have too few exposures as yet
    return [_tell("template", told, 0, report or Report())] if told else []


def _tell(stage_name, verdicts, n_removed, report):
    """Report verdicts that are there already."""
    report.start(stage_name, len(verdicts))
    for verdict in verdicts:
        log_failure(verdict)
        report.unit(verdict)
    summary = _summarize(stage_name, verdicts, n_removed)
    report.finish(summary)
    return summary


def _associate(connection, config, run_id, options, report):
    """Link detections to objects, in the parent."""
    module, report = importlib.import_module("dbpipe.association"), report or Report()
    options = options or Options()
    chosen = {"where": options.where, "retry_failed": options.retry_failed}
    verdicts, n_removed = module.associate(connection, config, run_id=run_id, report=report, **chosen)
    for verdict in verdicts:
        if verdict.status == "failed":
            log_failure(verdict)
    summary = _summarize("associate", verdicts, n_removed)
    report.finish(summary)
    return summary


def stage_names(to=None):
    """Return the names of what `run_all` goes through: what follows ingest, which is told what to take in."""
    if to is None:
        return STAGES[1:]
    names = STAGES + ON_REQUEST
    if to not in names:
        raise ConfigError(f"no stage {to!r} to run to{did_you_mean(to, names)}; the stages are {', '.join(names)}")
    return names[1 : names.index(to) + 1]


def check_request(connection, *, to=None, where=None):
    """Refuse a stage that does not exist, or a condition that fits the work of none, before anything is done."""
    names = stage_names(to)
    if where is not None:
        _check_where(connection, names, Options(where=where))


def count_due(connection, settings):
    """Return how many units each stage would work on now, name -> number, for the status report."""
    due = {
        name: len(offer_work(connection, load_stage(name), settings[name]).due)
        for name in STAGES[1:]
        if name not in IN_PARENT
    }
    association = importlib.import_module("dbpipe.association")
    return due | {"associate": association.count_due(connection, settings["associate"])}


@dataclass(frozen=True)
class Outdated:
    """Units that an older version of their stage made: its results are others now."""

    stage: str
    n_unit: int
    made_by: int
    """Version of the stage that made them."""
    version: int
    """Version of today."""


def find_outdated(connection):
    """Return what an older dbpipe made and this one makes otherwise, a list of `Outdated` in order of stages."""
    n_template = len(importlib.import_module("dbpipe.template.choice").find_outdated(connection))
    found = [Outdated("template", n_template, 1, 2)] if n_template else []
    made = queries.fetch_table(connection, queries.load_named("reports", "status")["by_version"], {}).to_pylist()
    for row in made:
        if row["stage"] in STAGES + ON_REQUEST and row["stage"] != "template":
            version = stage_version(row["stage"])
            if row["stage_version"] < version:
                found.append(Outdated(row["stage"], row["n_unit"], row["stage_version"], version))
    return sorted(found, key=lambda outdated: (STAGES + ON_REQUEST).index(outdated.stage))


def stage_version(name):
    """Return the version of a stage that leaves verdicts: all but ``template``."""
    return importlib.import_module("dbpipe.association").VERSION if name == "associate" else load_stage(name).version


def _call(connection, stage, statements, task, config):
    """Return the call that does a unit; one whose inputs cannot be had is settled already."""
    try:
        inputs = {name: queries.fetch_table(connection, statements[name], task.unit) for name in stage.inputs}
    except duckdb.Error as error:
        if is_of_rows(error):
            return settled, failed(error)
        raise CatalogError(f"the inputs of {stage.name} {task.unit_key} cannot be read: {error}") from error
    return work, stage, task.unit, inputs, config, task.fingerprint


def _check_where(connection, names, options):
    """Refuse a condition that no stage's work rows can be asked."""
    stages = [load_stage(name) for name in names if name not in IN_PARENT]
    columns = {}
    for stage in stages:
        rows = fetch_work(connection, stage_queries(stage)["work"], options.parameters)
        if find_where(connection, rows, options.where) is not None:
            return
        columns[stage.name] = ", ".join(rows.column_names)
    known = "\n".join(f"  {name}: {text}" for name, text in columns.items())
    raise ConfigError(f"no stage has the columns that {options.where!r} asks for; they have\n{known}")


def _remove_stale(connection, stage, offer, root):
    stale = units.find_stale(connection, stage.name, offer.units)
    for unit_key in stale:
        key = units.parse_key(unit_key, stage.key)
        garbage = units.remove_unit(connection, stage.name, unit_key, key=key, writes=stage.writes)
        files.delete(root, garbage)
    return len(stale)


def _settle(stage, task, outcome):
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


def _commit(connection, stage, task, done, *, run_id, statements, root):
    names = ("status", "reason", "numbers", "n_pix", "wall_s", "cpu_s", "peak_rss_mib", "kind", "traceback")
    verdict = units.Verdict(
        stage=stage.name,
        unit_key=task.unit_key,
        fingerprint=task.fingerprint,
        stage_version=stage.version,
        run_id=run_id,
        **{name: getattr(done, name) for name in names},
    )
    place = units.Place({name: task.unit[name] for name in stage.key}, stage.writes, stage.inserts, statements)
    verdict, garbage = units.commit_unit(connection, verdict, units.Result(done.rows, done.files), place)
    files.delete(root, garbage)  # after the COMMIT: the catalogue never names a file that is not there
    if verdict.status == "failed":
        log_failure(verdict)
    return verdict


def log_failure(verdict):
    """Write to the log why a unit failed, and where in the program if nobody foresaw it."""
    values = (verdict.stage, verdict.unit_key, verdict.kind, verdict.reason, verdict.numbers)
    log.warning("%s %s failed (%s): %s %s%s", *values, f"\n{verdict.traceback}" if verdict.traceback else "")


def _summarize(stage_name, verdicts, n_removed):
    status = Counter(verdict.status for verdict in verdicts)
    reasons = Counter(_reason(verdict) for verdict in verdicts if verdict.status != "done")
    kinds = Counter(verdict.kind for verdict in verdicts if verdict.status == "failed")
    counts = (len(verdicts), status["done"], status["skipped"], status["failed"], n_removed)
    return Summary(stage_name, *counts, dict(reasons), dict(kinds))


def _reason(verdict):
    kind = f" ({verdict.kind})" if verdict.status == "failed" and verdict.kind != DATA else ""
    return f"{verdict.status}{kind}: {verdict.reason}"
