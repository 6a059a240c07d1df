"""Commands that ask the catalog: sql, explain."""

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from dbpipe.catalog.sql.cookbook import find_recipe, parse_value, read_recipes
from dbpipe.cli.commands.work import Overwrite, SurveyArgument
from dbpipe.cli.terminal.console import console, format_value, print_answer, print_table, reading
from dbpipe.cli.terminal.text import printable_lines
from dbpipe.disk.ledger import adopt
from dbpipe.errors import ConfigError
from dbpipe.survey import Survey


class Format(StrEnum):
    """How an answer is printed."""

    table = "table"
    csv = "csv"
    json = "json"
    jsonl = "jsonl"
    ecsv = "ecsv"
    vot = "vot"


def sql(
    survey: SurveyArgument,
    query: Annotated[str | None, typer.Argument(help="A SELECT, or - to read it from standard input.")] = None,
    named: Annotated[str | None, typer.Option(metavar="NAME", help="A question of the cookbook instead.")] = None,
    set: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Value of a $NAME in the query. Repeatable.")
    ] = None,
    with_table: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=FILE", help="A file that the query sees as a table. Repeatable."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write all rows: .parquet, .csv, .ecsv, .vot, .json or .jsonl.")
    ] = None,
    overwrite: Overwrite = False,
    format: Annotated[Format, typer.Option(help="How to print; all but table print all rows.")] = Format.table,
    as_csv: Annotated[bool, typer.Option("--csv", help="The same as --format csv.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format jsonl: one object a line.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=2**31 - 1, help="Rows of the table that is printed.")] = 50,
    cookbook: Annotated[bool, typer.Option("--cookbook", help="List the questions that come with dbpipe.")] = False,
) -> None:
    """Ask the database; nothing is changed. `dbpipe schema` lists tables, columns and macros.

    A value for `$name` in the query comes with `--set name=value`; it is never taken for SQL. `--with mine=FILE` lends
    a CSV, Parquet, FITS, ECSV or VOTable to the query; `stars.fits[2]` is one of several tables in a file.

    Ids have all their digits in every format. CSV and JSON do not say their types: pandas reads ids with gaps exactly
    with `read_csv(FILE, dtype_backend="numpy_nullable")` and `read_json(FILE, lines=True, engine="pyarrow",
    dtype_backend="pyarrow")`; Parquet, ECSV and VOTable need no such words.

        dbpipe sql my_survey "SELECT visit, ra, dec, score FROM dia_source_clean WHERE band = $b" --set b=r

        dbpipe sql my_survey --cookbook

        dbpipe sql my_survey --named around --set ra=53.02 --set dec=-27.44 --set radius_arcsec=30 --out near.csv
    """
    with reading(survey) as opened:
        if cookbook:
            _print_cookbook(named)
            return
        for name, path in _pairs(with_table, "--with").items():
            opened.lend(name, path)
        text, values = _question(query, named, _pairs(set, "--set"))
        if out is not None:
            if overwrite:
                adopt(out)
            console().print(f"{out}: {opened.write(out, text, **values)} rows")
            return
        chosen = Format.csv if as_csv else Format.jsonl if as_json else format
        if chosen != Format.table:
            _print_text(opened, text, values, chosen)
            return
        table, n_row = opened.fetch_head(text, limit=limit, **values)
    print_answer(table.column_names, [tuple(row.values()) for row in table.to_pylist()])
    if n_row > table.num_rows:
        left = n_row - table.num_rows
        console().print(f"{left} more of {n_row} rows are left out (--limit {n_row}, or --out FILE, for all)")


def _question(query: str | None, named: str | None, given: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return the text of what is asked, and the values of its parameters."""
    if (query is None) == (named is None):
        raise ConfigError("give either a query or --named NAME (--cookbook lists the names)")
    values = {name: parse_value(text) for name, text in given.items()}
    if named is not None:
        recipe = find_recipe(named)
        return recipe.query, recipe.bind(values)
    return (sys.stdin.read() if query == "-" else query or ""), values


def _pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    """Turn NAME=VALUE texts into a dictionary."""
    pairs = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"{option} {text}: write NAME=VALUE")
        if name in pairs:
            raise ConfigError(f"{option} gives {name} twice")
        pairs[name] = value
    return pairs


def _print_text(opened: Survey, text: str, values: Mapping[str, str], chosen: Any) -> None:
    """Print all rows in a text format; a file of that format is made first, and nothing printed if that fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"answer.{chosen.value}"
        opened.write(path, text, **values)
        sys.stdout.flush()
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)  # byte for byte, whatever the terminal's encoding


def _print_cookbook(named: str | None) -> None:
    """Print the names and questions; of one recipe also its parameters and its text."""
    if named is None:
        rows = [
            (recipe.name, recipe.question, ", ".join(_shown(parameter) for parameter in recipe.parameters))
            for recipe in read_recipes().values()
        ]
        print_table(("name", "question", "parameters (--set)"), rows, title="Cookbook: --named NAME")
        return
    print(printable_lines(find_recipe(named).query))


def _shown(parameter: Any) -> Any:
    return parameter.name if parameter.default is None else f"{parameter.name}={parameter.default}"


def explain(
    survey: SurveyArgument,
    dia_source: Annotated[int, typer.Argument(metavar="DIASOURCE", min=0, max=2**63 - 1, help="Its dia_source_id.")],
) -> None:
    """Show where a DIASource comes from: images, kernel, template, fits, raw file, code and settings.

    The view `dia_source_provenance` has the same for all sources, in SQL.

        dbpipe explain my_survey 797070295040
    """
    with reading(survey) as opened:
        sections = opened.explain(dia_source)
    for section in sections:
        if not section.rows:
            console().print(f"{section.title}: none\n")
        elif len(section.rows) == 1 and section.name != "template_inputs":
            rows = [(name, item) for name, value in section.rows[0].items() for item in _lines(name, value)]
            print_table(("name", "value"), _without_repeats(rows), title=section.title)
        else:
            print_answer(list(section.rows[0]), [tuple(row.values()) for row in section.rows], title=section.title)
    visit, object_id = sections[0].rows[0]["visit"], next((r["dia_object_id"] for r in sections[1].rows), None)
    console().print(f"The image:  dbpipe sql {survey} 'SELECT * FROM diffim_quality WHERE visit = {visit}'")
    if object_id is not None:
        console().print(f"The object: dbpipe sql {survey} --named light_curve --set dia_object_id={object_id}")


def _lines(name: str, value: datetime | str | None) -> list[str]:
    """Return a value as the lines that show it: one for each part of a list or of a JSON object."""
    if "mjd" in name and value is not None:
        return [f"{value:.7f}"]
    if isinstance(value, str) and value.startswith("{"):
        return [f"{key} = {json.dumps(item)}" for key, item in json.loads(value).items()]
    return [format_value(item) for item in value] if isinstance(value, list) and value else [format_value(value)]


def _without_repeats(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave a name out where it is that of the line above."""
    return [("" if k and rows[k - 1][0] == name else name, item) for k, (name, item) in enumerate(rows)]
