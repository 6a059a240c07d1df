"""What the catalog says of columns: unit, meaning and UCD, of tables, views and answers.

The comment of a column is "[unit] meaning". A column of an answer has those of a table's only if it is that column,
untouched (`dbpipe.catalog.sql.lineage`).
"""

import csv
import re
from collections.abc import Sequence
from functools import cache

import duckdb

from dbpipe.catalog.sql.lineage import Untraceable, column_comments, column_names, find_table, trace, view_query
from dbpipe.catalog.sql.queries import directory
from dbpipe.catalog.sql.questions import find_relation

_COMMENT = re.compile(r"^\[(?P<unit>[^\]]*)\] *(?P<description>.*)$", re.DOTALL)
_DEPTH = 30
"""Views on views, at most."""


def column_metadata(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, dict[str, str]]:
    """Return what the database says of the columns of a table or view.

    A view's column without a comment of its own has that of the table's column that it passes on.

    Returns
    -------
    dict
        Column name -> {"unit", "description", "ucd"}, without those that are not known.

    Raises
    ------
    ConfigError
        If there is no such table or view.
    """
    place = find_table(connection, table)
    if place is None:
        find_relation(connection, table)  # says what is near
        return {}
    return _Dictionary(connection).of_table(place)


def query_metadata(
    connection: duckdb.DuckDBPyConnection, query: str, names: Sequence[str]
) -> dict[str, dict[str, str]]:
    """Return what is known of the columns of an answer: where one is the bare column of a table, what is said of that.

    Parameters
    ----------
    connection : duckdb connection
    query : str
    names : list of str
        Of the columns of the answer.

    Returns
    -------
    dict
        Column name -> {"unit", "description", "ucd"}.
    """
    traced = _Dictionary(connection).of_columns(query)
    if traced is None or not _is_same([name for name, _ in traced], names):
        return {name: {} for name in names}
    result: dict[str, dict[str, str]] = {}
    for name, (_, known) in zip(names, traced, strict=True):
        result[name] = _common([result[name], known]) if name in result else known
    return result


def _is_same(traced: Sequence[str | None], names: Sequence[str]) -> bool:
    """Whether the columns found in the text are those that the database gives; a name that is not known fits any."""
    pairs = zip(traced, names, strict=False)
    return len(traced) == len(names) and all(found is None or found.lower() == name.lower() for found, name in pairs)


class _Dictionary:
    """Descriptions of tables, each looked up once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._known: dict[tuple[str, ...], dict[str, dict[str, str]]] = {}
        self._depth = 0

    def of_table(self, place: tuple[str, ...]) -> dict[str, dict[str, str]]:
        """Column -> description; of a view that leads too deep, or back to itself, nothing."""
        if place not in self._known:
            self._known[place] = dict.fromkeys(column_names(self.connection, place), {})
            self._known[place] = self._look_up(place)
        return self._known[place]

    def of_columns(self, query: str) -> list[tuple[str | None, dict[str, str]]] | None:
        """List of (name or None, description), one per column; None if the query cannot be traced."""
        try:
            columns = trace(self.connection, query)
        except Untraceable:
            return None
        return [(c.name, _common([self.of_table(place).get(name, {}) for place, name in c.origins])) for c in columns]

    def _look_up(self, place: tuple[str, ...]) -> dict[str, dict[str, str]]:
        comments = column_comments(self.connection, place)
        passed_on: list[dict[str, str]] = [{}] * len(comments)
        query = None if all(comments.values()) else view_query(self.connection, place)
        if query and self._depth < _DEPTH:
            self._depth += 1
            traced = self.of_columns(query)
            self._depth -= 1
            if traced and len(traced) == len(comments):  # the view may call them by other names
                passed_on = [known for _, known in traced]
        return {
            name: _describe(name, comment) if comment else known
            for (name, comment), known in zip(comments.items(), passed_on, strict=True)
        }


def _common(meanings: Sequence[dict[str, str]]) -> dict[str, str]:
    """Return what all say; nothing of nobody."""
    first = meanings[0] if meanings else {}
    return {key: value for key, value in first.items() if all(other.get(key) == value for other in meanings)}


def _describe(name: str, comment: str) -> dict[str, str]:
    match = _COMMENT.match(comment)
    known = {**match.groupdict()} if match else {"description": comment}
    known["ucd"] = _ucds().get(name, "")
    return {key: value for key, value in known.items() if value}


@cache
def _ucds() -> dict[str, str]:
    """UCDs of the APDB's column names, from ``sql/views/ucd.csv``."""
    with open(directory("sql") / "views" / "ucd.csv", encoding="utf-8", newline="") as file:
        return {row["column"]: row["ucd"] for row in csv.DictReader(file)}
