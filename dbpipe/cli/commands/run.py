"""The command that does the work: run, by hand or every night."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dbpipe.cli.commands.work import (
    EXIT_FAILED_UNITS,
    Debug,
    Overwrite,
    RetryFailed,
    SurveyArgument,
    Workers,
    print_ingest,
    print_kept,
    print_refcat,
)
from dbpipe.cli.terminal.console import (
    Progressing,
    Shell,
    console,
    finite,
    print_outdated,
    print_stale_description,
    reading,
    writing,
)
from dbpipe.errors import ConfigError, DbpipeError, SurveyBusy
from dbpipe.failures import BUG, DIED, MEMORY_LIMIT, TIME_LIMIT, TRANSIENT
from dbpipe.publish.write import check_export
from dbpipe.runner.order import stages_after_ingest
from dbpipe.runner.pipeline import check_request
from dbpipe.survey import CATALOG, Survey
from dbpipe.survey.discover import find_raw_files
from dbpipe.survey.opening import LOG, empty_catalog

RESULTS = ["DiaSource", "dia_source_clean", "template_table", "visit_quality"]
"""What `dbpipe run --export` writes."""


class IfBusy(StrEnum):
    """What to do if another command is working on the survey."""

    fail = "fail"
    exit = "exit"
    wait = "wait"


def run(
    survey: SurveyArgument,
    to: Annotated[str | None, typer.Option(metavar="STAGE", help="Stop after this stage.")] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only work that meets this condition.")] = None,
    workers: Workers = None,
    retry_failed: RetryFailed = False,
    ingest_files: Annotated[
        list[str] | None, typer.Option("--ingest", metavar="FILES", help="First take these in. Repeatable.")
    ] = None,
    settle: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            max=86400,
            callback=finite,
            help="Files that change within this time are left for next time.",
        ),
    ] = 5.0,
    refcat_file: Annotated[
        Path | None, typer.Option("--refcat", metavar="FILE", help="First give it this reference catalog.")
    ] = None,
    instrument: Annotated[
        str | None, typer.Option(help="Make the survey for this instrument if there is none.")
    ] = None,
    export_to: Annotated[
        Path | None, typer.Option("--export", metavar="FOLDER", help="Then write the results there as Parquet.")
    ] = None,
    overwrite: Overwrite = False,
    if_busy: Annotated[
        IfBusy, typer.Option(help="If another command works on the survey: exit code 75, exit code 0, or wait for it.")
    ] = IfBusy.fail,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 3 if any unit of this run failed.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print one line, and none if there was nothing new.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON and nothing else.")] = False,
    debug: Debug = False,
) -> None:
    """Do everything that is not done yet.

    Each stage (`dbpipe status` lists them in order) asks the database for units whose inputs or settings are new or
    changed, so a run can be killed and resumed, and a second run has nothing to do. An exposure that cannot be used is
    recorded with the reason and the run goes on.

        dbpipe run my_survey --to calibrate --where "band = 'r'" --workers 4

    From raw files to exported DIASources in one command:

        dbpipe run my_survey --instrument phosim-eimage --ingest raw/ --refcat refcat.csv --export out/

    From cron; readers have the catalog of the last run meanwhile, and `dbpipe.log` what went wrong:

        */10 * * * * dbpipe run my_survey --ingest /data/incoming --if-busy exit --quiet

    Exit codes: 0 done, 1 stopped by an error, 2 wrong usage, 3 done but a unit met an error that nobody foresaw, lost
    its worker or ran into a limit (`dbpipe status --traceback`; with --strict also: or was refused), 75 busy, 130
    stopped by Ctrl-C, 143 by SIGTERM.
    """
    out = console(quiet=quiet or as_json)
    record: dict[str, Any] = {"survey": str(survey), "status": "done", "started_at": _now()}
    started = time.monotonic()
    if export_to:
        check_export(export_to, RESULTS, overwrite=overwrite)  # before the work
    try:
        _check_arguments(to, refcat_file, export_to)
        if instrument and not (survey / CATALOG).exists():
            _check_first_run(survey, ingest_files, {"to": to, "where": where})
            with Survey.init(survey, instrument=instrument) as made:
                print_kept(out, made)
            out.print(f"{survey} is ready.")
        with (
            writing(survey, wait=if_busy == IfBusy.wait) as opened,
            Progressing(quiet=out.quiet) as report,
        ):
            options = {"n_worker": workers, "retry_failed": retry_failed, "report": report}
            record |= _work(opened, out, ingest_files, settle, refcat_file, {"to": to, "where": where}, options)
            record |= {"wall_s": round(time.monotonic() - started, 3), "finished_at": _now()}
            line = describe_run(record)
            logging.getLogger("dbpipe").info("%s", line)
    except SurveyBusy as error:
        if if_busy != IfBusy.exit:
            _print_json(as_json, record | {"status": "busy", "message": str(error)})
            raise
        record |= {"status": "busy", "message": str(error)}
        line = f"dbpipe: {error}"
    except DbpipeError as error:
        _print_json(as_json, record | {"status": "error", "message": str(error)})
        raise
    _print_json(as_json, record)
    if not as_json and (not quiet or has_news(record)):
        console().print(line)
    if export_to and record["status"] == "done":
        with reading(survey) as opened:
            for path in opened.export(export_to, tables=RESULTS):
                out.print(f"{path}")
    if record.get("n_unexpected") or (strict and record.get("n_failed")):
        raise typer.Exit(EXIT_FAILED_UNITS)


def _check_arguments(to: str | None, refcat_file: Path | None, export_to: Path | None) -> None:
    """Refuse what cannot be done before anything is."""
    stages_after_ingest(to)
    if refcat_file is not None and not refcat_file.is_file():
        raise ConfigError(f"--refcat {refcat_file}: there is no such file")
    if export_to is not None and export_to.exists() and not export_to.is_dir():
        raise ConfigError(f"--export {export_to}: that is not a folder")


def _check_first_run(survey: Path, ingest_files: Sequence[str] | None, limits: Any) -> None:
    """The same of what a survey that is there would refuse."""
    find_raw_files(ingest_files or [], leave_out=survey)
    with empty_catalog() as connection:
        check_request(connection, **limits)


def _work(
    opened: Any,
    out: Shell,
    ingest_files: Sequence[str] | None,
    settle: float,
    refcat_file: Path | None,
    limits: Mapping[str, str | None],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Ingest, take the reference catalog, run; return the record of it."""
    record = {"n_file_left": 0, "n_file_other": 0}
    summaries = []
    n_source = opened.count("dia_source")
    opened.check_request(**limits)
    print_outdated(out, opened.root, opened.find_outdated())
    if ingest_files:
        settled, growing, left_alone = opened.find_settled(ingest_files, settle_s=settle)
        summary, _ = opened.ingest(settled, **options)
        print_ingest(out, opened, summary, left_alone, len(growing))
        summaries.append(summary)
        record = {"n_file_left": len(growing), "n_file_other": int(left_alone)}
    print_stale_description(out, opened)
    if refcat_file:
        print_refcat(out, opened, *opened.set_reference_catalog(refcat_file))
    summaries += opened.run(**limits, **options)
    stages = {summary.stage: {k: v for k, v in asdict(summary).items() if k != "stage"} for summary in summaries}
    record |= {name: sum(stage[name] for stage in stages.values()) for name in ("n_unit", "n_done", "n_skipped")}
    record |= {name: sum(stage[name] for stage in stages.values()) for name in ("n_failed", "n_removed")}
    record["n_unexpected"] = sum(summary.n_unexpected for summary in summaries)
    n_after = opened.count("dia_source")
    return record | {"n_dia_source": n_after, "n_dia_source_more": n_after - n_source, "stages": stages}


