"""The schema: numbered SQL files, each applied once, in order, in one transaction, and never edited afterward.

Each has a transaction of its own, for DuckDB 1.5 cannot commit rows of a table and its columns changed together. An
upgrade that is killed on the way is thus half done: readers go on with what was published, and the next writer does the
rest (`dbpipe.survey.opening.bring_up_to_date`).
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

import dbpipe
from dbpipe.catalog.sky_shards import check_tiles, spread
from dbpipe.catalog.sql.queries import directory, load_named
from dbpipe.catalog.store.connection import transaction
from dbpipe.errors import CatalogError


@dataclass(frozen=True)
class Migration:
    """One numbered file of the schema."""

    version: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the text, hexadecimal."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read_migrations(folder: Path | None = None) -> list[Migration]:
    """Return the migrations of a folder in order.

    Raises
    ------
    CatalogError
        If the files are not numbered 0001, 0002, ... without gaps.
    """
    folder = folder or directory("migrations")
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = re.fullmatch(r"(\d{4})_(\w+)", path.stem)
        if match is None or int(match[1]) != len(found) + 1:
            raise CatalogError(f"migration {path.name} should be named {len(found) + 1:04d}_<subject>.sql")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    if not found:
        raise CatalogError(f"no migrations in {folder}: dbpipe is not installed completely")
    return found


def pending_migrations(
    connection: duckdb.DuckDBPyConnection, migrations: list[Migration] | None = None
) -> list[Migration]:
    """Return the migrations that a catalog still lacks, in order.

    Raises
    ------
    CatalogError
        If an applied file was edited since, or the catalog is newer than this dbpipe.
    """
    migrations = migrations or read_migrations()
    for version, name, sha256, dbpipe_version in _applied(connection):
        if version > len(migrations):
            raise CatalogError(
                f"the catalog has schema version {version} ({name}, made by dbpipe {dbpipe_version}), this dbpipe "
                f"{dbpipe.__version__} knows {len(migrations)}: use a newer dbpipe"
            )
        if migrations[version - 1].sha256 != sha256:
            raise CatalogError(
                f"migration {version:04d} ({name}) was edited after it was applied to this catalog "
                f"({sha256[:8]} then, {migrations[version - 1].sha256[:8]} now): undo the edit and add a new file"
            )
    return migrations[len(_applied(connection)) :]


def is_older(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a catalog or snapshot has the schema of an older dbpipe."""
    return bool(pending_migrations(connection))


def migrate(connection: duckdb.DuckDBPyConnection, migrations: list[Migration] | None = None) -> list[str]:
    """Bring a catalog to the schema of this dbpipe and return the names of the files applied.

    Raises
    ------
    CatalogError
        As `pending_migrations`, or if a file fails; the catalog is then as before that file.
    """
    pending = pending_migrations(connection, migrations)
    for migration in pending:
        try:
            with transaction(connection):
                connection.execute(_query("make_ledger"))
                for statement in spread(connection, migration.text):
                    connection.execute(statement)
                check_tiles(connection)
                connection.execute(_query("record"), _record(migration))
        except duckdb.Error as error:
            raise CatalogError(f"migration {migration.version:04d} ({migration.name}) failed: {error}") from error
    return [migration.name for migration in pending]


def _record(migration: Migration) -> dict[str, Any]:
    return {
        "version": migration.version,
        "name": migration.name,
        "sha256": migration.sha256,
        "applied_at": datetime.now(UTC).replace(tzinfo=None),
        "dbpipe_version": dbpipe.__version__,
    }


def _applied(connection: duckdb.DuckDBPyConnection) -> list[tuple[int, str, str, str]]:
    if not connection.execute(_query("has_ledger")).fetchall():
        return []
    return connection.execute(_query("applied")).fetchall()


def _query(name: str) -> str:
    return load_named("catalog", "migrations")[name]
