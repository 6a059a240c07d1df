"""The files of a survey: written beside, synced, renamed; whatever the catalogue does not name is garbage."""

import hashlib
import os
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"
FOLDER = "files"
_NAMED = """
SELECT CAST(path AS VARCHAR), CAST(sha256 AS VARCHAR), TRY_CAST(size_byte AS BIGINT) FROM {table} ORDER BY path
"""
"""What a table names, also in a catalogue from elsewhere whose columns are of other types."""


def write_beside(path, write):
    """Write a file so that it is either whole under its name or not there.

    Parameters
    ----------
    path : path
        Where it shall stand; its folder is made if need be.
    write : callable
        Called with the path to write to, in the same folder and with the same suffix.

    Returns
    -------
    (sha256, size_byte)
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{path.name}")
    try:
        write(temporary)
        sha256, size = hash_file(temporary, sync=True)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return sha256, size


def replace_file(temporary, path):
    """Put a file that was written beside into its place, for good: bytes, name and folder are on the disk."""
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(Path(path).parent)


def hash_file(path, *, sync=False):
    """Return (sha256, size_byte) of a file; ``sync`` forces its bytes to the disk first."""
    with open(path, "rb") as file:
        if sync:
            os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def sync_folder(folder):
    """Force the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete(root, paths):
    """Delete files named relative to the survey; one that is gone already is no error."""
    for path in paths:
        (Path(root) / path).unlink(missing_ok=True)


def find_orphans(connection, root):
    """Return the files under ``files/`` that the catalogue does not name, relative to the survey, sorted."""
    named = {path for (path,) in connection.execute("SELECT CAST(path AS VARCHAR) FROM file").fetchall()}
    return [path for path in _files_on_disk(root) if path not in named]


def find_missing(connection, root, *, check_hash=False):
    """Return (path, what is wrong) of files that the catalogue names and that are absent or have changed."""
    rows = connection.execute(_NAMED.format(table="file")).fetchall()
    found = ((path, _what_is_wrong(Path(root) / path, sha256, size, check_hash)) for path, sha256, size in rows)
    return [(path, wrong) for path, wrong in found if wrong]


def _what_is_wrong(path, sha256, size, check_hash):
    if not path.is_file():
        return "is not there"
    if path.stat().st_size != size:
        return f"has {path.stat().st_size} bytes, the catalogue says {size}"
    if check_hash and hash_file(path)[0] != sha256:
        return "has other bytes than when it was written"
    return ""


def find_missing_raw(connection):
    """Return (path, what is wrong) of raw files that are no longer where they were ingested."""
    rows = connection.execute(_NAMED.format(table="raw")).fetchall()
    found = ((path, _what_is_wrong(Path(path), sha256, size, False)) for path, sha256, size in rows)
    return [(path, wrong) for path, wrong in found if wrong]


def _files_on_disk(root):
    folder = Path(root) / FOLDER
    return sorted(path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file())
