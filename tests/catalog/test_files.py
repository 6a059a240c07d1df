"""Files and the catalog tell the same story."""

import os
import subprocess
import sys

import pytest

from dbpipe.catalog import files, migrations
from dbpipe.catalog.store import connection
from dbpipe.disk.beside import write_beside
from dbpipe.errors import CatalogError

ORPHAN = "files/calexp/calexp-2-0-0123abcd.fits"


@pytest.fixture
def catalog():
    """An empty catalog in memory."""
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
    assert files.find_missing(catalog, tmp_path)[0][1] == "has 4 bytes, the catalog says 3"
    files.delete(tmp_path, ["files/calexp/a.fits", "files/calexp/a.fits"])
    assert files.find_missing(catalog, tmp_path) == [("files/calexp/a.fits", "is not there")]


HOSTILE = [
    "../victim.txt", "files/../../victim.txt", "/etc/hosts", "files/out/victim.txt", "files//calexp/a.fits", "files",
    "survey.toml", "files/calexp/link.fits", "files/./a.fits", "", "files/a\0b",
]  # fmt: skip


@pytest.fixture
def survey(tmp_path):
    """A folder like that of a survey, with links that lead out of it, beside a file that is precious."""
    root = tmp_path / "survey"
    (root / "files" / "calexp").mkdir(parents=True)
    (root / "survey.toml").touch()
    (tmp_path / "victim.txt").write_text("thesis")
    (root / "files" / "out").symlink_to(tmp_path)
    (root / "files" / "calexp" / "link.fits").symlink_to(tmp_path / "victim.txt")
    return root


@pytest.mark.parametrize("path", HOSTILE)
def test_a_name_that_leaves_the_survey_is_not_touched(survey, path):
    """A table may say anything: what is not a file below files/ is an error that names it, and is never deleted."""
    (survey / "files" / "calexp" / "a.fits").touch()
    with pytest.raises(CatalogError, match="as a file of its own, which it cannot be"):
        files.delete(survey, ["files/calexp/a.fits", path])
    assert (survey.parent / "victim.txt").read_text() == "thesis" and (survey / "survey.toml").exists()
    assert (survey / "files" / "calexp" / "link.fits").is_symlink() and (survey / "files/calexp/a.fits").exists()


@pytest.mark.parametrize("path", [path for path in HOSTILE if "\0" not in path])
def test_a_hostile_name_is_a_loss_and_stops_work(survey, catalog, path):
    """`check` names it without a look at what is there, and no stage begins while it is on record."""
    name_file(catalog, path, files.hash_file(survey.parent / "victim.txt")[0], 6)
    assert files.find_missing(catalog, survey, check_hash=True) == [
        (path, "is not a file below files/: this survey did not make it")
    ]
    if "out" not in path and "link" not in path:  # of links the name says nothing: they are met when it is used
        with pytest.raises(CatalogError, match="which it cannot be"):
            files.check_names(catalog, survey)


def test_names_of_dbpipe_are_fine(survey, catalog):
    """Products of any key pass, and so does a catalog without files."""
    files.check_names(catalog, survey)
    name_file(catalog, "files/calexp/calexp-840-0-0123abcd.fits", "0", 0)
    name_file(catalog, "files/coadd/coadd-1-0-r_-2-0123abcd.fits", "0", 0)
    files.check_names(catalog, survey)


def test_what_dead_processes_were_writing_goes(tmp_path):
    """Products of processes that are no more go; those of living ones, and what is nobody's product, stay."""
    folder = tmp_path / "files" / "coadd"
    folder.mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f".tmp-{pid}-coadd-1-0-5-0ff0fd78.fits" for pid in (gone.pid, os.getpid())]
    for name in (*names, f".tmp-{gone.pid}-notes.txt", "coadd-1-0-5-0ff0fd78.fits"):
        (folder / name).touch()
    files.delete_unfinished(tmp_path)
    assert {path.name for path in folder.iterdir()} == {
        names[1],
        f".tmp-{gone.pid}-notes.txt",
        "coadd-1-0-5-0ff0fd78.fits",
    }
    files.delete_unfinished(tmp_path, os.getpid())
    assert not (folder / names[1]).exists()
