"""`dbpipe subtract`: two files in, a folder out."""

import pytest
from astropy.io import fits
from two_images import GAIN, make_two
from typer.testing import CliRunner

from dbpipe.cli.app import app
from dbpipe.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two FITS files."""
    folder, pair = tmp_path_factory.mktemp("pair"), make_two()
    for name in ("science", "template"):
        header = pair.science_wcs.to_header()
        header["GAIN"] = GAIN
        fits.writeto(folder / f"{name}.fits", getattr(pair, name), header)
    return folder


def call(files, *options):
    """Run the command and return what it printed."""
    names = [str(files / f"{name}.fits") for name in ("science", "template")]
    done = CliRunner().invoke(app, ["subtract", *names, *options], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_files_are_written_and_told(files, tmp_path):
    """Images, sources and a picture are written; noise and sources are printed; a file of the user's stays."""
    out = tmp_path / "out"
    text = call(files, "--out", str(out), "--plot", str(tmp_path / "a.png"))
    assert {path.name for path in out.iterdir()} >= {"difference.fits", "sources.parquet"}
    assert (tmp_path / "a.png").stat().st_size > 10_000
    assert "score_std" in text and "clean sources" in text and "from its card GAIN" in text
    (out / "sources.parquet").write_text("mine")
    with pytest.raises(ConfigError, match="dbpipe did not make it"):
        call(files, "--out", str(out))
    assert (out / "sources.parquet").read_text() == "mine"


def test_what_is_wrong_is_said_before_the_work(files, tmp_path):
    """A typo in the settings and an image that is not there are errors of one line."""
    (tmp_path / "s.toml").write_text("[detect]\nprimary_scor = 6\n")
    with pytest.raises(ConfigError, match="did you mean primary_score"):
        call(files, "--out", str(tmp_path / "out"), "--settings", str(tmp_path / "s.toml"))
    with pytest.raises(DataError):
        call(files, "--out", str(tmp_path / "out"), "--hdu", "7")
