"""What can go wrong, sorted by who can do something about it."""

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any


class DbpipeError(Exception):
    """Anything dbpipe says no to; the message is for the user."""


class ConfigError(DbpipeError):
    """The user's settings or command line are wrong."""


class CatalogError(DbpipeError):
    """The catalog is damaged, of another version, or a contract was broken; the run stops."""


class DiskError(DbpipeError):
    """A file cannot be written or read: the disk is full, read-only or broken."""

    def __init__(self, message: str) -> None:
        super().__init__(f"{message} (the disk; what was committed before is kept: put it right and run again)")


class PathError(DbpipeError):
    """A path that is not there, not what it should be, or not for this user: nothing is wrong with the disk."""


_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
_OF_PATHS = {
    errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP,
    errno.ENAMETOOLONG, errno.EXDEV, errno.ETXTBSY, errno.ENXIO,
}  # fmt: skip


def from_os_error(error: OSError) -> DiskError | PathError | None:
    """Return what an OSError means to the user, a DiskError or a PathError; None if it is neither."""
    if error.errno in _OF_THE_DISK:
        return DiskError(str(error))
    if error.errno in _OF_PATHS:
        return PathError(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return None


def speaks_of_path(message: str) -> bool:
    """Return whether a message, of a library that gives no number, is about a path and not about the disk."""
    return any(os.strerror(code) in message for code in _OF_PATHS)


class SurveyBusy(DbpipeError):
    """Another process holds the survey."""


class DataError(DbpipeError):
    """One unit of work cannot be done; the verdict is recorded and the run goes on.

    The keyword arguments are the numbers behind the verdict, e.g.
    ``DataError("too few stars", n_star=2, n_required=3)``.
    """

    def __init__(self, message: str, **numbers: Any) -> None:
        super().__init__(message)
        self.message = message
        self.numbers = numbers

    def __reduce__(
        self,
    ) -> (
        "tuple[Callable[..., Any], tuple[type[DataError] | type[TransientError], str, dict[str, int]]]"
    ):  # exceptions with keyword arguments do not pickle by themselves
        return _rebuild_data_error, (type(self), self.message, self.numbers)


class TransientError(DataError):
    """It cannot be done now, perhaps later; it is tried again by the next run."""


def _rebuild_data_error(
    kind: type[DataError] | type[TransientError], message: str, numbers: Mapping[str, int]
) -> DataError | TransientError:
    return kind(message, **numbers)
