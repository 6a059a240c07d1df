"""Why a unit of work failed."""

import errno

import pytest

from dbpipe.errors import CatalogError, ConfigError, DataError, TransientError
from dbpipe.failures import BUG, DATA, MEMORY_LIMIT, TRANSIENT, clean, failure_of, stops_run


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DataError("no star"), DATA),
        (TransientError("not now"), TRANSIENT),
        (OSError(errno.EIO, "lost"), TRANSIENT),
        (MemoryError(), MEMORY_LIMIT),
        (ZeroDivisionError("1/0"), BUG),
    ],
)
def test_a_failure_says_whose_fault_it_was(error, kind):
    """The frame, the moment, the limit or dbpipe."""
    failure = failure_of(error)
    assert failure.kind == kind and failure.reason
    assert (failure.traceback is None) == isinstance(error, DataError)


def test_only_what_is_not_of_one_unit_stops_the_run():
    """Settings, the catalog and a full disk do; a frame or a bug do not."""
    for error in (ConfigError("x"), CatalogError("x"), OSError(errno.ENOSPC, "x"), RuntimeError("Query interrupted")):
        assert stops_run(error)
    for error in (DataError("x"), OSError(errno.EACCES, "x"), RuntimeError("x"), MemoryError()):
        assert not stops_run(error)


def test_any_text_can_be_stored():
    """A file name that is no Unicode is written so that it can be read."""
    assert clean("a\udcff") == "a\\udcff"
