"""Opening the catalogue file: one writer or many readers, and never a surprise from the network.

DuckDB locks its file with a POSIX record lock, which silently vanishes when the process that holds it opens and closes
the same file (a hash, a copy, a backup). So the survey has a lock file of its own, held with flock(2), and nothing in
dbpipe opens the ``.duckdb`` path except DuckDB.
"""

import errno
import fcntl
import os
import re
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from dbpipe.errors import CatalogError, SurveyBusy, printable

STORAGE_VERSION = "v1.5.0"
"""Format of new catalogue files: DuckDB 1.5 and 2.x both read and write it."""
ROW_GROUP_ROWS = 10_240
"""Rows that DuckDB skips or reads as a whole, by their smallest and largest values.

A visit has about as many sources: what is in few visits, or in one piece of the sky, is then found without reading the
rest. It is a property of the connection, not of the file: with DuckDB's own 122,880, the rows that it appends are in
larger groups, which is slower and nothing worse.
"""


_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "checkpoint_threshold": "256MB",
}


def is_disk_failure(error):
    """Return whether DuckDB failed because the disk is full or the file damaged, and not because of rows or SQL."""
    kinds = (duckdb.IOException, duckdb.FatalException, duckdb.InternalException)
    if isinstance(error, duckdb.TransactionException):  # a COMMIT on a full disk
        return "Could not write" in str(error)
    return isinstance(error, kinds) or type(error) is duckdb.Error  # a checksum that is wrong raises the bare class


def create(path):
    """Create an empty catalogue file in the format that every supported DuckDB reads."""
    with memory() as connection:
        connection.execute(f"ATTACH {quote_text(path)} AS new_catalog (STORAGE_VERSION '{STORAGE_VERSION}')")
        connection.execute("DETACH new_catalog")


def memory():
    """Return a connection to an empty catalogue in memory."""
    return duckdb.connect(":memory:", config=_SETTINGS)


def connect(path, *, read_only=False):
    """Connect to the catalogue file; the caller holds the lock of the survey.

    Raises
    ------
    SurveyBusy
        If a program other than dbpipe has the file open.
    CatalogError
        If it cannot be opened for another reason.
    """
    if not Path(path).is_file():
        raise CatalogError(f"{path} is not there: not a survey, or `dbpipe init` was interrupted")
    try:
        return _attach(path, read_only)
    except duckdb.Error as error:  # a damaged file has many faces, the bare class among them
        holder = re.search(r"PID (\d+)", str(error))
        if holder:
            raise SurveyBusy(f"{path} is open in process {holder[1]}; close it there and try again") from error
        raise CatalogError(f"{path} cannot be opened: {first_line(error)}") from error


def first_line(error):
    """Return what an error says, without the hints and stack that DuckDB adds."""
    return str(error).strip().split("\n")[0]


def _attach(path, read_only):
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


def quote_text(text):
    """Return a text as SQL writes it."""
    return "'" + str(text).replace("'", "''") + "'"


class Lock:
    """The lock of a survey: exclusive for a writer, shared for readers; it goes when the process goes."""

    def __init__(self, path, *, shared=False):
        """Take the lock, or say who has it.

        Raises
        ------
        SurveyBusy
            If another process holds it in a way that excludes us; the message names its process number.
        """
        self._file = _open_lock_file(path)
        if self._file is None:
            return
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"survey {Path(path).parent} is busy: {_holders(self._file)}; try again when it has finished"
            self.close()
            raise SurveyBusy(message) from None
        if self._file.writable():
            if not shared:
                self._file.truncate(0)
            self._file.write(f"{os.getpid()} {_command()}\n")
            self._file.flush()

    def close(self):
        """Let go of the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _open_lock_file(path):
    """Open the lock file; who may not write there opens what is there, or goes without."""
    try:
        return open(path, "a+", encoding="utf-8")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise CatalogError(f"{path} cannot be opened: {error.strerror}") from error
    with suppress(OSError):
        return open(path, encoding="utf-8")
    return None


def _holders(file):
    """Name the living processes among those that wrote themselves into the lock file."""
    file.seek(0)
    lines = [line.strip().partition(" ") for line in file if line.strip()]
    living = [f"process {pid} ({command})" for pid, _, command in lines if _is_alive(pid)]
    return "held by " + ", ".join(dict.fromkeys(living)) if living else "another process holds it"


def _is_alive(pid):
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _command():
    return printable(" ".join([Path(sys.argv[0]).name or "python", *sys.argv[1:4]])).replace("\n", " ")


@contextmanager
def transaction(connection):
    """Commit at the end of the block, roll back if it is left by an exception."""
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
