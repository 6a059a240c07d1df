"""The tables of linked detections and objects, one pair per HEALPix tile of order 4 (13 square degrees).

DuckDB cannot cluster a table, and what one visit of 10,000 sources needs of 100 million rows in time order takes
seconds to find. In tables per tile it is in the few that the visit touches, whatever the rest of the sky holds. The
views ``dia_association`` and ``dia_object`` show the tiles as one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.store.connection import quote_name, quote_text
from dbpipe.catalog.store.lent import execute_with, fetch_with
from dbpipe.errors import CatalogError

TILE_ORDER = 4
TILE_SHIFT = 2 * (29 - TILE_ORDER)
"""Bits between an index of order 29 and its tile."""
_KINDS = {"source": "dia_association", "object": "dia_object"}
"""Kind of table -> the view over its tiles."""
_MEANING = {
    "source": "Which object each DIASource belongs to: one row per source that is linked",
    "object": "DIAObjects: sources of any time and band that are one thing on the sky",
}
_PATTERN = re.compile(rf"\bassociation\s*\.\s*({'|'.join(_KINDS)})\b", re.IGNORECASE)
_STATEMENT = re.compile(r"""(?:--[^\n]*|/\*.*?\*/|'[^']*'|"[^"]*"|[^;])+""", re.DOTALL)
"""Up to a semicolon that is in no comment and no quotes."""
_COMMENT = re.compile(r"""('[^']*'|"[^"]*")|--[^\n]*|/\*.*?\*/""", re.DOTALL)
"""Or what is quoted, and then is none."""
_CHANGE = re.compile(rf"\s*(?:ALTER\s+TABLE|UPDATE|DELETE\s+FROM)\s+{_PATTERN.pattern}", re.IGNORECASE)
"""What is done to every tile."""
_OF_PATTERN = re.compile(rf"\s*(?:COMMENT\s+ON|(?:CREATE|DROP)\s+TABLE\s+{_PATTERN.pattern})", re.IGNORECASE)
"""What concerns the pattern alone; `check_tiles` looks at what has become of it."""


class Tiles:
    """The tiles that have tables, listed once: for as long as nobody else makes some, as within a transaction."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.numbers = find_tiles(connection)

    def fetch(
        self,
        query: str,
        tiles: Sequence[int],
        *,
        kind: str = "source",
        registered: Mapping[str, pa.Table] | None = None,
        parameters: Mapping[str, int] | None = None,
    ) -> pa.Table:
        """Run a query on some tiles and return a pyarrow.Table.

        Parameters
        ----------
        query : str
            SQL in which ``query_table($tables)`` stands for the rows of the tiles.
        tiles : sequence of int
            Those that have no table are left out.
        registered, parameters : dict, optional
            See `dbpipe.catalog.store.lent.fetch_with`.
        """
        tables = {"tables": _names(kind, set(self.numbers) & set(tiles))}
        return fetch_with(self.connection, query, registered or {}, tables | dict(parameters or {}))

    def execute(self, query: str, table: pa.Table, tile: np.ndarray) -> None:
        """Run a statement on the table of every tile that rows are in.

        Parameters
        ----------
        query : str
            SQL whose pattern stands for the table of a tile, and ``changed`` for the rows in it.
        table : pyarrow.Table
        tile : integer array
            One per row.
        """
        for number in sorted(set(tile.tolist())):
            rows = table.filter(pa.array(tile == number))
            execute_with(self.connection, _of_tile(query, number), {"changed": rows})

    def add(self, tiles: Sequence[int]) -> None:
        """Make the tables of tiles that have none, and the views over all; part of the caller's transaction."""
        new = sorted(set(tiles) - set(self.numbers))
        for tile in new:
            for kind in _KINDS:
                self.connection.execute(_definition(self.connection, kind, tile))
        if new:
            self.numbers = sorted({*self.numbers, *new})
            _make_views(self.connection, self.numbers)


