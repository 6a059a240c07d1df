"""What comes from outside as text: one SELECT that only reads, one condition, the name of a table.

A text is parsed by DuckDB itself, and everything in the tree of it has to be known as harmless. That is one of two
fences: the connection that a question runs on is confined as well (`dbpipe.catalog.store.connection.confine`).
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.sql.errors import LEND, explain_refusal
from dbpipe.catalog.sql.queries import load_named, parameters, parser
from dbpipe.catalog.store.connection import first_line, only_reading, quote_name
from dbpipe.errors import ConfigError
from dbpipe.names import did_you_mean, did_you_mean_or_all

_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
"""The kinds of query; since DuckDB 2.0 a WITH can also hold DELETE, INSERT, UPDATE and COPY."""
_TABLE_FUNCTIONS = {
    *("range", "generate_series", "repeat", "repeat_row", "unnest", "json_each", "json_tree", "summary"),
    *("duckdb_columns", "duckdb_constraints", "duckdb_functions", "duckdb_keywords", "duckdb_schemas"),
    *("duckdb_tables", "duckdb_types", "duckdb_views", "pragma_table_info", "pragma_version"),
}
"""Table functions that look at nothing but their arguments and the catalog."""
_CHANGING = {"nextval", "setval", "write_log"}
"""Functions of values that change something."""
_OF_FILES = re.compile(r"read_|sniff_|glob$|parquet_|.*_scan$")
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?:ANALYZE\s+)?(?=\S)", re.IGNORECASE)


def check_select(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Refuse a text that is not one SELECT (or DESCRIBE, SUMMARIZE, SHOW, or EXPLAIN of one) that only reads tables.

    Parameters
    ----------
    connection : duckdb connection
        On which it will be asked: its table macros are known, and its names are where a nearest one is looked for.
    text : str

    Raises
    ------
    ConfigError
        Says in one line what the text is instead.
    """
    try:
        kinds = [statement.type.name for statement in _parse(text)]
        query = text
        if kinds == ["EXPLAIN"]:
            query = _EXPLAIN.sub("", text, count=1)
            kinds = [statement.type.name for statement in _parse(query)]
        tree = _tree(query)
    except duckdb.Error as error:
        raise ConfigError(explain_refusal(connection, text, error)) from error
    except ValueError as error:  # a lone surrogate, a zero byte
        raise ConfigError(f"the query is not text that SQL can be: {error}") from error
    if len(kinds) != 1 or tree is None:
        found = " and ".join(kinds).replace("MULTI", "several statements")[:80] or "nothing"
        more = " (a PIVOT needs its columns: ON column IN (...))" if "pivot" in text.lower() else ""
        raise ConfigError(f"only questions are answered here: this is not one SELECT but {found}{more}")
    for node in _nodes(tree):
        _check_node(connection, node)


