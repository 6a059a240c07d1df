"""The commands in the order of the help page, each with its first sentence and the file where it is.

A command is loaded when it is called: with the database and all that it works with, which the help page does without.
"""

import gc
from functools import cached_property
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import dbpipe
from dbpipe.later import Later

GROUPS = {
    "Start": {
        "demo": ("make", "Simulate a small sky, run everything on it and compare with the truth, in a few minutes."),
        "guide": ("guide", "Show a page of the guide, or what pages there are."),
        "init": ("work", "Make an empty survey."),
        "simulate": ("make", "Simulate LSST-like exposures in which every source is known, or the catalog of years."),
        "subtract": ("pair", "Subtract a template from a science image: two FITS files, no survey."),
    },
    "Work": {
        "run": ("run", "Do everything that is not done yet."),
        "ingest": ("work", "Take raw exposures into a survey."),
        "refcat": ("work", "Give the survey its reference catalog: star positions and AB magnitudes."),
        "template": ("work", "Show or decide which exposures make the template."),
        "inject": ("inject", "Measure depth and flux errors with sources of known flux."),
    },
    "Ask": {
        "sql": (
            "query",
            "Ask the database; nothing is changed. `dbpipe schema` lists tables, columns and macros.",
        ),
        "lightcurve": ("lightcurve", "Show the light curve of an object."),
        "explain": (
            "query",
            "Show where a DIASource comes from: images, kernel, template, fits, raw file, code and settings.",
        ),
        "schema": (
            "ask",
            "Show the tables and views with the meaning and unit of every column, and the macros.",
        ),
    },
    "Share": {
        "export": ("ask", "Write tables as Parquet files with units and descriptions in them."),
    },
    "Look after": {
        "status": ("check", "Show what is done, what is due, and what failed and why."),
        "check": (
            "check",
            "Apply every data-quality check: rules that a healthy survey keeps, and warnings of images to distrust.",
        ),
        "gc": ("check", "Delete products under `files/` that the database does not name."),
        "config": ("ask", "Show every setting with its value, what it may be, and its explanation."),
    },
}
"""Heading of the help page -> command -> (its module in `dbpipe.cli.commands`, its first sentence)."""
_LOOK: dict[str, Any] = {"rich_markup_mode": "markdown", "pretty_exceptions_enable": False, "add_completion": False}


class Command(TyperCommand):
    """A command as the help page knows it; it becomes itself when it is called."""

    def __init__(self, name: str, heading: str) -> None:
        module, sentence = GROUPS[heading][name]
        super().__init__(name, help=sentence, rich_help_panel=heading, rich_markup_mode="markdown")
        self.function = Later(f"dbpipe.cli.commands.{module}", name)

    @cached_property
    def whole(self) -> Any:
        """The command with its arguments and options."""
        alone = typer.Typer(**_LOOK)
        alone.command(self.name)(self.function.load())
        gc.freeze()  # what is loaded stays until the program ends: nobody need look for garbage in it
        return typer.main.get_command(alone)

    def make_context(self, *arguments: Any, **keywords: Any) -> Any:
        return self.whole.make_context(*arguments, **keywords)


class Commands(TyperGroup):
    """All of them."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.commands.update({name: Command(name, heading) for heading, names in GROUPS.items() for name in names})


app = typer.Typer(cls=Commands, no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]}, **_LOOK)


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
