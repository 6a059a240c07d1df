"""The tables of linked detections and objects, one pair per HEALPix tile of order 4 (13 square degrees).

DuckDB cannot cluster a table, and what one visit of 10,000 sources needs of 100 million rows in time order takes
seconds to find. In tables per tile it is in the few that the visit touches, whatever the rest of the sky holds. The
views ``dia_association`` and ``dia_object`` show the tiles as one.
"""

from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

TILE_ORDER = 4
TILE_SHIFT = 2 * (29 - TILE_ORDER)
"""Bits between an index of order 29 and its tile."""
_KINDS = {"source": "dia_association", "object": "dia_object"}
"""Kind of table -> the view over its tiles."""
_MEANING = {
    "source": "Which object each DIASource belongs to: one row per source that is linked",
    "object": "DIAObjects: sources of any time and band that are one thing on the sky",
}


def find_tiles(connection):
    """Return the numbers of the tiles that have tables, sorted; in a snapshot those are views of files."""
    rows = connection.execute(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'association' "
        "AND starts_with(table_name, 'source_') AND table_catalog = current_database()"
    ).fetchall()
    return sorted(int(name.removeprefix("source_")) for (name,) in rows)


def add_tiles(connection, tiles):
    """Make the tables of tiles that have none, and the views over all of them; part of the caller's transaction."""
    known = set(find_tiles(connection))
    new = sorted(set(tiles) - known)
    for tile in new:
        for kind in _KINDS:
            connection.execute(_definition(connection, kind, tile))
    if new:
        make_views(connection)


def make_views(connection):
    """Make the views over all tiles anew, with the comments of the patterns."""
    tiles = find_tiles(connection)
    for kind, view in _KINDS.items():
        parts = " UNION ALL ".join(f"SELECT * FROM association.{name}" for name in _names(kind, tiles))
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS {parts}")
        rows = connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'association' "
            "AND table_name = $kind AND database_name = current_database() ORDER BY column_index",
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


def _names(kind, tiles):
    return [kind, *(f"{kind}_{tile}" for tile in sorted(tiles))]


def fetch_over(connection, query, tiles, *, kind="source", registered=None, parameters=None):
    """Run a query on some tiles and return a pyarrow.Table.

    Parameters
    ----------
    query : str
        SQL whose ``association.<kind>`` stands for the rows of the tiles.
    tiles : sequence of int
        Those that have no table are left out.
    registered, parameters : dict, optional
        See `fetch_registered`.
    """
    known = set(find_tiles(connection)) & set(tiles)
    parts = " UNION ALL ".join(f"SELECT * FROM association.{name}" for name in _names(kind, known))
    text = query.replace(f"FROM association.{kind}", f"FROM ({parts})")
    return fetch_registered(connection, text, registered or {}, parameters)


def execute_on(connection, query, table, *, kind, tile):
    """Run a statement on one tile's table; ``changed`` in it is the given pyarrow.Table."""
    text = query.replace(f"association.{kind}", f"association.{kind}_{tile}")
    execute_registered(connection, text, {"changed": table})


def fetch_registered(connection, query, registered, parameters=None):
    """Return the answer to a query that mentions pyarrow.Tables: name -> table, and $parameters."""
    with _registered(connection, registered):
        return connection.sql(query, params=parameters or None).to_arrow_table()


def execute_registered(connection, query, registered, parameters=None):
    """Run a statement that mentions pyarrow.Tables."""
    with _registered(connection, registered):
        connection.execute(query, parameters or None)


@contextmanager
def _registered(connection, registered):
    for name, table in registered.items():
        connection.register(name, table)
    try:
        yield
    finally:
        for name in registered:
            connection.unregister(name)


def split_by_tile(table, tile):
    """Return tile -> its rows of a pyarrow.Table; ``tile`` is an integer array, one number per row."""
    numbers = pa.array(tile)
    return {number: table.filter(pc.equal(numbers, number)) for number in sorted(set(tile.tolist()))}
