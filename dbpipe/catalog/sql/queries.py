"""Named queries: every SQL statement of some size stands in a file under ``sql/``, where analysts can try it."""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from dbpipe.catalog.store.arrow import for_pandas
from dbpipe.catalog.store.connection import memory
from dbpipe.errors import CatalogError


def directory(name: str) -> Path:
    """Return the folder ``sql`` or ``migrations``: the packaged one if there is one, else that of the checkout."""
    packaged = Path(str(files("dbpipe"))) / f"_{name}"
    return packaged if packaged.is_dir() else packaged.parent.parent / name


def load(path: Path) -> dict[str, str]:
    """Return the queries of a file, name -> text; each starts with a line ``-- name: x``."""
    parts = re.split(r"^-- name: *(\w+) *$", Path(path).read_text(encoding="utf-8"), flags=re.MULTILINE)
    queries = dict(zip(parts[1::2], (text.strip().rstrip(";") for text in parts[2::2]), strict=True))
    if len(queries) != len(parts) // 2:
        raise CatalogError(f"{path} gives one query name twice: {', '.join(parts[1::2])}")
    return queries


@cache
def load_named(group: str, stem: str) -> dict[str, str]:
    """Return the queries of ``sql/<group>/<stem>.sql``."""
    return load(directory("sql") / group / f"{stem}.sql")


@lru_cache(maxsize=1024)
def parameters(query: str) -> frozenset[str]:
    """Return the names of the $parameters that a query has, as DuckDB's parser finds them."""
    with parser() as cursor:
        return frozenset(name for statement in cursor.extract_statements(query) for name in statement.named_parameters)


def parser() -> duckdb.DuckDBPyConnection:
    """Return a cursor on nothing, for what only parses; to be closed."""
    return _nothing().cursor()


@cache
def _nothing() -> duckdb.DuckDBPyConnection:
    return memory()


def select_parameters(query: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of ``values`` that the query mentions; DuckDB refuses parameters that it does not need.

    Raises
    ------
    CatalogError
        If the query mentions a parameter that is not among them.
    """
    wanted = parameters(query)
    missing = wanted - set(values)
    if missing:
        known = ", ".join(sorted(values)) or "none"
        raise CatalogError(f"a query needs ${', $'.join(sorted(missing))}; its parameters are: {known}")
    return {name: values[name] for name in wanted}


def fetch_table(connection: duckdb.DuckDBPyConnection, query: str, values: Mapping[str, Any]) -> pa.Table:
    """Run a query with those of ``values`` that it mentions and return a pyarrow.Table."""
    return for_pandas(connection.sql(query, params=select_parameters(query, values)).to_arrow_table())