def tile_of(hpx29: np.ndarray) -> np.ndarray:
    """Return the tile of an index of order 29, or of an array of them."""
    return hpx29 >> TILE_SHIFT


def find_tiles(connection: duckdb.DuckDBPyConnection) -> list[int]:
    """Return the numbers of the tiles that have tables, sorted; in a snapshot those are views of files."""
    return [number for (number,) in connection.execute(_query("tiles")).fetchall()]


def spread(connection: duckdb.DuckDBPyConnection, text: str) -> Iterator[str]:
    """Yield the statements of a migration, as they are done one after the other to every table that they mean.

    What changes the pattern ``association.source`` or ``association.object`` is done to the tables of all tiles too:
    the rows are there, and the next tile is made like the pattern.

    Raises
    ------
    CatalogError
        If a statement does with the pattern what would not reach the tiles.
    """
    for statement in _STATEMENT.findall(text):
        bare = _COMMENT.sub(lambda found: found[1] or " ", statement)
        if not bare.strip():
            continue
        tiles = find_tiles(connection) if _PATTERN.search(bare) else []
        if tiles and not (_CHANGE.match(bare) or _OF_PATTERN.match(bare)):
            raise CatalogError(
                f"{' '.join(bare.split())} does not reach the tables of {len(tiles)} tiles, as ALTER TABLE, UPDATE and "
                f"DELETE FROM would; their rows are those of {' and '.join(_KINDS.values())}"
            )
        yield statement
        if _CHANGE.match(bare):
            for tile in tiles:
                yield _of_tile(bare, tile)


def _of_tile(statement: str, tile: int) -> str:
    """A statement on a pattern as one on the table of a tile: no parameter can be the table that is changed."""
    return _PATTERN.sub(rf"association.\1_{tile}", statement)


def check_tiles(connection: duckdb.DuckDBPyConnection) -> None:
    """See to it that the tables of all tiles have the columns of their patterns, in the same order.

    Raises
    ------
    CatalogError
        If one has not.
    """
    rows = connection.execute(_query("unlike")).fetchall()
    if rows:
        raise CatalogError(f"{len(rows)} tables of tiles are not like their pattern, association.{rows[0][0]} for one")


def make_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the views over all tiles anew, with the comments of the patterns."""
    _make_views(connection, find_tiles(connection))


def _make_views(connection: duckdb.DuckDBPyConnection, tiles: Sequence[int]) -> None:
    for kind, view in _KINDS.items():
        connection.execute(f"CREATE OR REPLACE VIEW {quote_name(view)} AS {_union(kind, tiles)}")
        connection.execute(f"COMMENT ON VIEW {quote_name(view)} IS {quote_text(_MEANING[kind])}")
        for column, comment in connection.execute(_query("comments"), {"kind": kind}).fetchall():
            target = f"{quote_name(view)}.{quote_name(column)}"
            connection.execute(f"COMMENT ON COLUMN {target} IS {quote_text(comment)}")


def _definition(connection: duckdb.DuckDBPyConnection, kind: str, tile: int) -> str:
    """The pattern's own text, for CREATE TABLE AS copies neither NOT NULL nor CHECK."""
    ((text,),) = connection.execute(_query("definition"), {"kind": kind}).fetchall()
    return f"CREATE TABLE {_table(kind, tile)}" + text[text.index("(") :]


def _names(kind: str, tiles: Sequence[int] | set[int]) -> list[str]:
    """The tables of some tiles, after the pattern, which has no rows and says the columns where there is no tile."""
    return [_table(kind), *(_table(kind, tile) for tile in sorted(tiles))]


def _table(kind: str, tile: int | None = None) -> str:
    """The table of a tile, or the pattern, as SQL names it."""
    return f"association.{quote_name(kind if tile is None else f'{kind}_{tile}')}"


def _union(kind: str, tiles: Sequence[int]) -> str:
    """The rows of some tiles."""
    return " UNION ALL ".join(f"SELECT * FROM {name}" for name in _names(kind, tiles))


def _query(name: str) -> str:
    return load_named("catalog", "tiles")[name]
