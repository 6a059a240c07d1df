"""Commands that ask: schema, config, export."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dbpipe.catalog import migrations
from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views
from dbpipe.cli.commands.work import Overwrite, SurveyArgument
from dbpipe.cli.terminal.console import console, finite, print_table, reading
from dbpipe.declared import value_at
from dbpipe.errors import ConfigError
from dbpipe.runner import order
from dbpipe.survey import SETTINGS
from dbpipe.survey.opening import instrument_text
from dbpipe.survey.settings import document, format_value, read_settings

if TYPE_CHECKING:
    from dbpipe.publish.tree import TreeReport


def schema(
    table: Annotated[str | None, typer.Argument(help="Table, view or macro; all by default.")] = None,
) -> None:
    """Show the tables and views with the meaning and unit of every column, and the macros.

    dbpipe schema dia_source
    """
    with connection.memory() as catalog:
        migrations.migrate(catalog)
        apply_views(catalog)
        queries = load_named("reports", "schema")
        rows = catalog.execute(queries["columns"]).fetchall()
        about = dict(catalog.execute(queries["relations"]).fetchall())
        macros = catalog.execute(queries["macros"]).fetchall()
    names = list(dict.fromkeys(row[0] for row in rows))
    macro_names = [row[0] for row in macros]
    wanted = _known_names(table, names, macro_names)
    for name in (name for name in names if name in wanted):
        described = [
            (c, t, "" if nullable else "NOT NULL", text or "") for n, c, t, nullable, text in rows if n == name
        ]
        print_table(("column", "type", "", "[unit] meaning"), described, title=f"{name}: {about.get(name) or ''}")
    gives = [(f"{name}({', '.join(given)})", text) for name, given, text in macros if name in wanted]
    if gives:
        print_table(("macro", "what it gives"), gives, title="Macros")


def _known_names(asked: Any | None, tables: Sequence[str], macros: Sequence[str]) -> set[str]:
    """Return the tables and macros to show: the one asked for, in any case of letters, or all."""
    if asked is None:
        return {*tables, *macros}
    found = {name for name in (*tables, *macros) if name.lower() == asked.lower()}
    if not found:
        raise ConfigError(f"no table {asked}; there are {', '.join(tables)}, and the macros {', '.join(macros)}")
    return found


def config(
    survey: Annotated[Path | None, typer.Argument(metavar="[SURVEY]", help="Show the values in force there.")] = None,
    instrument: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print a description of a camera instead, to start yours from.")
    ] = None,
) -> None:
    """Show every setting with its value, what it may be, and its explanation.

    Values differ from the default where `survey.toml` says so; they are marked with a star.

        dbpipe config my_survey

        dbpipe config --instrument phosim-eimage > my_camera.toml
    """
    if instrument is not None:
        sys.stdout.write(instrument_text(instrument))
        return
    sections = order.sections()
    settings = read_settings(None if survey is None else survey / SETTINGS, sections)
    rows = []
    for item in document(sections):
        section, *tables = item.section.split(".")
        value = value_at(settings[section], (*tables, item.name))
        star = "" if value == item.default else " *"
        rows.append((item.section, item.name, format_value(value) + star, item.allowed, " ".join(item.text.split())))
    print_table(("section", "setting", "value", "allowed", "explanation"), rows)


def export(
    survey: SurveyArgument,
    out: Annotated[Path, typer.Argument(help="Folder, or the file if one table is exported.")],
    table: Annotated[list[str] | None, typer.Option(help="Table or view. Repeatable.")] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only rows that meet this condition.")] = None,
    layout: Annotated[
        list[str] | None, typer.Option(metavar="night|hats", help="All sources and objects in many files. Repeatable.")
    ] = None,
    margin: Annotated[
        float, typer.Option(metavar="ARCSEC", min=0, max=3600, callback=finite, help="Width of the HATS margins.")
    ] = 10.0,
    overwrite: Overwrite = False,
) -> None:
    """Write tables as Parquet files with units and descriptions in them.

    A file named *.parquet, *.csv, *.ecsv or *.vot is written in that format; a folder gets one Parquet file per table.
    A file that dbpipe did not make, or that was changed since, is never replaced without `--overwrite`.

        dbpipe export my_survey out/ --table dia_source_clean --where "snr > 7"

    With `--layout`, OUT/current/ has dia_source, dia_object and dia_forced_source in files by night
    (`dia_source/by_night/night=*/`) or by tile of the sky (`dia_source/hats/`, a HATS collection with margins, for
    lsdb). Repeated, only what has changed is written, in every layout that OUT has; an interrupted export leaves OUT as
    it was. OUT is a folder of its own; what else gets into it later is left alone.

        dbpipe export my_survey lake/ --layout night --layout hats
    """
    if layout and (table or where or overwrite):
        raise ConfigError("--layout exports all rows of its tables: leave out --table, --where and --overwrite")
    with reading(survey) as opened:
        if layout:
            _print_tree(opened.export_layouts(out, layout, margin_arcsec=margin))
            return
        for path in opened.export(out, tables=table or ["DiaSource"], where=where, overwrite=overwrite):
            console().print(f"{path}")


def _print_tree(report: "TreeReport") -> None:
    for folder, n_row in report.n_row.items():
        console().print(f"{report.path}/{folder}: {n_row} rows")
    counts = f"{report.n_written} files written, {report.n_kept} kept as they were, {report.n_removed} gone"
    console().print(f"{report.path}: {counts}")
    for path in report.left:
        console().print(f"left alone, not made by dbpipe or changed since: {path}", markup=False)
