"""Connections to a catalog file: never a surprise from the network, and no way out of the folders they are given.

`dbpipe.catalog.store.lock` keeps writers apart, and nothing in dbpipe opens the ``.duckdb`` path except DuckDB.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb

from dbpipe.catalog.store.undisturbed import undisturbed
from dbpipe.errors import CatalogError, SurveyBusy

STORAGE_VERSION = "v1.5.0"
"""Format of new catalog files: DuckDB 1.5 and 2.x both read and write it."""
ROW_GROUP_ROWS = 10_240
"""Rows that DuckDB skips or reads as a whole, by their smallest and largest values.

A visit has about as many sources: what is in few visits, or in one piece of the sky, is then found without reading the
rest. It is a property of the connection, not of the file: with DuckDB's own 122,880, the rows that it appends are in
larger groups, which is slower and nothing worse.
"""

_SETTINGS: dict[str, Any] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "checkpoint_threshold": "256MB",
    "python_enable_replacements": "false",  # else SQL sees the variables of the Python functions around it
}


def is_disk_failure(error: BaseException) -> bool:
    """Return whether DuckDB failed because the disk is full or the file damaged, and not because of rows or SQL."""
    kinds = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException)
    if isinstance(error, duckdb.TransactionException):  # a COMMIT on a full disk
        return "Could not write" in str(error)
    return isinstance(error, kinds) or type(error) is duckdb.Error  # a checksum that is wrong raises the bare class


def is_of_rows(error: Any) -> Any:
    """Return whether DuckDB refused values, and not the statement, the schema or the disk."""
    kinds = (duckdb.DataError, duckdb.IntegrityError, duckdb.InvalidInputException, duckdb.OutOfMemoryException)
    return isinstance(error, kinds) and not is_disk_failure(error)


def create(path: Path) -> None:
    """Create an empty catalog file in the format that every supported DuckDB reads."""
    with memory() as connection:
        connection.execute(f"ATTACH {quote_text(path)} AS new_catalog (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("DETACH new_catalog")


def memory() -> duckdb.DuckDBPyConnection:
    """Return a connection to an empty catalog in memory."""
    return duckdb.connect(":memory:", config=_SETTINGS)


def connect(path: Path, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
    """Connect to the catalog file; the caller holds the lock of the survey.

    Raises
    ------
    SurveyBusy
        If a program other than dbpipe has the file open.
    CatalogError
        If it cannot be opened for another reason.
    """
    if not Path(path).is_file():
        raise CatalogError(f"{path} is not there: not a survey, or `dbpipe init` was interrupted")
    for file in (path, f"{path}.wal"):
        refuse_link(file)
    try:
        return _attach(path, read_only)
    except duckdb.Error as error:  # a damaged file has many faces, the bare class among them
        holder = re.search(r"PID (\d+)", str(error))
        if holder:
            raise SurveyBusy(f"{path} is open in process {holder[1]}; close it there and try again") from error
        raise CatalogError(f"{path} cannot be opened: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """Return what an error says, without the hints and stack that DuckDB adds."""
    return str(error).strip().split("\n")[0]


def _attach(path: Path, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Connect to the file as an attached one.

    Only those can be told the size of their row groups. And where a killed process left a write-ahead log, DuckDB 1.5
    and 2.0 fail to replay it, if it comments on or alters a table with a function in a CHECK and the file is the main
    database: functions are loaded later. For a file that is attached they are there.
    """
    connection = memory()
    try:
        mode = ", READ_ONLY" if read_only else ""
        connection.execute(f"ATTACH {quote_text(path)} AS survey (ROW_GROUP_SIZE {ROW_GROUP_ROWS}{mode})")
        connection.execute("USE survey")
    except BaseException:
        connection.close()
        raise
    return connection


def quote_text(text: int | str | os.PathLike[str]) -> str:
    """Return a text as SQL writes it."""
    return "'" + str(text).replace("'", "''") + "'"


def quote_name(name: str) -> str:
    """Return the name of a table or column as SQL writes it."""
    return '"' + str(name).replace('"', '""') + '"'


def refuse_link(path: str | os.PathLike[str]) -> None:
    """Raise CatalogError if a path is a symbolic link: what is written there would end up somewhere else."""
    if os.path.islink(path):
        text = f"{path} is a symbolic link to {os.readlink(path)}, which is not followed: put the file itself there"
        raise CatalogError(text)


def confine(
    connection: duckdb.DuckDBPyConnection,
    *,
    folders: Sequence[Path] = (),
    files: Sequence[Any] = (),
    locked: bool = False,
) -> None:
    """Let a connection reach no files but some, for as long as it lives.

    What it has attached already stays so. Nothing that comes from outside, a query or a catalog with its views and
    macros, is to run on a connection that is not confined.

    Parameters
    ----------
    folders : sequence of path
        Folders that it may read and write in.
    files : sequence of str
        Files by the names that statements give them.
    locked : bool
        No setting can be changed any more either.
    """
    inside = ", ".join(quote_text(os.path.realpath(folder)) for folder in folders)
    connection.execute(f"SET allowed_directories = [{inside}]")
    connection.execute(f"SET allowed_paths = [{', '.join(map(quote_text, files))}]")
    connection.execute("SET enable_external_access = false")
    if locked:
        connection.execute("SET lock_configuration = true")


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit at the end of the block, roll back if it is left by an exception; a request to stop waits for the end."""
    with undisturbed():
        connection.execute("BEGIN TRANSACTION")
        committed = False
        try:
            yield
            connection.execute("COMMIT")
            committed = True
        finally:
            if not committed:
                with suppress(duckdb.TransactionException):  # a COMMIT that failed has rolled back already
                    connection.execute("ROLLBACK")


@contextmanager
def only_reading(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Let nothing within the block change the catalog."""
    connection.execute("BEGIN TRANSACTION READ ONLY")
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # an error may have ended the transaction
            connection.execute("ROLLBACK")
