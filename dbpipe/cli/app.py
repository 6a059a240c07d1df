"""The commands in the order of the help page."""

from collections.abc import Callable
from typing import Annotated

import typer

import dbpipe
from dbpipe.cli.commands import ask, check, guide, inject, lightcurve, make, pair, query, run, work

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dbpipe {dbpipe.__version__}")
        raise typer.Exit


@app.callback()
def dbpipe_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Difference imaging driven by SQL: from raw exposures to DIASources.

    A survey is a folder with a database in it. The database knows what is done and what is due, so every command can be
    repeated, interrupted and resumed. A first survey:

        dbpipe init my_survey --instrument phosim-eimage

        dbpipe ingest my_survey raw/

        dbpipe refcat my_survey refcat.csv

        dbpipe run my_survey

        dbpipe status my_survey

    No data at hand? `dbpipe demo` simulates a small sky, runs everything on it and compares with the truth.
    """


_GROUPS: dict[str, tuple[Callable[..., None], ...]] = {
    "Start": (make.demo, guide.guide, work.init, make.simulate, pair.subtract),
    "Work": (run.run, work.ingest, work.refcat, work.template, inject.inject),
    "Ask": (query.sql, lightcurve.lightcurve, query.explain, ask.schema),
    "Share": (ask.export,),
    "Look after": (check.status, check.check, check.gc, ask.config),
}
for _group, _commands in _GROUPS.items():
    for _command in _commands:
        app.command(rich_help_panel=_group)(_command)
