"""A survey whose raw files were corrected, moved and packed is the one that a new survey would be."""

import gzip
import shutil

import pytest
import small_survey
from astropy.io import fits

from dbpipe.survey import Survey

NOT_COMPARED = ("main.unit", "main.file", "main.schema_migration")
"""How it came about: fingerprints, and hashes of files whose names hold them."""


@pytest.fixture
def sky(small_sky, tmp_path):
    """A copy of the small sky, to change."""
    shutil.copytree(small_sky, tmp_path / "sky")
    return tmp_path / "sky"


def run(sky, root):
    """Ingest and run and return the summaries by stage."""
    return {summary.stage: summary for summary in small_survey.process(sky, root, n_worker=2)}


def rows(root):
    """Return the rows of every table, without the names of files."""
    found = small_survey.content(root)
    return {name: table for name, table in found.items() if name not in NOT_COMPARED}


def correct(path, **cards):
    """Change cards of a raw file."""
    with fits.open(path) as hdus:
        content, header = hdus[0].data, hdus[0].header
        header.update(cards)
        fits.writeto(path, content, header, overwrite=True)


def frames(sky, number):
    """Return the raw files of a filter number."""
    return sorted(path for path in (sky / "raw").iterdir() if f"_f{number}_" in path.name)


def check_is_as_new(sky, root, tmp_path):
    """Compare every table with those of a survey made from the files as they are now, and ask the rules."""
    run(sky, tmp_path / "fresh")
    assert small_survey.differing(rows(root), rows(tmp_path / "fresh")) == []
    with Survey.open(root) as survey:
        assert [(f.name, f.example) for f in survey.check() if f.n_row] == []


@pytest.mark.slow
def test_corrected_times_and_airmasses(sky, tmp_path):
    """After other nights and airmasses all tables are as new; what does not depend on them is not done again."""
    run(sky, tmp_path / "s")
    (first, *_, last) = frames(sky, 2)
    with fits.open(first) as hdus:
        day = hdus[0].header["TAI"]
    correct(first, AIRMASS=1.9)
    correct(last, TAI=day + 40.25, **{"MJD-OBS": day + 40.25})
    summaries = run(sky, tmp_path / "s")
    assert summaries["ingest"].changes == {"read again": 2} and summaries["calibrate"].n_unit == 1
    check_is_as_new(sky, tmp_path / "s", tmp_path)


@pytest.mark.slow
def test_moved_and_packed_files_cost_nothing(sky, tmp_path):
    """After the folder was moved and its files unpacked a run has nothing to do but to note the paths."""
    run(sky, tmp_path / "s")
    (sky / "raw").rename(sky / "archive")
    for path in (sky / "archive").iterdir():
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    (sky / "archive").rename(sky / "raw")
    summaries = run(sky, tmp_path / "s")
    assert summaries.pop("ingest").changes == {"moved": 8}
    assert {name: summary.n_unit for name, summary in summaries.items() if summary.n_unit} == {}
