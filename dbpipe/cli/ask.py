"""Commands that ask: sql, schema, config, export."""

import csv
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from dbpipe import pipeline
from dbpipe.catalog import connection, migrations
from dbpipe.cli.console import console, print_table
from dbpipe.cli.work import SurveyArgument
from dbpipe.errors import ConfigError
from dbpipe.settings import document, format_value, read_settings
from dbpipe.survey import SETTINGS, Survey


def sql(
    survey: SurveyArgument,
    query: Annotated[str, typer.Argument(help="A SELECT, or - to read it from standard input.")],
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, all rows.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, all rows.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Rows of the table that is printed.")] = 50,
):
    """Ask the database; nothing is changed. `dbpipe schema` lists tables and columns.

    dbpipe sql my_survey "SELECT band, count(*), min(psf_fwhm_pix) FROM calexp JOIN visit USING (visit) GROUP BY band"
    """
    with Survey.open(survey) as opened:
        table = opened.fetch(sys.stdin.read() if query == "-" else query)
    rows = table.to_pylist()
    if as_csv:
        writer = csv.DictWriter(sys.stdout, table.column_names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    elif as_json:
        for row in rows:
            print(json.dumps(row, default=str))
    else:
        print_table(table.column_names, (row.values() for row in rows[:limit]))
        if len(rows) > limit:
            console().print(f"{limit} of {len(rows)} rows (--limit N, or --csv for all)")


def schema(
    table: Annotated[str | None, typer.Argument(help="Table or view; all by default.")] = None,
):
    """Show the tables and views with the meaning and unit of every column.

    dbpipe schema dia_source
    """
    from dbpipe.export import apply_views

    with connection.memory() as catalog:
        migrations.migrate(catalog)
        apply_views(catalog)
        rows = catalog.execute(
            "SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns() "
            "WHERE NOT internal AND schema_name = 'main' AND database_name = current_database() "
            "ORDER BY table_name, column_index"
        ).fetchall()
        about = dict(
            catalog.execute(
                "SELECT table_name, comment FROM duckdb_tables() UNION ALL "
                "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        )
    names = list(dict.fromkeys(row[0] for row in rows))
    if table is not None and table not in names:
        raise ConfigError(f"no table {table}; there are {', '.join(names)}")
    for name in names if table is None else [table]:
        described = [
            (c, t, "" if nullable else "NOT NULL", text or "") for n, c, t, nullable, text in rows if n == name
        ]
        print_table(("column", "type", "", "[unit] meaning"), described, title=f"{name}: {about.get(name) or ''}")


def config(
    survey: Annotated[Path | None, typer.Argument(metavar="[SURVEY]", help="Show the values in force there.")] = None,
):
    """Show every setting with its value and explanation.

    Values differ from the default where `survey.toml` says so; they are marked with a star.

        dbpipe config my_survey
    """
    sections = pipeline.sections()
    settings = read_settings(None if survey is None else survey / SETTINGS, sections)
    rows = []
    for item in document(sections):
        value = getattr(settings[item.section], item.name)
        star = "" if value == item.default else " *"
        rows.append((item.section, item.name, format_value(value) + star, " ".join(item.text.split())))
    print_table(("section", "setting", "value", "explanation"), rows)


def export(
    survey: SurveyArgument,
    out: Annotated[Path, typer.Argument(help="Folder, or the file if one table is exported.")],
    table: Annotated[list[str] | None, typer.Option(help="Table or view. Repeatable.")] = None,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only rows that meet this condition.")] = None,
):
    """Write tables as Parquet files with units and descriptions in them.

    dbpipe export my_survey out/ --table dia_source_clean --where "snr > 7"
    """
    with Survey.open(survey) as opened:
        for path in opened.export(out, tables=table or ["DiaSource"], where=where):
            console().print(f"{path}")
