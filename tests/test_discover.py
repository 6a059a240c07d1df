"""Finding raw files."""

import pytest

from dbpipe.discover import find_raw_files
from dbpipe.errors import ConfigError


def test_folders_are_searched_and_named_files_taken_as_they_are(tmp_path):
    """FITS files of any usual name are found once, in order; other files in folders are counted, named ones taken."""
    for name in ("raw/b.fits.gz", "raw/deep/a.FIT", "raw/c.fts.fz", "raw/notes.txt", "survey/files/x.fits", "odd.dat"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found, n_other = find_raw_files(
        [tmp_path, tmp_path / "odd.dat", f"{tmp_path}/raw/*.gz"], leave_out=tmp_path / "survey"
    )
    names = [path.removeprefix(f"{tmp_path}/") for path in found]
    assert names == ["odd.dat", "raw/b.fits.gz", "raw/c.fts.fz", "raw/deep/a.FIT"]
    assert n_other == 2


def test_what_is_not_there_is_named(tmp_path):
    """A path or pattern that matches nothing is an error."""
    with pytest.raises(ConfigError, match="nothing.fits is not there"):
        find_raw_files([tmp_path / "nothing.fits"])
