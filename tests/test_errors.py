"""Errors, sorted by who can do something about them."""

import errno
import pickle

import pytest

from dbpipe.errors import DataError, DiskError, PathError, TransientError, from_os_error, speaks_of_path


@pytest.mark.parametrize("kind", [DataError, TransientError])
def test_a_verdict_comes_whole_out_of_a_worker(kind):
    """Kind, message and numbers survive the way from one process to another."""
    error = pickle.loads(pickle.dumps(kind("too few stars", n_star=2)))
    assert type(error) is kind and error.message == "too few stars" and error.numbers == {"n_star": 2}


@pytest.mark.parametrize(
    ("code", "kind"), [(errno.ENOSPC, DiskError), (errno.ENOENT, PathError), (errno.EINTR, type(None))]
)
def test_a_full_disk_is_not_a_wrong_path(code, kind):
    """What the operating system says is of the disk, of the path, or of neither."""
    assert type(from_os_error(OSError(code, "said", "name"))) is kind


def test_a_library_without_numbers_is_understood():
    """Its words about a path are told from all others."""
    assert speaks_of_path("Cannot open file: No such file or directory") and not speaks_of_path("out of memory")
