"""Commands that look after a survey: status, check, gc."""

import json
from typing import Annotated

import typer

from dbpipe.catalog.checks import write_example
from dbpipe.catalog.queries import load_named
from dbpipe.cli.console import console, describe, print_table, reading, writing
from dbpipe.cli.work import SurveyArgument
from dbpipe.pipeline import ON_REQUEST, STAGES
from dbpipe.survey import Survey

DISTRUST = "distrust.diffim"
MAX_SHOWN = 40
"""Reasons for distrust that are printed."""


def status(
    survey: SurveyArgument,
    timing: Annotated[bool, typer.Option("--timing", help="Show what the work cost instead.")] = False,
):
    """Show what is done, what is due, and what failed and why.

    `--timing` shows wall clock and CPU seconds of each stage, per unit and per million pixels, and the peak memory.

        dbpipe status my_survey --timing
    """
    with reading(survey) as opened:
        if timing:
            for name, title in (("by_stage", "Cost by stage"), ("slowest", "Slowest units")):
                _print_report(opened, "timing", name, title)
            return
        _print_report(opened, "status", "bands", "Observed")
        _print_stages(opened)
        reasons = opened.fetch(load_named("reports", "status")["reasons"]).to_pylist()
        distrusted = len({(r["visit"], r["detector"]) for r in _distrusted(opened)})
        notes = opened.fetch(load_named("reports", "status")["notes"])
        (n_diffim,) = opened.fetch("SELECT count(*) AS n FROM diffim").column("n").to_pylist()
    if distrusted:
        console().print(f"{distrusted} of {n_diffim} difference images are to be distrusted: dbpipe check {survey}")
    if notes.num_rows:
        print_table(("used, but", "files", "example"), (row.values() for row in notes.to_pylist()), title="To be told")
    if reasons:
        rows = [
            (r["stage"], r["status"], r["n_unit"], describe(r["reason"], _numbers(r["numbers"])), r["example"])
            for r in reasons
        ]
        print_table(("stage", "status", "units", "reason (numbers of the example)", "example"), rows, title="Not done")


def _numbers(text):
    return json.loads(text) if text else {}


def _print_report(opened, report, name, title):
    table = opened.fetch(load_named("reports", report)[name])
    print_table(table.column_names, (row.values() for row in table.to_pylist()), title=title)


def _print_stages(opened):
    known = {row["stage"]: row for row in opened.fetch(load_named("reports", "status")["stages"]).to_pylist()}
    due = opened.count_due()
    rows = []
    for name in STAGES + tuple(name for name in ON_REQUEST if name in known):
        if name == "template":
            continue
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
):
    """Apply every data-quality check: rules that a healthy survey keeps, and warnings of images to distrust.

    Each check is a SELECT of offending rows, in `sql/checks/` or in the folder `checks/` of the survey, where your own
    go (`--new NAME` writes a commented example). The files that the database names are looked up too. Exit code 1 if a
    rule is broken or a check cannot be asked; warnings do not change it without `--strict`.

        dbpipe check my_survey
    """
    with Survey.open(survey, published=False) as opened:
        if new is not None:
            console().print(f"{write_example(opened.checks_folder, new)} is yours to edit.")
            return
        findings, warnings = opened.check(check_hash=hash), opened.find_warnings()
        distrusted = _distrusted(opened)
        n_garbage = len(opened.find_garbage())
    failed = [finding for finding in findings + warnings if finding.error]
    if failed:
        print_table(("check that cannot be asked", "why"), [(finding.name, finding.error) for finding in failed])
    broken = [finding for finding in findings if finding.n_row and not finding.error]
    if broken:
        _print_findings(broken, "broken rule")
    elif not failed:
        console().print(f"Healthy: {len(findings)} rules, none broken.")
    raised = [finding for finding in warnings if finding.n_row and not finding.error]
    others = [finding for finding in raised if finding.name != DISTRUST]  # that one has a table of its own
    if others:
        _print_findings(others, "warning")
    if distrusted:
        _print_distrusted(distrusted, survey)
    if n_garbage:
        console().print(f"{n_garbage} files are not named by the database (dbpipe gc {survey} deletes them).")
    raise typer.Exit(1 if broken or failed or (strict and raised) else 0)


def _distrusted(opened):
    return opened.fetch(load_named("reports", "status")["distrusted"]).to_pylist()


def _print_findings(findings, kind):
    rows = [(finding.name, finding.n_row, finding.rule, finding.example) for finding in findings]
    print_table((kind, "rows", "what should be true", "first"), rows)


def _print_distrusted(rows, survey):
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
):
    """Delete files under `files/` that the database does not name.

    They are left by runs that were killed between writing a file and committing its row.

        dbpipe gc my_survey --dry-run
    """
    if dry_run:
        with Survey.open(survey, published=False) as opened:
            garbage = opened.find_garbage()
    else:
        with writing(survey) as opened:
            garbage = opened.delete_garbage()
    for path in garbage:
        print(path)
    console().print(f"{len(garbage)} files {'would be ' if dry_run else ''}deleted.")
