"""The lock of a survey: one writer, whom no reader holds up for longer than a copy of the catalog takes.

DuckDB locks its file with a POSIX record lock, which silently vanishes when the process that holds it opens and closes
the same file (a hash, a copy, a backup). So the survey has a lock file of its own, held with flock(2). It goes when the
process goes, however that ends.
"""

import errno
import fcntl
import os
import re
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from dbpipe.catalog.store.connection import refuse_link
from dbpipe.errors import CatalogError, ConfigError, SurveyBusy
from dbpipe.failures import clean

TRY_AGAIN = "try again when it has finished"
"""What to do about a survey that is busy."""
READER_PATIENCE_S = 600.0
"""How long a writer waits for readers, who hold the lock only while they copy or publish: minutes for a catalog of
100 GB; one that takes longer has been stopped."""
UNKNOWN_PATIENCE_S = 1.0
"""How long it waits for somebody who has not written down yet who he is."""
_LOOK_EVERY_S = 0.02
_READER = "reader: "
_HOLDER = re.compile(r"\Z|[0-9]+ [^\n]*(\n|\Z)")
"""The first line of a lock file, if there is one."""
_LONGEST_HOLDER = 4096


class Lock:
    """The lock of a survey: exclusive for a writer, shared for readers who copy."""

    def __init__(
        self, path: Path, *, shared: bool = False, reader: bool = False, patience_s: float | None = None
    ) -> None:
        """Take the lock, or say who has it.

        Parameters
        ----------
        path : path
        shared : bool
            Others may have it too; nobody can write.
        reader : bool
            It is held for a moment on behalf of a reader: writers wait for that.
        patience_s : float, optional
            How long to wait for readers, `READER_PATIENCE_S` by default; another writer is not waited for.

        Raises
        ------
        SurveyBusy
            If another process holds it in a way that excludes us; the message names its process number.
        CatalogError
            If the file cannot be opened, or is no file of its own.
        ConfigError
            If it is somebody else's: it has other text than ours.
        """
        self._path, self._shared = Path(path), shared
        self._file = _open_lock_file(path)
        if self._file is None:
            return
        try:
            self._take(READER_PATIENCE_S if patience_s is None else patience_s)
        except SurveyBusy:
            self._file.close()
            self._file = None
            raise
        self._require_own()
        self._write(f"{os.getpid()} {_READER if reader or shared else ''}{_command()}\n")

    def close(self) -> None:
        """Let go of the lock."""
        if self._file is not None:
            if not self._shared:
                self._write("")  # else who has it next would be taken for us for a moment
            self._file.close()
            self._file = None

    def _require_own(self) -> None:
        """Raise ConfigError if somebody's file has the name of a lock file: it is about to be written to."""
        self._file.seek(0)
        if _HOLDER.match(self._file.read(_LONGEST_HOLDER)) is None:
            self._file.close()
            self._file = None
            raise ConfigError(f"{self._path} is not a lock file of dbpipe: move it away")

    def _take(self, patience_s: float) -> None:
        started = time.monotonic()
        while not _try(self._file, fcntl.LOCK_SH if self._shared else fcntl.LOCK_EX):
            waited_s = time.monotonic() - started
            living = _living(self._file)
            by_readers = all(command.startswith(_READER) for _, command in living) or _is_shared(self._file)
            limit_s = patience_s if living else min(patience_s, UNKNOWN_PATIENCE_S)
            if not by_readers or waited_s > limit_s:
                holders = "held by " + ", ".join(f"process {pid} ({command})" for pid, command in living)
                text = holders if living else "another process holds it"
                raise SurveyBusy(f"survey {self._path.parent} is busy: {text}; {TRY_AGAIN}")
            time.sleep(_LOOK_EVERY_S)

    def _write(self, line: str) -> None:
        """Write down who has the lock; a writer takes the place of all before."""
        if self._file.writable():
            with suppress(OSError):  # on a full disk nobody learns who has it, and it is had all the same
                if not self._shared:
                    os.ftruncate(self._file.fileno(), 0)
                os.write(self._file.fileno(), line.encode(errors="replace"))


def _try(file: Any, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_shared(file: Any) -> bool:
    """Return whether only readers who copy have the lock: then we could be one of them."""
    if not _try(file, fcntl.LOCK_SH):
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def _open_lock_file(path: Path) -> Any:
    """Open the lock file; who may not write there opens what is there, or goes without."""
    try:
        return _open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, "a+")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise CatalogError(f"{path} cannot be opened: {error.strerror}") from error
    with suppress(OSError):
        return _open(path, os.O_RDONLY, "r")
    return None


def _open(path: Path, flags: int, mode: str) -> Any:
    """Open a file that is one: no link to another, and nothing that would make us wait."""
    refuse_link(path)
    number = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise CatalogError(f"{path} is not a file: delete it")
    return os.fdopen(number, mode, encoding="utf-8", errors="replace")


def _living(file: Any) -> list[tuple[str, str]]:
    """Return (pid, command) of the living processes among those that wrote themselves into the lock file."""
    file.seek(0)
    lines = dict.fromkeys(line.strip() for line in file if line.strip())
    return [(pid, command) for pid, _, command in (line.partition(" ") for line in lines) if _is_alive(pid)]


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _command() -> str:
    return clean(" ".join([Path(sys.argv[0]).name or "python", *sys.argv[1:4]])).replace("\n", " ")
