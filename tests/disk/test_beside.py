"""Files appear whole or not at all."""

import os

import pytest

from dbpipe.disk.beside import reserve_beside, write_beside


def test_a_file_is_whole_or_not_there(tmp_path):
    """When writing fails, neither the file nor its temporary is left, and an older one stays as it was."""
    path = tmp_path / "files" / "calexp" / "a.fits"
    assert write_beside(path, lambda p: p.write_bytes(b"old"))[1] == 3

    def fail(temporary):
        temporary.write_bytes(b"new")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_beside(path, fail)
    assert [p.name for p in path.parent.iterdir()] == ["a.fits"] and path.read_bytes() == b"old"


def test_the_temporary_keeps_the_suffix(tmp_path):
    """Writers that look at the suffix see the one of the file."""
    seen = []
    write_beside(tmp_path / "a.fits", lambda p: (seen.append(p.suffix), p.write_bytes(b"")))
    assert seen == [".fits"]


def test_a_temporary_name_is_nobody_elses(tmp_path):
    """What has the name that a temporary file would have stays as it is, and names of any length have one."""
    mine = tmp_path / f".tmp-{os.getpid()}-a.csv"
    mine.write_text("mine")
    (tmp_path / f".tmp-{os.getpid()}-1-a.csv").symlink_to(mine)
    write_beside(tmp_path / "a.csv", lambda path: path.write_text("new"))
    assert mine.read_text() == "mine" and (tmp_path / "a.csv").read_text() == "new"
    longest = tmp_path / ("\N{GREEK SMALL LETTER ALPHA}" * 125 + ".csv")
    assert reserve_beside(longest).suffix == ".csv"
    write_beside(longest, lambda path: path.write_text("new"))
    assert longest.read_text() == "new"