def check_condition(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Refuse a text that is not one condition, such as ``band = 'r'``, that only reads.

    It is one if it parses both bare and within brackets: a bracket too many fails in the first, a second statement, a
    comma or a comment to the end in one of the two.
    """
    bare, within = f"SELECT {text}\n", f"SELECT (\n{text}\n)"
    try:
        check_select(connection, within)
        check_select(connection, bare)
        tree = _tree(bare)
        if tree is None or len(tree["node"]["select_list"]) != 1:
            raise ConfigError("these are several")
        if names := parameters(bare):
            raise ConfigError(f"it has no value for ${', $'.join(sorted(names))}: write the value itself")
    except ConfigError as error:
        raise ConfigError(f"{text!r} is not one condition on the columns, such as \"band = 'r'\": {error}") from error


@contextmanager
def refusals(connection: duckdb.DuckDBPyConnection, query: str) -> Iterator[None]:
    """Turn what DuckDB says of a query in the block into a ConfigError of one line."""
    try:
        yield
    except (duckdb.Error, OSError) as error:  # the Arrow stream passes DuckDB's errors on as OSError without a number
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ConfigError(explain_refusal(connection, query, error)) from error
    except pa.ArrowException as error:  # SELECT () has no column that a table could have
        raise ConfigError(f"the answer is none that can be handed on: {first_line(error)}") from error


def ask(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, str] | None = None
) -> duckdb.DuckDBPyRelation:
    """Return the answer to one SELECT, not fetched yet: a relation; fetch from it within `asking`."""
    check_select(connection, query)
    with refusals(connection, query):
        return connection.sql(query, params=parameters or None)


@contextmanager
def asking(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: Mapping[str, str] | None = None
) -> Iterator[duckdb.DuckDBPyRelation]:
    """Give the answer to one SELECT as a relation; what it would change within the block is refused."""
    with refusals(connection, query), only_reading(connection):
        yield ask(connection, query, parameters)


def find_relation(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """Return a table or view of the catalog, by its name in any case of letters, quoted for SQL.

    Raises
    ------
    ConfigError
        If there is none; names the nearest.
    """
    known = {table.lower(): (schema, table) for schema, table in _relations(connection)}
    if str(name).lower() not in known:
        hint = did_you_mean_or_all(name, sorted(table for _, table in known.values()))
        raise ConfigError(f"there is no table or view {str(name)!r}{hint}")
    return ".".join(map(quote_name, known[str(name).lower()]))


def check_new_name(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Refuse a name for a table that is lent if it is none, or the catalog has it already."""
    if not name.isidentifier():
        raise ConfigError(f"{name!r} cannot be the name of a table: letters, digits and _ make one")
    if connection.execute(_query("reserved_words"), {"name": name}).fetchall():
        raise ConfigError(f"{name} cannot be the name of a table: it is a word of SQL")
    if name.lower() in {table.lower() for _, table in _relations(connection)}:
        raise ConfigError(f"the catalog has a table {name} itself: give the file another name")


def _relations(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """Schema and name of what can be asked by its bare name."""
    return connection.execute(_query("relations")).fetchall()


def _query(name: str) -> str:
    return load_named("catalog", "introspection")[name]


def _parse(text: str) -> list[Any]:
    text.encode()  # DuckDB has a TypeError for what cannot be
    if "\0" in text:
        raise ValueError("it has a zero byte in it")
    with parser() as cursor:
        return cursor.extract_statements(text)


def _tree(text: str) -> dict[str, Any] | None:
    """Return the parsed statement as DuckDB writes it in JSON; None if it is not one SELECT."""
    with parser() as cursor:
        ((answer,),) = cursor.execute(_query("tree"), {"text": text}).fetchall()
    tree = json.loads(answer)
    statements = tree.get("statements", ())
    return statements[0] if not tree["error"] and len(statements) == 1 else None


def _nodes(tree: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every object in the JSON; without recursion, for a query may be nested deeply."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _check_node(connection: duckdb.DuckDBPyConnection, node: Mapping[str, Any]) -> None:
    kind, function = node.get("type"), node.get("function_name")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in _QUERIES:
        word = kind.removesuffix("_NODE").removesuffix("_QUERY")
        raise ConfigError(f"only questions are answered here: a {word} within the query would change something")
    if function is not None and function.lower() in _CHANGING:
        raise ConfigError(f"only questions are answered here: the function {function} changes something")
    if kind == "TABLE_FUNCTION":
        _check_table_function(connection, node["function"].get("function_name", "").lower())


def _check_table_function(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    if name in _TABLE_FUNCTIONS:
        return
    if _OF_FILES.match(name):
        raise ConfigError(f"{name} cannot be used: a query reads no files; {LEND}")
    known = {macro for (macro,) in connection.execute(_query("table_macros")).fetchall()}
    if name not in known:
        hint = did_you_mean(name, known | _TABLE_FUNCTIONS)
        raise ConfigError(f"there is no table function {name} to ask here{hint}")
