"""Commands that look after a survey: status, check, gc."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dbpipe.catalog.checks import Finding, write_example
from dbpipe.catalog.sql.queries import load_named
from dbpipe.cli.commands.work import SurveyArgument
from dbpipe.cli.terminal.console import (
    console,
    describe,
    print_outdated,
    print_stale_description,
    print_table,
    reading,
    writing,
)
from dbpipe.errors import ConfigError, SurveyBusy
from dbpipe.failures import DATA
from dbpipe.runner.order import BY_NAME, STAGES
from dbpipe.survey import Survey

DISTRUST = "distrust.diffim"
MAX_SHOWN = 40
"""Reasons for distrust that are printed."""


def status(
    survey: SurveyArgument,
    unit: Annotated[
        str | None, typer.Argument(help="With --traceback: only units whose `STAGE KEY` has this in it.")
    ] = None,
    timing: Annotated[bool, typer.Option("--timing", help="Show what the work cost instead.")] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where in the program errors arose that nobody foresaw, instead.")
    ] = False,
) -> None:
    """Show what is done, what is due, and what failed and why.

    A failure is of a kind: data (the input was refused), transient (not possible now: every run tries again), bug (an
    error that nobody foresaw: tried again by another version), died (its worker process did), time_limit or
    memory_limit (tried by three runs). `dbpipe run --retry-failed` tries all of them again.

    `--timing` shows wall clock and CPU seconds of each stage, per unit and per million pixels, and the peak memory.

        dbpipe status my_survey --timing

        dbpipe status my_survey --traceback "calibrate visit=840"
    """
    if unit is not None and not traceback:
        raise ConfigError(f"what is {unit}? A unit goes with --traceback")
    with reading(survey) as opened:
        if traceback:
            _print_tracebacks(opened, unit or "")
            return
        if timing:
            for name, title in (("by_stage", "Cost by stage"), ("slowest", "Slowest units")):
                _print_report(opened, "timing", name, title)
            return
        _print_report(opened, "status", "bands", "Observed")
        _print_stages(opened)
        print_outdated(console(), survey, opened.find_outdated())
        print_stale_description(console(), opened)
        reasons = opened.fetch(load_named("reports", "status")["reasons"]).to_pylist()
        distrusted = len({(r["visit"], r["detector"]) for r in _distrusted(opened)})
        notes = opened.fetch(load_named("reports", "status")["notes"])
        n_diffim = opened.count("diffim")
    if distrusted:
        console().print(f"{distrusted} of {n_diffim} difference images are to be distrusted: dbpipe check {survey}")
    if notes.num_rows:
        print_table(("used, but", "files", "example"), (row.values() for row in notes.to_pylist()), title="To be told")
    if reasons:
        rows = [
            (
                r["stage"],
                _status(r),
                r["n_unit"],
                r["n_attempt"],
                describe(r["reason"], _numbers(r["numbers"])),
                r["example"],
            )
            for r in reasons
        ]
        columns = ("stage", "status", "units", "runs", "reason (numbers of the example)", "example")
        print_table(columns, rows, title="Not done")
        if any(row["has_traceback"] for row in reasons):
            console().print(f"Where errors arose that nobody foresaw: dbpipe status {survey} --traceback")


def _status(row: Mapping[str, Any]) -> str:
    return row["status"] if row["kind"] in (None, DATA) else f"{row['status']}: {row['kind']}"


def _print_tracebacks(opened: Survey, text: str) -> None:
    """Print what is known of errors that nobody foresaw, in units whose stage and key have a text in them."""
    rows = opened.fetch(load_named("reports", "status")["tracebacks"], text=text).to_pylist()
    for row in rows:
        reason = describe(row["reason"], _numbers(row["numbers"]))
        console().print(f"{row['stage']} {row['unit_key']}: {reason} ({row['kind']}, runs: {row['n_attempt']})")
        for line in (row["traceback"] or "").splitlines():
            console().print(f"    {line}")
    console().print(f"{len(rows)} units met an error that nobody foresaw, lost their worker or ran into a limit.")


def _numbers(text: str | None) -> dict[str, Any]:
    return json.loads(text) if text else {}


def _print_report(opened: Survey, report: str, name: str, title: str) -> None:
    table = opened.fetch(load_named("reports", report)[name])
    print_table(table.column_names, (row.values() for row in table.to_pylist()), title=title)


def _print_stages(opened: Survey) -> None:
    known = {row["stage"]: row for row in opened.fetch(load_named("reports", "status")["stages"]).to_pylist()}
    due = opened.count_due()
    rows = []
    for name in BY_NAME:
        if name not in known and name not in due and name != STAGES[0].name:
            continue  # asked for by nobody, or a decision that went well: `dbpipe template` shows it
        row = known.get(name, {"done": 0, "skipped": 0, "failed": 0, "last_at": None})
        at = None if row["last_at"] is None else f"{row['last_at']:%Y-%m-%d %H:%M} UTC"
        rows.append((name, row["done"], due.get(name), row["skipped"], row["failed"], at))
    print_table(("stage", "done", "due", "skipped", "failed", "last"), rows, title="Stages")


def check(
    survey: SurveyArgument,
    hash: Annotated[bool, typer.Option("--hash", help="Read every file and compare its hash.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings make the exit code 1 too.")] = False,
    new: Annotated[
        str | None, typer.Option(metavar="NAME", help="Write an example of a check of your own instead.")
    ] = None,
) -> None:
    """Apply every data-quality check: rules that a healthy survey keeps, and warnings of images to distrust.

    Each check is a SELECT of offending rows, in `sql/checks/` or in the folder `checks/` of the survey, where your own
    go (`--new NAME` writes a commented example). The files that the database names are looked up too. Exit code 1 if a
    rule is broken or a check cannot be asked; warnings do not change it without `--strict`.

        dbpipe check my_survey
    """
    with _open_newest(survey) as opened:
        if new is not None:
            console().print(f"{write_example(opened.checks_folder, new)} is yours to edit.")
            return
        findings, warnings = opened.check(check_hash=hash), opened.find_warnings()
        distrusted = _distrusted(opened)
        garbage = opened.find_garbage()
        n_garbage = 0 if opened.find_writer() else len(garbage)  # he has written files that he has not committed yet
    failed = [finding for finding in findings + warnings if finding.error]
    if failed:
        print_table(("check that cannot be asked", "why"), [(finding.name, finding.error) for finding in failed])
    broken = [finding for finding in findings if finding.n_row and not finding.error]
    if broken:
        _print_findings(broken, "broken rule")
    elif not failed:
        asked = [finding for finding in findings if not finding.left_out]
        console().print(f"Healthy: {len(asked)} rules, none broken.")
    for finding in findings:
        if finding.left_out:
            console().print(f"{finding.name} was not looked at: {finding.left_out}")
    raised = [finding for finding in warnings if finding.n_row and not finding.error]
    others = [finding for finding in raised if finding.name != DISTRUST]  # that one has a table of its own
    if others:
        _print_findings(others, "warning")
    if distrusted:
        _print_distrusted(distrusted, survey)
    if n_garbage:
        console().print(f"{n_garbage} files are not named by the database (dbpipe gc {survey} deletes them).")
    raise typer.Exit(1 if broken or failed or (strict and raised) else 0)


def _open_newest(survey: Path) -> Survey:
    """Open the catalog as it is now, which fails if it is damaged; while somebody is writing, as it was published."""
    try:
        return Survey.open(survey, published=False)
    except SurveyBusy:
        return Survey.open(survey)


def _distrusted(opened: Survey) -> list[dict[str, Any]]:
    return opened.fetch(load_named("reports", "status")["distrusted"]).to_pylist()


def _print_findings(findings: Sequence[Finding], kind: str) -> None:
    rows = [(finding.name, finding.n_row, finding.rule, finding.example) for finding in findings]
    print_table((kind, "rows", "what should be true", "first"), rows)


def _print_distrusted(rows: Sequence[dict[str, Any]], survey: Path) -> None:
    """Print the images to distrust, those with most reasons first."""
    columns = ("visit", "detector", "band", "reason", "value", "lowest", "highest", "what the value is")
    shown = [(*list(row.values())[:4], round(row["value"], 6), *list(row.values())[5:]) for row in rows[:MAX_SHOWN]]
    print_table(columns, shown, title="Difference images to distrust")
    if len(rows) > MAX_SHOWN:
        left = len(rows) - MAX_SHOWN
        console().print(f'{left} more: dbpipe sql {survey} "SELECT * FROM diffim_distrust" --csv')


def gc(
    survey: SurveyArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show them.")] = False,
) -> None:
    """Delete products under `files/` that the database does not name.

    They are left by runs that were killed between writing a file and committing its row. Whatever does not have the
    name of a product was put there by somebody else: it is listed and left alone.

        dbpipe gc my_survey --dry-run
    """
    if dry_run:
        with reading(survey) as opened:
            garbage, strangers = opened.find_garbage(), opened.find_strangers()
            if busy := opened.find_writer():
                print(f"dbpipe: files that have just been written are among these: {busy}", file=sys.stderr)
    else:
        with writing(survey) as opened:
            garbage, strangers = opened.delete_garbage(), opened.find_strangers()
    for path in garbage:
        console().print(path)
    for path in strangers:
        console().print(f"left alone, not made by dbpipe: {path}")
    console().print(f"{len(garbage)} files {'would be ' if dry_run else ''}deleted.")