def has_news(record: Mapping[str, Any]) -> bool:
    """Return whether a run did or found anything, or could not begin."""
    return any(record.get(name) for name in ("n_unit", "n_removed", "n_file_left", "message"))


def describe_run(record: Mapping[str, Any]) -> str:
    """Return a run in one line."""
    parts = []
    ingest = record["stages"].get("ingest")
    if ingest:
        parts.append(f"{ingest['changes'].get('new', 0)} new files")
        parts += [f"{ingest['changes'][name]} {name}" for name in ("read again", "moved") if name in ingest["changes"]]
        parts += [f"{ingest['n_failed']} refused"] if ingest["n_failed"] else []
        parts += [f"{len(ingest['lost'])} IN USE BEFORE AND NO MORE"] if ingest["lost"] else []
    if record["n_file_left"]:
        parts.append(f"{record['n_file_left']} still being copied")
    counts = ("n_unit", "units of work"), ("n_failed", "failed"), ("n_skipped", "skipped"), ("n_removed", "taken back")
    kinds = {"n_failed": _name_kinds(record["stages"].values())}
    parts += [f"{record[n]} {word}{kinds.get(n, '')}" for n, word in counts if record[n] or n == "n_unit"]
    parts.append(f"{record['n_dia_source']} DIASources ({record['n_dia_source_more']:+d})")
    how = " --traceback" if record["n_unexpected"] else ""
    why = f"; why: dbpipe status {record['survey']}{how}" if record["n_failed"] else ""
    if any(TRANSIENT in stage["kinds"] for stage in record["stages"].values()):
        why += f", {Path(record['survey']) / LOG}"  # a unit that was done before stays so in the catalog
    return f"{record['survey']}: {', '.join(parts)} in {record['wall_s']:.0f} s{why}"


_KINDS = {
    TRANSIENT: "to be tried again by the next run",
    BUG: "met a bug",
    DIED: "lost their worker",
    TIME_LIMIT: "ran into the time limit",
    MEMORY_LIMIT: "ran into the memory limit",
}


def _name_kinds(stages: Any) -> str:
    """Say of which kinds the failures are, where it is not the data."""
    counts = {kind: sum(stage["kinds"].get(kind, 0) for stage in stages) for kind in _KINDS}
    found = [f"{n} {_KINDS[kind]}" for kind, n in counts.items() if n]
    return f" ({', '.join(found)})" if found else ""


def _print_json(wanted: bool, record: Mapping[str, Any]) -> None:
    if wanted:
        print(json.dumps(record))


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
