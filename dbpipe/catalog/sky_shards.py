"""The tables of linked detections and objects, one pair per HEALPix tile of order 4 (13 square degrees).

DuckDB cannot cluster a table, and what one visit of 10,000 sources needs of 100 million rows in time order takes
seconds to find. In tables per tile it is in the few that the visit touches, whatever the rest of the sky holds. The
views ``dia_association`` and ``dia_object`` show the tiles as one.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

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
_CHANGE = re.compile(r"\s*(ALTER|UPDATE|INSERT|DELETE)\b", re.IGNORECASE)


class Tiles:
    """The tiles that have tables, listed once: for as long as nobody else makes some, as within a transaction."""

    def __init__(self, connection):
        self.connection = connection
        self.numbers = find_tiles(connection)

    def fetch(self, query, tiles, *, kind="source", registered=None, parameters=None):
        """Run a query on some tiles and return a pyarrow.Table.

        Parameters
        ----------
        query : str
            SQL whose ``association.<kind>`` stands for the rows of the tiles.
        tiles : sequence of int
            Those that have no table are left out.
        registered, parameters : dict, optional
            See `dbpipe.catalog.store.lent.fetch_with`.
        """
        text = query.replace(f"FROM association.{kind}", f"FROM ({_union(kind, set(self.numbers) & set(tiles))})")
        return fetch_with(self.connection, text, registered or {}, parameters)

    def execute(self, query, table, tile, *, kind):
        """Run a statement on the table of every tile that rows are in.

        Parameters
        ----------
        query : str
            SQL whose ``association.<kind>`` stands for the table of a tile, and ``changed`` for the rows in it.
        table : pyarrow.Table
        tile : integer array
            One per row.
        kind : str
        """
        numbers = pa.array(tile)
        for number in sorted(set(tile.tolist())):
            rows = table.filter(pc.equal(numbers, number))
            text = query.replace(f"association.{kind}", f"association.{kind}_{number}")
            execute_with(self.connection, text, {"changed": rows})

    def add(self, tiles):
        """Make the tables of tiles that have none, and the views over all; part of the caller's transaction."""
        new = sorted(set(tiles) - set(self.numbers))
        for tile in new:
            for kind in _KINDS:
                self.connection.execute(_definition(self.connection, kind, tile))
        if new:
            self.numbers = sorted({*self.numbers, *new})
            _make_views(self.connection, self.numbers)


def tile_of(hpx29):
    """Return the tile of an index of order 29, or of an array of them."""
    return hpx29 >> TILE_SHIFT


def find_tiles(connection):
    """Return the numbers of the tiles that have tables, sorted; in a snapshot those are views of files."""
    rows = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'association' "
        "AND regexp_full_match(table_name, 'source_[0-9]+') AND table_catalog = current_database()"
    ).fetchall()
    return sorted(int(name.removeprefix("source_")) for (name,) in rows)


def spread(connection, text):
    """Yield the statements of a migration, as they are done one after the other to every table that they mean.

    What changes the pattern ``association.source`` or ``association.object`` is done to the tables of all tiles too:
    the rows are there, and the next tile is made like the pattern.
    """
    for statement in _STATEMENT.findall(text):
        bare = _COMMENT.sub(lambda found: found[1] or " ", statement)
        if bare.strip():
            yield statement
        if _CHANGE.match(bare) and _PATTERN.search(bare):
            for tile in find_tiles(connection):
                yield _PATTERN.sub(rf"association.\1_{tile}", bare)


def check_tiles(connection):
    """See to it that the tables of all tiles have the columns of their patterns, in the same order.

    Raises
    ------
    CatalogError
        If one has not.
    """
    rows = connection.execute(
        "WITH found AS (SELECT table_name, split_part(table_name, '_', 1) AS kind, "
        "list((column_name, data_type, is_nullable) ORDER BY column_index) AS columns FROM duckdb_columns() "
        "WHERE schema_name = 'association' AND database_name = current_database() GROUP BY ALL) "
        "SELECT found.table_name FROM found JOIN found AS pattern ON pattern.table_name = found.kind "
        "WHERE found.columns <> pattern.columns ORDER BY 1"
    ).fetchall()
    if rows:
        raise CatalogError(f"{len(rows)} tables of tiles are not like their pattern, association.{rows[0][0]} for one")


def make_views(connection):
    """Make the views over all tiles anew, with the comments of the patterns."""
    _make_views(connection, find_tiles(connection))


def _make_views(connection, tiles):
    for kind, view in _KINDS.items():
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS {_union(kind, tiles)}")
        rows = connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'association' "
            "AND table_name = $kind AND database_name = current_database() AND comment IS NOT NULL "
            "ORDER BY column_index",
            {"kind": kind},
        ).fetchall()
        connection.execute(f"COMMENT ON VIEW {view} IS '{_MEANING[kind]}'")
        for column, comment in rows:
            text = comment.replace("'", "''")
            connection.execute(f"COMMENT ON COLUMN {view}.{column} IS '{text}'")


def _definition(connection, kind, tile):
    """The pattern's own text, for CREATE TABLE AS copies neither NOT NULL nor CHECK."""
    query = (
        "SELECT sql FROM duckdb_tables() WHERE schema_name = 'association' AND table_name = $kind "
        "AND database_name = current_database()"
    )
    text = connection.execute(query, {"kind": kind}).fetchall()[0][0]
    return f"CREATE TABLE association.{kind}_{tile}" + text[text.index("(") :]


def _union(kind, tiles):
    """The rows of some tiles; the pattern, which has none, says the columns where there is no tile."""
    names = [kind, *(f"{kind}_{tile}" for tile in sorted(tiles))]
    return " UNION ALL ".join(f"SELECT * FROM association.{name}" for name in names)
