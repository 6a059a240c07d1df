"""What DuckDB says of a query that it refuses, in one line, with the name that was probably meant."""

import re
from typing import Any

import duckdb

from dbpipe.catalog.sql.queries import load_named
from dbpipe.names import did_you_mean

LEND = "lend the file with --with NAME=FILE and ask FROM NAME"
_KIND = re.compile(r"^(?:\w+ )*Error: ")
_COLUMN = re.compile(r'(?:column|column named) "([^"]+)"')
_RELATION = re.compile(r'(?:Table with name|[Rr]eferenced table) "?(\w+)"?')
_LACKING = re.compile(r"(?:column|table) .* not found|does not have a column", re.IGNORECASE)
_FILE = re.compile(r"Cannot access (?:file|directory) \"(.*)\" - file system operations are disabled")
_FUNCTION = re.compile(r"Function with name \"?(\w+)\"?")
_PARAMETER = re.compile(r"not provided for the following.*parameters: (.+)$")
_NAMED = re.compile(r"\$(\w+)")
_LINE = re.compile(r"^LINE (\d+): (.*)$", re.MULTILINE)


def explain_refusal(connection: duckdb.DuckDBPyConnection, query: str, error: Exception) -> str:
    """Return one line for the user.

    Parameters
    ----------
    connection : duckdb connection
        Its tables, columns and functions are where the nearest name is looked for.
    query : str
    error : Exception
        DuckDB's.
    """
    message = str(error)
    first = _KIND.sub("", message.strip().split("\n")[0]).rstrip("!")
    missing = _PARAMETER.search(first)
    if missing or "Unexpected prepared parameter" in first:  # DuckDB 1.5 does not say which
        names = missing[1] if missing else ", $".join(sorted(set(_NAMED.findall(query)))) or "1"
        return f"the query needs a value for ${names}: --set NAME=VALUE"
    if "read-only mode" in message:
        return "the query would change the survey: only questions are answered here"
    if found := _FILE.search(message):
        return f"the query would reach the file {found[1]}: only tables are asked here; {LEND}"
    line = _LINE.search(message)
    where = f" (line {line[1]}: {line[2].strip()[:80]})" if line else ""
    return first + where + _suggest(connection, query, first)


def lacks_column(error: Any) -> Any:
    """Return whether DuckDB refused a query because a column in it is none of its tables'."""
    return isinstance(error, duckdb.BinderException) and _LACKING.search(str(error)) is not None


def _suggest(connection: duckdb.DuckDBPyConnection, query: str, text: str) -> str:
    if found := _FUNCTION.search(text):
        return did_you_mean(found[1], _names(connection, "functions"))
    if found := _RELATION.search(text):
        return did_you_mean(found[1], _names(connection, "relations"))
    if found := _COLUMN.search(text):
        return _suggest_column(connection, query, found[1])
    return ""


def _suggest_column(connection: duckdb.DuckDBPyConnection, query: str, name: str) -> str:
    """Name the nearest column of the tables in the query, or the tables that have a column of this name."""
    rows = connection.execute(_query("columns")).fetchall()
    words = set(re.findall(r"\w+", query.lower()))
    mentioned = {column for table, column in rows if table.lower() in words}
    owners = sorted({table for table, column in rows if column.lower() == name.lower()})
    return did_you_mean(name, mentioned) or (f": {', '.join(owners[:5])} has it" if owners else "")


def _names(connection: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    return {name for *_, name in connection.execute(_query(query)).fetchall() if re.match(r"\w", name)}


def _query(name: str) -> str:
    return load_named("catalog", "introspection")[name]
