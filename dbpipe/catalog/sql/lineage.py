"""Which columns of an answer are bare columns of a table: read from the tree into which DuckDB parses the query.

A column that is computed has no origin, and neither has one of which this module cannot be sure: what is passed on
under a wrong unit is worse than a column without one.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.sql.queries import load_named


class Untraceable(Exception):
    """The number or the order of the columns of a query cannot be told from its text."""


@dataclass(frozen=True)
class Column:
    """A column of a query."""

    name: str | None
    """None: DuckDB makes it up."""
    origins: tuple[Any, ...] = ()
    """(table, column) pairs, each the table as `find_table` gives it: all of which its values may come from."""


@dataclass
class _Source:
    """What FROM offers: relations by their names, what ``*`` means, and what USING has made one."""

    relations: list[Any]
    star: list[Any] | None
    """None: not known, as are the columns of a table function."""
    merged: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Scope:
    """What the names in a query mean."""

    connection: duckdb.DuckDBPyConnection
    queries: dict[str, Any] = field(default_factory=dict)
    """Name of a WITH query -> its columns, None if not known."""
    parameters: frozenset[str] = frozenset()
    """Of the macro whose text this is."""
    depth: int = 0


_DEPTH = 30
"""Macros in macros, at most; ours are three deep."""


def trace(connection: duckdb.DuckDBPyConnection, query: str) -> list[Column]:
    """Return the `Column` list of a query.

    Raises
    ------
    Untraceable
        If it is no single SELECT, or holds what this module does not know.
    """
    return _trace(_Scope(connection), query)


def find_table(
    connection: duckdb.DuckDBPyConnection, table: str, schema: pa.Schema | None = None
) -> tuple[str, str, str] | None:
    """Return (database, schema, table) of the table or view that a name means; None if there is none, or several."""
    rows = connection.execute(_query("places"), {"table": table, "schema": schema}).fetchall()
    preferred = [row for row in rows if row[0] == "temp"] or [row for row in rows if row[1] == "main"] or rows
    return preferred[0] if len(preferred) == 1 else None


def column_names(connection: duckdb.DuckDBPyConnection, place: tuple[str, ...]) -> list[str]:
    """Return the names of the columns of a table or view, given as `find_table` does."""
    return list(column_comments(connection, place))


def column_comments(connection: duckdb.DuckDBPyConnection, place: tuple[str, ...]) -> dict[str, str | None]:
    """Return column -> comment or None of a table or view, given as `find_table` does."""
    return dict(connection.execute(_query("comments"), _named(place)).fetchall())


def view_query(connection: duckdb.DuckDBPyConnection, place: tuple[str, ...]) -> str | None:
    """Return the query of a view, None for a table."""
    found = connection.execute(_query("view_text"), _named(place)).fetchone()
    parts = found[0].split(" AS ") if found else []
    for k in range(1, len(parts)):  # a name may hold the word: the first rest that is a query is the query
        query = " AS ".join(parts[k:])
        if _parse(connection, query) is not None:
            return query
    return None


def _named(place: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(("database", "schema", "table"), place, strict=True))


def _query(name: str) -> str:
    return load_named("catalog", "introspection")[name]


def _parse(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any] | None:
    """Return the tree of a single SELECT, or None."""
    try:
        ((text,),) = connection.execute(_query("tree"), {"text": query}).fetchall()
        tree = json.loads(text)
    except (duckdb.Error, RecursionError):
        return None
    statements = tree.get("statements", [])
    return statements[0]["node"] if len(statements) == 1 else None


def _trace(scope: _Scope, query: str) -> list[Column]:
    node = _parse(scope.connection, query)
    if node is None or scope.depth > _DEPTH:
        raise Untraceable
    try:
        return _node(scope, node)
    except RecursionError as error:
        raise Untraceable from error


def _node(scope: _Scope, node: Mapping[str, Any]) -> list[Column]:
    scope = _with_queries(scope, node)
    if node["type"] == "SELECT_NODE":
        source = _source(scope, node["from_table"])
        return [column for item in node["select_list"] for column in _selected(scope, source, item)]
    if node["type"] == "SET_OPERATION_NODE":
        children = node.get("children") or [node["left"], node["right"]]
        return _set_operation(node["setop_type"], [_node(scope, child) for child in children])
    raise Untraceable


def _with_queries(scope: _Scope, node: Mapping[str, Any]) -> _Scope:
    for entry in node.get("cte_map", {}).get("map", []):
        value = entry["value"]
        query = value.get("query_node") or value["query"]["node"]
        try:
            columns = _renamed(_as_relation(_node(scope, query)), value.get("aliases"))
        except Untraceable:
            columns = None  # a recursive one too: what its columns become is not told by their beginning
        scope = replace(scope, queries=scope.queries | {entry["key"].lower(): columns})
    return scope


def _set_operation(kind: str, sides: Sequence[list[Column]]) -> list[Column]:
    if kind == "UNION_BY_NAME":
        by_name: dict[str, list[Column]] = {}
        for column in [column for side in sides for column in side]:
            if column.name is None:
                raise Untraceable
            by_name.setdefault(column.name.lower(), []).append(column)
        return [Column(same[0].name, _common(same)) for same in by_name.values()]
    if len({len(side) for side in sides}) != 1:
        raise Untraceable
    if kind in ("EXCEPT", "INTERSECT"):
        return sides[0]
    return [Column(same[0].name, _common(same)) for same in zip(*sides, strict=True)]


def _common(columns: Sequence[Column]) -> tuple[tuple[tuple[str, str, str], str], ...]:
    """Origins of values that come from any of some columns: none if one of these has none."""
    if not all(column.origins for column in columns):
        return ()
    return tuple(dict.fromkeys(origin for column in columns for origin in column.origins))


def _as_relation(columns: Sequence[Column]) -> list[Column]:
    """Columns as a FROM clause sees them: DuckDB gives the second one of a name another name."""
    seen, named = set(), []
    for column in columns:
        is_new = column.name is not None and column.name.lower() not in seen
        seen.add((column.name or "").lower())
        named.append(column if is_new else replace(column, name=None))
    return named


def _renamed(columns: list[Column] | None, names: Sequence[str] | None) -> list[Column] | None:
    if not names or columns is None:
        return columns
    return [replace(column, name=name) for column, name in zip(columns, names, strict=False)] + columns[len(names) :]


def _source(scope: _Scope, table: Mapping[str, Any]) -> _Source:
    """Return what a FROM clause offers."""
    kind = table["type"]
    if kind == "EMPTY":
        return _Source([], [])
    if kind == "JOIN":
        return _join(table, _source(scope, table["left"]), _source(scope, table["right"]))
    columns, name = None, table.get("alias")
    if kind == "BASE_TABLE":
        columns, name = _base_table(scope, table), name or table["table_name"]
    elif kind == "SUBQUERY":
        columns = _as_relation(_node(scope, table["subquery"]["node"]))
    elif kind == "TABLE_FUNCTION":
        name = name or table["function"]["function_name"]
        columns = _macro(scope, table["function"]["function_name"])
    elif kind == "EXPRESSION_LIST":
        columns = [Column(None)] * len(table["values"][0])
    columns = _renamed(columns, table.get("column_name_alias"))
    return _Source([((name or "").lower(), columns)], columns)


def _base_table(scope: _Scope, table: Mapping[str, Any]) -> list[Column] | None:
    name, schema = table["table_name"], table.get("schema_name") or None
    path = (table.get("qualified_name") or {}).get("path", [])
    schema = schema or (path[-2] if len(path) > 1 else None)
    if table.get("catalog_name") or len(path) > 2:
        return None
    if schema is None and name.lower() in scope.queries:
        return scope.queries[name.lower()]
    place = find_table(scope.connection, name, schema)
    return place and [Column(column, ((place, column),)) for column in column_names(scope.connection, place)]


def _macro(scope: _Scope, name: str) -> list[Column] | None:
    """Columns of a table macro; None if it is none, or has several texts."""
    rows = scope.connection.execute(_query("table_macro"), {"name": name}).fetchall()
    if len(rows) != 1:
        return None
    ((text, parameters),) = rows
    inside = _Scope(scope.connection, parameters=frozenset(name.lower() for name in parameters), depth=scope.depth + 1)
    try:
        return _as_relation(_trace(inside, text))
    except Untraceable:
        return None


def _join(join: Mapping[str, Any], left: _Source, right: _Source) -> _Source:
    if join["join_type"] in ("SEMI", "ANTI"):
        return left
    star = None if left.star is None or right.star is None else [*left.star, *right.star]
    merged = left.merged | right.merged
    using = [name.lower() for name in join.get("using_columns") or ()]
    if join.get("ref_type") == "NATURAL":
        if left.star is None or right.star is None:
            raise Untraceable
        using = [c.name.lower() for c in left.star if c.name and _in(right.star, c.name.lower())]
    for name in using:
        one = _one_of(join["join_type"], _find(left, name), _find(right, name))
        merged[name] = one
        if left.star is not None and right.star is not None:
            there = [c for c in right.star if (c.name or "").lower() != name]
            here = [one if (c.name or "").lower() == name else c for c in left.star]
            left, right, star = replace(left, star=here), replace(right, star=there), [*here, *there]
    return _Source([*left.relations, *right.relations], star, merged)


def _in(columns: Sequence[Column], name: str) -> bool:
    return any((column.name or "").lower() == name for column in columns)


def _one_of(join_type: str, left: Column, right: Column) -> Column:
    """The one column that USING makes of two."""
    if join_type in ("INNER", "LEFT"):
        return left
    return right if join_type == "RIGHT" else Column(left.name, _common([left, right]))


def _find(source: _Source, name: str) -> Column:
    """The column that a name without a table means; without origins if that is not known."""
    if name in source.merged:
        return source.merged[name]
    found = [c for _, columns in source.relations for c in columns or () if (c.name or "").lower() == name]
    return found[0] if len(found) == 1 else Column(name)


def _selected(scope: _Scope, source: _Source, item: Mapping[str, Any]) -> list[Column]:
    """Columns that one entry of a SELECT list gives."""
    if item["class"] == "STAR":
        return _expand(scope, source, item)
    if _has_star(item) or item.get("function_name", "").lower() in ("unnest", "unlist"):
        raise Untraceable  # these give any number of columns
    names = item.get("column_names", [None])
    is_value = len(names) == 1 and names[0] and names[0].lower() in scope.parameters
    return [Column(item.get("alias") or (None if is_value else names[-1]), _origins(scope, source, item))]


def _origins(scope: _Scope, source: _Source, item: Mapping[str, Any]) -> tuple[tuple[tuple[str, str, str], str], ...]:
    if item["class"] != "COLUMN_REF":
        return ()
    *table, name = (part.lower() for part in item["column_names"])
    if not table:
        return () if name in scope.parameters else _find(source, name).origins
    found = [columns for relation, columns in source.relations if [relation] == table]
    if len(found) != 1 or found[0] is None:
        return ()
    same = [column for column in found[0] if (column.name or "").lower() == name]
    return same[0].origins if len(same) == 1 else ()


def _expand(scope: _Scope, source: _Source, star: Mapping[str, Any]) -> list[Column]:
    """Columns of ``*``, ``t.*`` and ``COLUMNS(*)``, with EXCLUDE, REPLACE and RENAME."""
    if star.get("expr") or star.get("qualified_exclude_list") or star.get("alias"):
        raise Untraceable
    columns = source.star
    if star.get("relation_name"):
        found = [columns for relation, columns in source.relations if relation == star["relation_name"].lower()]
        columns = found[0] if len(found) == 1 else None
    if columns is None:
        raise Untraceable
    left_out = {_lower(name) for name in star.get("exclude_list") or ()}
    replaced = {_lower(entry["key"]): entry["value"] for entry in star.get("replace_list") or ()}
    names = {_lower(entry["key"]): entry["value"] for entry in star.get("rename_list") or ()}
    expanded = []
    for column in columns:
        key = (column.name or "").lower()
        if key in replaced:
            column = Column(column.name, _origins(scope, source, replaced[key]))
        if column.name is None and (left_out or replaced or names):
            raise Untraceable  # it may be what is meant
        if key not in left_out:
            expanded.append(replace(column, name=names.get(key, column.name)))
    return expanded


def _lower(name: Any) -> str:
    """Name in a list of EXCLUDE, REPLACE or RENAME, as a text or with the table that it is of."""
    if isinstance(name, str):
        return name.lower()
    if name.get("table") or name.get("schema"):
        raise Untraceable
    return name["column"].lower()


def _has_star(tree: Mapping[str, Any] | None) -> bool:
    if isinstance(tree, dict):
        if tree.get("class") == "SUBQUERY":
            return False
        return tree.get("class") == "STAR" or any(map(_has_star, tree.values()))
    return isinstance(tree, list) and any(map(_has_star, tree))
