"""The views and macros that analysts ask, made anew whenever their texts have changed.

They are the files of ``sql/views/`` and ``sql/macros/``, and the views over the tiles of the sky.
"""

import hashlib
import json
import re
from functools import cache
from graphlib import TopologicalSorter

import duckdb

from dbpipe.catalog.sky_shards import make_views
from dbpipe.catalog.sql.queries import directory, load_named
from dbpipe.catalog.store.connection import transaction

_FOLDERS = ("macros", "views")
_MADE = re.compile(r"^CREATE OR REPLACE (?:VIEW|MACRO) (\w+\(?)", re.MULTILINE)
_COMMENT_OR_TEXT = re.compile(r"--[^\n]*|'(?:[^']|'')*'")


def apply_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Create or replace every view and macro; all or, on an error, none."""
    with transaction(connection):
        make_views(connection)
        for text in in_order().values():
            connection.execute(text)
        if not has_current_views(connection):
            connection.execute(_query("make_label"))
            connection.execute(_query("label"), {"sha256": _fingerprint()})


def has_current_views(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a catalog has the views and macros of this dbpipe, as `apply_views` left them."""
    if not connection.execute(_query("has_label")).fetchall():
        return False
    return connection.execute(_query("read_label")).fetchall() == [(_fingerprint(),)]


def in_order() -> dict[str, str]:
    """Return ``folder/file`` -> text; one that mentions what another one makes comes after it."""
    texts, makers = _texts(), find_makers()
    mentions = {name: {makers[word] for word in words(text) & makers.keys()} - {name} for name, text in texts.items()}
    return {name: texts[name] for name in TopologicalSorter(mentions).static_order()}


def find_makers() -> dict[str, str]:
    """Return ``view`` or ``macro(``, in small letters -> ``folder/file`` that makes it."""
    return {made.lower(): name for name, text in _texts().items() for made in _MADE.findall(text)}


def words(text: str) -> set[str]:
    """Return the words of some SQL outside comments and quoted text, in small letters, a bracket after it included."""
    return set(re.findall(r"\w+\(?", _COMMENT_OR_TEXT.sub(" ", text).lower()))


@cache
def _texts() -> dict[str, str]:
    """``folder/file`` -> text."""
    return {
        f"{folder}/{path.stem}": path.read_text(encoding="utf-8")
        for folder in _FOLDERS
        for path in sorted((directory("sql") / folder).glob("*.sql"))
    }


def _fingerprint() -> str:
    return hashlib.sha256(json.dumps(_texts()).encode()).hexdigest()


def _query(name: str) -> str:
    return load_named("catalog", "views")[name]
