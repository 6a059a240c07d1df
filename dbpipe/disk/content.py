"""The bytes of a file, whole and unpacked: only of regular files, and never more than a limit."""

import bz2
import gzip
import io
import os
import stat
import zlib
from pathlib import Path

from dbpipe.errors import DataError, TransientError

MAX_FILE_MIB = 2048.0
"""A mosaic of 62 sensors of 2k x 4k, written as floats, has 1,980 MiB; one sensor of 10k x 10k has 400."""
_CHUNK_BYTE = 16 << 20
_KINDS = {stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device",
          stat.S_IFBLK: "device"}  # fmt: skip
DAMAGED = (OSError, EOFError, zlib.error, ValueError)
"""What `decompress` raises for archives that are cut short or damaged."""


def read_content(path: Path, *, max_mib: float = MAX_FILE_MIB) -> bytes:
    """Return the bytes of a regular file.

    Raises
    ------
    DataError
        If it is no regular file, or larger than the limit; `TransientError` if it cannot be read now.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)  # a pipe must not block
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                kind = _KINDS.get(stat.S_IFMT(state.st_mode), "special file")
                raise DataError("file cannot be read", problem=f"it is no regular file but a {kind}")
            _check_size(state.st_size, max_mib, "file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(state.st_size + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TransientError("file cannot be read", problem=str(error)) from error
    if len(content) != state.st_size:
        raise TransientError("file changed while it was read", size_byte=len(content), size_before_byte=state.st_size)
    return content


def decompress(content: bytes, *, max_mib: float = MAX_FILE_MIB) -> bytes:
    """Undo gzip or bzip2; unlike astropy this reads to the end, so the checksum is checked too.

    Raises
    ------
    DataError
        If more than the limit comes out, of which no more than that is ever held.
    OSError, EOFError, zlib.error
        If the archive is cut short or damaged.
    """
    if content.startswith(b"\x1f\x8b"):
        packed: gzip.GzipFile | bz2.BZ2File = gzip.GzipFile(fileobj=io.BytesIO(content))
    elif content.startswith(b"BZh"):
        packed = bz2.BZ2File(io.BytesIO(content))
    else:
        return content
    unpacked = io.BytesIO()
    with packed:
        while chunk := packed.read(_CHUNK_BYTE):
            _check_size(unpacked.tell() + len(chunk), max_mib, "unpacked file")
            unpacked.write(chunk)
    return unpacked.getvalue()


def _check_size(size_byte: int, max_mib: float, what: str) -> None:
    if size_byte > max_mib * 2**20:
        raise DataError(f"{what} is too large", at_least_mib=round(size_byte / 2**20, 1), max_file_mib=max_mib)
