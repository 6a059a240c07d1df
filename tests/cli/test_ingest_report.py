"""What ingest tells of files that are odd, and commands of paths that are wrong."""

import os
import sys

import numpy as np
import pytest
from astropy.io import fits
from make_fits import header, sky_image, write_eimage

import dbpipe
from dbpipe import cli
from dbpipe.survey import Survey


def command(monkeypatch, capsys, *arguments):
    """Run the command line in this process and return (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


@pytest.fixture
def root(tmp_path):
    """An empty survey."""
    Survey.init(tmp_path / "s").close()
    return tmp_path / "s"


def test_what_is_left_out_and_left_alone_is_told(root, tmp_path, monkeypatch, capsys):
    """A weight map that was left out is in the summary, in status and a warning; a pipe and a lost link are shown."""
    raw = tmp_path / "raw"
    raw.mkdir()
    image = fits.ImageHDU(sky_image(), header(), name="SCI")
    weight = fits.ImageHDU(np.ones((48, 64), np.float32), name="WHT")
    fits.HDUList([fits.PrimaryHDU(), image, weight]).writeto(raw / "lsst_e_1234_f2_R22_S11_E000.fits")
    os.mkfifo(raw / "pipe.fits")
    (raw / "lost.fits").symlink_to(raw / "nowhere")
    code, out, err = command(monkeypatch, capsys, "ingest", root, raw, "--workers", 1)
    assert (code, err) == (0, "")
    for words in (
        "HDU 2 WHT (64 x 48) was left out",
        "not a regular file",
        "pipe.fits",
        "link to nothing",
        "lost.fits",
    ):
        assert words in out
    assert "WHT (64 x 48) was left out" in command(monkeypatch, capsys, "status", root)[1]
    code, out, _ = command(monkeypatch, capsys, "check", root)
    assert code == 0 and "observation.raw_note" in out
    assert "was left out" not in command(monkeypatch, capsys, "ingest", root, raw)[1]  # it is not read again


def test_a_note_goes_with_its_reason(root, tmp_path):
    """When the file is put right and read again, nothing is told of it any more."""
    path = write_eimage(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b"trailer")
    with Survey.open(root, read_only=False) as survey:
        survey.ingest([path], n_worker=1)
        assert survey.count("raw_note") == survey.count("raw") == 1
        path.write_bytes(whole)
        survey.ingest([path], n_worker=1)
        assert (survey.count("raw_note"), survey.count("raw")) == (0, 1)


def test_a_file_that_goes_away_while_it_is_asked_for_has_a_verdict(root, tmp_path):
    """Between the look at the folder and the reading a file may be moved: that is no traceback."""
    from dbpipe.catalog.work.request import request_ingest

    with Survey.open(root, read_only=False) as survey:
        request_ingest(survey.connection, [str(tmp_path / "gone.fits")])
        assert survey.sql("SELECT size_byte FROM ingest_request").fetchall() == [(0,)]


@pytest.mark.parametrize(
    "arguments",
    [("ingest", "{root}", "{tmp}/nothing.fits"), ("sql", "{root}", "SELECT 1 AS x", "--out", "{tmp}/file/x.csv"),
     ("sql", "{root}", "SELECT 1 AS x", "--out", "{tmp}/file/x.parquet"), ("refcat", "{root}", "{tmp}/nothing.csv"),
     ("init", "{tmp}/file/s"), ("status", "{tmp}/nothing"), ("status", "{tmp}/file")],
)  # fmt: skip
def test_a_wrong_path_is_not_called_the_disk(root, tmp_path, monkeypatch, capsys, arguments):
    """One line that names it, and no talk of disks that are full."""
    (tmp_path / "file").touch()
    code, _, err = command(monkeypatch, capsys, *(text.format(root=root, tmp=tmp_path) for text in arguments))
    assert code == 1 and err.count("\n") == 1
    assert "disk" not in err and ("nothing" in err or "no" in err or "file" in err)


def test_a_name_that_is_no_text_stops_nothing(root, tmp_path, monkeypatch, capsys):
    """Named, or found in a folder: a file whose name is not UTF-8 is left alone, and shown escaped."""
    name = os.fsencode(tmp_path) + b"/\xff\x1b.fits"
    with open(name, "wb"):
        pass
    for argument in (os.fsdecode(name), tmp_path):
        code, out, err = command(monkeypatch, capsys, "ingest", root, argument)
        assert (code, err) == (0, "") and "name is not UTF-8" in out and "\\udcff" in out
    with dbpipe.open(root) as survey:
        assert "\\udcff" in survey.sql("SELECT command FROM run ORDER BY run_id").fetchall()[0][0]


def test_text_like_numbers_everywhere(root, tmp_path):
    """Position, exposure time and gain as text in a header are what they say."""
    path = write_eimage(tmp_path, CRVAL1="53.0", EXPTIME="30.0", TAI="59580.25", AIRMASS="1.2")
    with Survey.open(root, read_only=False) as survey:
        survey.ingest([path], n_worker=1)
        assert survey.sql("SELECT round(ra, 2), exposure_s, airmass FROM raw JOIN visit USING (visit)").fetchall() == [
            (53.0, 30.0, 1.2)
        ]
    with dbpipe.open(root) as survey:
        assert survey.count("raw") == 1


def test_a_description_that_changed_since_is_told(root, tmp_path, monkeypatch, capsys):
    """Until the files are ingested again, status and run say that they were read by another description."""
    write_eimage(tmp_path)
    command(monkeypatch, capsys, "ingest", root, tmp_path / "*.fits")
    assert "has changed since" not in command(monkeypatch, capsys, "status", root)[1]
    with open(root / "instrument.toml", "a", encoding="utf-8") as file:
        file.write("# corrected\n")
    told = "instrument.toml has changed since 1 raw images were read"
    assert told in command(monkeypatch, capsys, "status", root)[1]
    assert told in command(monkeypatch, capsys, "run", root, "--to", "ingest")[1]
    command(monkeypatch, capsys, "ingest", root, tmp_path / "*.fits")
    assert "has changed since" not in command(monkeypatch, capsys, "status", root)[1]


def test_a_catalog_of_another_place_is_told(root, tmp_path, monkeypatch, capsys):
    """Stars that are in no exposure are taken, since others may come, but not in silence."""
    write_eimage(tmp_path)
    command(monkeypatch, capsys, "ingest", root, tmp_path / "*.fits")
    head = header()
    for place, is_told in (((head["CRVAL1"], head["CRVAL2"]), False), ((head["CRVAL1"] + 90.0, 12.0), True)):
        (tmp_path / "stars.csv").write_text("id,ra,dec,r\n7,{},{},15.0\n".format(*place))
        code, out, _ = command(monkeypatch, capsys, "refcat", root, tmp_path / "stars.csv")
        assert code == 0 and ("In 1 of 1 exposures looked at there is none of these stars" in out) == is_told
