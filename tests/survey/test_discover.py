"""Finding raw files."""

import os
import socket

import pytest

from dbpipe.errors import ConfigError
from dbpipe.survey.discover import NOT_FITS, find_raw_files, split_settled


def test_folders_are_searched_and_named_files_taken_as_they_are(tmp_path):
    """FITS files of any usual name are found once, in order; other files in folders are counted, named ones taken."""
    for name in ("raw/b.fits.gz", "raw/deep/a.FIT", "raw/c.fts.fz", "raw/notes.txt", "survey/files/x.fits", "odd.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, left_alone = find_raw_files(
        [tmp_path, tmp_path / "odd.dat", f"{tmp_path}/raw/*.gz"], leave_out=tmp_path / "survey"
    )
    names = [path.removeprefix(f"{tmp_path}/") for path in found]
    assert names == ["odd.dat", "raw/b.fits.gz", "raw/c.fts.fz", "raw/deep/a.FIT"]
    assert left_alone.counts == {NOT_FITS: 2} and int(left_alone) == 2


def test_what_is_not_there_is_named(tmp_path):
    """A path or pattern that matches nothing is an error."""
    with pytest.raises(ConfigError, match="nothing.fits is not there"):
        find_raw_files([tmp_path / "nothing.fits"])


def touch(path):
    """Make an empty file and the folders that it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return str(path)


def test_a_night_that_is_a_link_is_searched_once(tmp_path):
    """Folders behind links are entered, once, also in circles; a file has one path, whichever way leads to it."""
    plain, linked = touch(tmp_path / "raw/b.fits"), touch(tmp_path / "disk2/a.fits")
    (tmp_path / "raw/night1").symlink_to(tmp_path / "disk2")
    (tmp_path / "raw/again").symlink_to(tmp_path / "raw")
    (tmp_path / "disk2/up").symlink_to(tmp_path)
    (tmp_path / "raw/copy.fits").symlink_to(linked)
    for names in ([tmp_path / "raw"], [tmp_path / "raw/night1", tmp_path / "raw"], [tmp_path / "raw/night1/up/raw"]):
        found, left_alone = find_raw_files(names)
        assert found == [linked, plain] and not left_alone.counts
    assert find_raw_files([tmp_path / "raw/night1/a.fits", linked])[0] == [linked]


def test_the_survey_is_left_out_by_whatever_way(tmp_path):
    """The products of a survey are no raw files, also where a link leads to them."""
    touch(tmp_path / "survey/files/x.fits")
    raw = touch(tmp_path / "raw/b.fits")
    (tmp_path / "raw/link").symlink_to(tmp_path / "survey")
    assert find_raw_files([tmp_path / "raw", tmp_path], leave_out=tmp_path / "survey")[0] == [raw]


def test_a_survey_that_is_not_there_yet_leaves_nothing_out(tmp_path):
    """What a first run will take in is looked for before its survey is made."""
    raw = touch(tmp_path / "raw/b.fits")
    assert find_raw_files([tmp_path / "raw"], leave_out=tmp_path / "not_yet")[0] == [raw]


def test_what_is_no_file_is_left_alone_and_told(tmp_path):
    """Pipes, sockets, links to nothing and folders named like FITS are never opened; each kind has an example."""
    good = touch(tmp_path / "good.fits")
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "lost.fits").symlink_to(tmp_path / "nowhere")
    (tmp_path / "device.fits").symlink_to("/dev/zero")
    (tmp_path / "folder.fits").mkdir()
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(os.path.relpath(tmp_path / "socket.fits"))
        for names in ([tmp_path], [f"{tmp_path}/*.fits"], list(tmp_path.iterdir())):
            found, left_alone = find_raw_files(names)
            assert found == [good]
            assert left_alone.counts == {"not a regular file": 3, "link to nothing": 1}
            assert left_alone.examples["link to nothing"] == str(tmp_path / "lost.fits")


def test_names_are_taken_as_they_are(tmp_path):
    """Brackets, line ends and stars in a name that is there are no pattern; what is no UTF-8 is left alone, escaped."""
    names = ["a[1].fits", "b\nc.fits", "[red]x[/red].fits", "*.fits", "~.fits", "d e.fits", "\x1b[31m.fits"]
    paths = [touch(tmp_path / name) for name in names]
    with open(os.path.join(os.fsencode(tmp_path), b"\xff\xfe.fits"), "wb"):
        pass
    for path in paths:
        assert find_raw_files([path])[0] == [path]
    found, left_alone = find_raw_files([tmp_path])
    assert found == sorted(paths)
    assert left_alone.counts == {"name is not UTF-8": 1}
    assert left_alone.examples["name is not UTF-8"].endswith("\\udcff\\udcfe.fits")
    with pytest.raises(ConfigError, match="udcff is not there"):
        find_raw_files([os.fsdecode(b"\xff")])
    with pytest.raises(ConfigError, match="is not there"):
        find_raw_files(["~nobody_of_this_name/x.fits"])


def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    """The other folders are searched all the same."""
    good = touch(tmp_path / "open/a.fits")
    touch(tmp_path / "shut/b.fits")
    listed = os.listdir

    def listdir(folder):
        if str(folder).endswith("shut"):
            raise PermissionError(13, "Permission denied", folder)
        return listed(folder)

    monkeypatch.setattr(os, "listdir", listdir)
    found, left_alone = find_raw_files([tmp_path])
    assert found == [good]
    assert left_alone.counts == {"folder cannot be read (Permission denied)": 1}


def test_a_file_that_cannot_be_looked_at_is_not_waited_for(tmp_path):
    """One that went away while others are still being copied is left for next time."""
    lost = str(tmp_path / "lost" / "a.fits")
    assert split_settled([lost], settle_s=1.0, sleep=lambda _: None) == ([], [lost])
