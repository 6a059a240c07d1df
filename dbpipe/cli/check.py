"""Commands that look after a survey: status, check, gc."""

import json
from typing import Annotated

import typer

from dbpipe.catalog.queries import load_named
from dbpipe.cli.console import console, describe, print_table, writing
from dbpipe.cli.work import SurveyArgument
from dbpipe.pipeline import ON_REQUEST, STAGES
from dbpipe.survey import Survey


def status(
    survey: SurveyArgument,
    timing: Annotated[bool, typer.Option("--timing", help="Show what the work cost instead.")] = False,
):
    """Show what is done, what is due, and what failed and why.

    `--timing` shows wall clock and CPU seconds of each stage, per unit and per million pixels, and the peak memory.

        dbpipe status my_survey --timing
    """
    with Survey.open(survey) as opened:
        if timing:
            for name, title in (("by_stage", "Cost by stage"), ("slowest", "Slowest units")):
                _print_report(opened, "timing", name, title)
            return
        _print_report(opened, "status", "bands", "Observed")
        _print_stages(opened)
        reasons = opened.fetch(load_named("reports", "status")["reasons"]).to_pylist()
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
):
    """Apply every data-quality rule; a healthy survey breaks none.

    Each rule is a SELECT of offending rows in `sql/checks/`. The files that the database names are looked up too.
    Exit code 1 if a rule is broken.

        dbpipe check my_survey
    """
    with Survey.open(survey) as opened:
        findings = opened.check(check_hash=hash)
        n_garbage = len(opened.find_garbage())
    broken = [finding for finding in findings if finding.n_row]
    if broken:
        rows = [(finding.name, finding.n_row, finding.rule, finding.example) for finding in broken]
        print_table(("broken rule", "rows", "what should be true", "first"), rows)
    else:
        console().print(f"Healthy: {len(findings)} rules, none broken.")
    if n_garbage:
        console().print(f"{n_garbage} files are not named by the database (dbpipe gc {survey} deletes them).")
    raise typer.Exit(1 if broken else 0)


def gc(
    survey: SurveyArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show them.")] = False,
):
    """Delete files under `files/` that the database does not name.

    They are left by runs that were killed between writing a file and committing its row.

        dbpipe gc my_survey --dry-run
    """
    if dry_run:
        with Survey.open(survey) as opened:
            garbage = opened.find_garbage()
    else:
        with writing(survey) as opened:
            garbage = opened.delete_garbage()
    for path in garbage:
        print(path)
    console().print(f"{len(garbage)} files {'would be ' if dry_run else ''}deleted.")
