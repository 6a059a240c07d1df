"""Files and the catalogue tell the same story."""

import pytest

from dbpipe.catalog import connection, files, migrations
from dbpipe.disk.beside import write_beside

ORPHAN = "files/calexp/calexp-2-0-0123abcd.fits"


@pytest.fixture
def catalog():
    """An empty catalogue in memory."""
    with connection.memory() as empty:
        migrations.migrate(empty)
        yield empty


def name_file(catalog, path, sha256, size):
    """Put a file on record."""
    catalog.execute("INSERT INTO file VALUES (?, 'calexp', 'calibrate', 'visit=1', ?, ?)", [path, sha256, size])


def test_orphans_and_losses_are_found(tmp_path, catalog):
    """A file without a row is garbage; a row without its file, or with another one, is a loss."""
    sha256, size = write_beside(tmp_path / "files/calexp/a.fits", lambda p: p.write_bytes(b"abc"))
    name_file(catalog, "files/calexp/a.fits", sha256, size)
    write_beside(tmp_path / ORPHAN, lambda p: p.write_bytes(b"abc"))
    assert files.find_orphans(catalog, tmp_path) == [ORPHAN]
    assert files.find_missing(catalog, tmp_path, check_hash=True) == []
    (tmp_path / "files/calexp/a.fits").write_bytes(b"abd")
    assert files.find_missing(catalog, tmp_path) == []
    assert files.find_missing(catalog, tmp_path, check_hash=True)[0][1].startswith("has other bytes")
    (tmp_path / "files/calexp/a.fits").write_bytes(b"abcd")
    assert files.find_missing(catalog, tmp_path)[0][1] == "has 4 bytes, the catalogue says 3"
    files.delete(tmp_path, ["files/calexp/a.fits", "files/calexp/a.fits"])
    assert files.find_missing(catalog, tmp_path) == [("files/calexp/a.fits", "is not there")]
