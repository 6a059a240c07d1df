"""Rows follow the files: corrected, moved, renamed, compressed and exchanged raw files."""

import bz2
import gzip
import os
import random
import shutil

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import calibrate_fingerprints, change_description, observed, observed_afresh, take_in, write_chip

from dbpipe.catalog.store import rekey
from dbpipe.survey import Survey


@pytest.fixture
def survey(tmp_path):
    """An empty survey, open for writing."""
    with Survey.init(tmp_path / "s") as opened:
        yield opened


@pytest.fixture
def raw(tmp_path):
    """A folder for raw files."""
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def reasons(survey):
    """Return path -> reason of the files that are not in use."""
    rows = survey.sql("SELECT unit_key, reason FROM unit WHERE stage = 'ingest' AND status <> 'done'").fetchall()
    return {os.path.basename(key.removeprefix("path=")): reason for key, reason in rows}


@pytest.mark.parametrize(
    ("changes", "is_redone"),
    [
        ({"TAI": 59581.25}, True),
        ({"TAI": 59580.25 + 0.3 / 86400}, True),
        ({"EXPTIME": 31.0}, True),
        ({"band": "g"}, True),
        ({"CRVAL1": 53.001}, True),
        ({"AIRMASS": 1.3}, False),
        ({"OBJECT": "a field"}, False),
    ],
)
def test_a_corrected_card_is_followed_and_only_what_depends_on_it_is_redone(survey, raw, tmp_path, changes, is_redone):
    """The rows are those that a new survey would have; calibration is due if it depends on the card."""
    path = write_chip(raw)
    take_in(survey, path)
    before = calibrate_fingerprints(survey)
    write_chip(raw, **changes)
    summary = take_in(survey, path)
    assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, path)
    assert (calibrate_fingerprints(survey) != before) == is_redone
    assert summary.changes == {"read again": 1} and summary.lost == ()
    assert take_in(survey, path).n_unit == 0


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("changes", [{"TAI": 59581.25}, {"band": "g"}, {"EXPTIME": 15.0}])
def test_a_camera_of_several_chips_is_corrected_in_one_go(survey, raw, tmp_path, changes, order):
    """Whatever the order in which its files are read, all images stay and the visit is what they say."""
    names = {detector: f"{order.index(detector)}.fits" for detector in range(3)}
    paths = [write_chip(raw, detector=k, name=name) for k, name in names.items()]
    take_in(survey, *paths)
    for k, name in names.items():
        write_chip(raw, detector=k, name=name, **changes)
    summary = take_in(survey, *paths)
    assert summary.changes == {"read again": 3} and summary.n_failed == 0
    assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, *paths)


def test_one_corrected_chip_of_two_waits_for_the_other(survey, raw, tmp_path):
    """It is refused and names the other file; it comes in unnamed once that was corrected."""
    first, second = (write_chip(raw, detector=k) for k in (0, 1))
    take_in(survey, first, second)
    write_chip(raw, detector=0, TAI=59581.25)
    summary = take_in(survey, first)
    assert reasons(survey) == {first.name: "another file of the visit says another time"}
    assert summary.lost == (f"{first}: another file of the visit says another time",)
    ((numbers,),) = survey.sql("SELECT numbers FROM unit WHERE status = 'failed'").fetchall()
    assert str(second) in numbers and '"difference_s": 86400.0' in numbers and '"n_row_taken_back": 2' in numbers
    assert take_in(survey, first, second).n_unit == 0  # nothing has changed: no news
    write_chip(raw, detector=1, TAI=59581.25)
    summary = take_in(survey, second)
    assert summary.n_failed == 0 and summary.changes == {"read again": 1, "new": 1} and reasons(survey) == {}
    assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, first, second)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('scale = "tai"', 'scale = "utc"'),
        ('2 = "r"', '2 = "r", r = "i"'),
        ('airmass_keyword = "AIRMASS"', 'airmass_keyword = "SECZ"'),
        ("site_longitude_deg = -70.749", "site_longitude_deg = 100.0"),
        ("site_longitude_deg = -70.749", ""),
        ("gain = { value = 1.0", "gain = { value = 1.1"),
        ("read_noise = { value = 5.0", "read_noise = { value = 6.0"),
    ],
)
def test_a_corrected_description_is_followed_by_every_image(survey, raw, tmp_path, old, new):
    """All files of all visits pass in one go and are described by the corrected rules."""
    paths = [write_chip(raw, visit, k, FILTNM=None) for visit in (1, 2) for k in (0, 1)]
    take_in(survey, *paths)
    change_description(survey, old, new)
    if new == "":
        change_description(survey, "site_latitude_deg = -30.244", "")
    summary = take_in(survey, *paths)
    assert summary.n_failed == 0 and summary.changes == {"read again": 4}
    assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, *paths)


def test_a_comment_in_the_description_makes_nothing_due(survey, raw):
    """Every file is read again, and nothing is computed again."""
    path = write_chip(raw)
    take_in(survey, path)
    before = calibrate_fingerprints(survey)
    change_description(survey, 'name = "phosim-eimage"', '# mine\nname = "phosim-eimage"')
    assert take_in(survey, path).changes == {"read again": 1}
    assert calibrate_fingerprints(survey) == before


def compress(path, how):
    """Compress a file, take the old one away and return the new path."""
    if how == "fz":
        from astropy.io import fits

        with fits.open(path) as hdus:
            whole = fits.CompImageHDU(hdus[0].data, hdus[0].header, compression_type="GZIP_2", quantize_level=0.0)
            whole.writeto(f"{path}.fz")
    else:
        packed = {"gz": gzip.compress, "bz2": bz2.compress}[how](path.read_bytes())
        path.with_name(f"{path.name}.{how}").write_bytes(packed)
    path.unlink()
    return path.with_name(f"{path.name}.{how}")


@pytest.mark.parametrize("how", ["folder", "name", "gz", "bz2", "fz", "link"])
def test_a_moved_or_packed_file_is_known_by_what_it_holds(survey, raw, tmp_path, how):
    """The path is updated, and nothing is computed again."""
    path = write_chip(raw)
    take_in(survey, path)
    before = calibrate_fingerprints(survey)
    if how == "folder":
        path = path.rename((tmp_path / "archive").mkdir() or tmp_path / "archive" / path.name)
    elif how == "name":
        path = path.rename(raw / "other.fits")
    elif how == "link":
        shutil.move(raw, tmp_path / "archive")
        os.symlink(tmp_path / "archive", raw)
    else:
        path = compress(path, how)
    summary = take_in(survey, tmp_path / "archive" / path.name if how == "link" else path)
    assert summary.changes == {"moved": 1} and summary.lost == ()
    assert calibrate_fingerprints(survey) == before
    assert [row[:2] for row in observed(survey)["raw"]] == [
        (1234, survey.sql("SELECT detector FROM raw").fetchall()[0][0])
    ]
    assert survey.sql("SELECT count(*) FROM unit WHERE stage = 'ingest'").fetchall() == [(1,)]
    fresh_path = tmp_path / "archive" / path.name if how == "link" else path
    assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, fresh_path)


def test_a_copy_is_left_out_until_the_first_file_is_gone(survey, raw):
    """While both are there the second is the same image as the first; it takes its place when that is deleted."""
    first = write_chip(raw)
    second = raw / "copy.fits"
    shutil.copy(first, second)
    take_in(survey, first)
    summary = take_in(survey, second)
    assert summary.n_failed == 0 and summary.reasons == {"skipped: same image as another file": 1}
    assert take_in(survey, first, second).n_unit == 0
    first.unlink()
    assert take_in(survey).changes == {"moved": 1}
    assert survey.sql("SELECT path FROM raw").fetchall() == [(str(second),)]


def test_a_refused_file_that_was_removed_is_forgotten(survey, raw):
    """It is not told for ever; one that was not removed is, and so is one that is asked for all the same."""
    good, bad, worse = write_chip(raw), raw / "lsst_e_7_f2_R22_S11_E000.fits", raw / "lsst_e_8_f2_R22_S11_E000.fits"
    bad.write_bytes(b"no image")
    worse.write_bytes(b"no image either")
    take_in(survey, good, bad, worse)
    assert reasons(survey).keys() == {bad.name, worse.name}
    bad.unlink()
    take_in(survey, good)
    assert reasons(survey).keys() == {worse.name}
    worse.unlink()
    good.unlink()
    take_in(survey, worse)
    assert reasons(survey).keys() == {worse.name} and survey.count("raw") == 1


def test_paths_through_links_are_one_file(survey, raw, tmp_path):
    """A folder that is reached by a link, or by a relative path, holds the same files."""
    from dbpipe.survey.discover import find_raw_files

    path = write_chip(raw)
    os.symlink(raw, tmp_path / "link")
    names = [raw, tmp_path / "link", os.path.relpath(raw), tmp_path / "link" / path.name, raw / ".." / "raw"]
    assert find_raw_files(names)[0] == [str(path)]


@pytest.mark.parametrize("named_first", ["old", "new"])
def test_a_path_that_is_used_again_for_another_exposure(survey, raw, tmp_path, named_first):
    """The old image, moved elsewhere, keeps what was made from it; the new one comes in; in any order of naming."""
    path = write_chip(raw, 1, name="b.fits")
    take_in(survey, path)
    before = calibrate_fingerprints(survey)
    moved = raw / ("a.fits" if named_first == "old" else "z.fits")
    path.rename(moved)
    write_chip(raw, 2, name="b.fits")
    take_in(survey, moved if named_first == "old" else path)
    take_in(survey, path if named_first == "old" else moved)
    assert before.items() <= calibrate_fingerprints(survey).items()
    assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, path, moved)


def test_two_files_that_changed_places(survey, raw, tmp_path):
    """Both images are still in use, each under its new path, and nothing is due."""
    first, second = write_chip(raw, 1), write_chip(raw, 2)
    take_in(survey, first, second)
    before = calibrate_fingerprints(survey)
    first.rename(raw / "x")
    second.rename(first)
    (raw / "x").rename(second)
    summary = take_in(survey, first, second)
    assert summary.n_failed == 0 and summary.changes == {"moved": 2}
    assert calibrate_fingerprints(survey) == before
    assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, first, second)


def test_an_image_whose_file_is_gone_is_not_replaced_by_another_exposure(survey, raw):
    """A camera that counts anew does not push out an image whose disk is away; a correction of the image comes in."""
    path = write_chip(raw)
    take_in(survey, path)
    path.unlink()
    other = write_chip(raw, name="other.fits", TAI=59600.0, CRVAL1=53.1)
    assert take_in(survey, other).lost == ()
    assert "not there any more, of another exposure" in reasons(survey)["other.fits"]
    corrected = write_chip(raw, name="corrected.fits", CRVAL1=53.1)
    assert take_in(survey, corrected).changes == {"moved": 1}


def test_a_corrected_visit_number_moves_the_image(survey, raw, tmp_path):
    """The image belongs to the other visit now; the visit it came from has no image, and is no trouble."""
    path = write_chip(raw, 1, name="a.fits")
    take_in(survey, path)
    write_chip(raw, 2, name="a.fits")
    take_in(survey, path)
    assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, path)
    assert [finding.name for finding in survey.check() if finding.n_row] == []


def test_a_file_that_was_in_use_and_is_refused_is_named(survey, raw):
    """What is lost is said with its reason, and on record with the number of rows that went."""
    path = write_chip(raw)
    take_in(survey, path)
    write_chip(raw, CTYPE1=None)
    (line,) = take_in(survey, path).lost
    assert line == f"{path}: header has no WCS"
    assert survey.sql("SELECT numbers ->> 'n_row_taken_back' FROM unit").fetchall() == [("2",)]


def test_a_changed_band_that_is_cut_short_leaves_nothing_out(survey, raw, tmp_path, monkeypatch):
    """If the process dies between setting aside and putting back, the next one to open the survey finds all rows."""
    path = write_chip(raw)
    take_in(survey, path)
    before = observed(survey)

    def die(*_):
        raise KeyboardInterrupt

    write_chip(raw, band="g")
    with monkeypatch.context() as patch:
        patch.setattr(rekey, "restore", lambda _: None)
        patch.setattr("dbpipe.catalog.work.units.put_back", die)
        with pytest.raises(KeyboardInterrupt):
            take_in(survey, path)
    assert observed(survey)["raw"] == [] and rekey.is_interrupted(survey.connection)
    survey.close()
    with Survey.open(survey.root, read_only=False) as again:
        assert observed(again) == before
        take_in(again, path)
        assert observed(again) == observed_afresh(tmp_path / "fresh", again, path)


def test_nothing_refers_to_a_visit_from_where_it_cannot_be_set_aside(survey):
    """Every table with a foreign key to visit is one that a change of band sets aside."""
    known = set(rekey._children(survey.connection, "visit"))
    rows = survey.sql("SELECT table_name FROM duckdb_columns() WHERE column_name = 'visit' AND schema_name = 'main'")
    with_visit = {name for (name,) in rows.fetchall()} - {"visit"}
    for name in with_visit - known:
        survey.connection.execute(f"SELECT * FROM {name} LIMIT 0")
    with pytest.raises(duckdb.ConstraintException):
        survey.connection.execute("INSERT INTO raw_content VALUES ('x', 99, 0, NULL, 'x')")
    assert {"raw", "raw_content", "dia_source", "template_input", "diffim_input", "visit_zenith"} <= known


FACTS = {"TAI": (59580.25, 59581.25), "EXPTIME": (30.0, 15.0), "band": ("r", "g"), "AIRMASS": (1.2, 1.4)}


class Sky:
    """A folder of raw files: visits of two chips each, whose files are corrected, moved, packed and exchanged."""

    def __init__(self, folder):
        self.folder = folder
        self.facts = {visit: {name: values[0] for name, values in FACTS.items()} for visit in (1, 2)}
        self.names = {(visit, k): f"{visit}_{k}.fits" for visit in (1, 2) for k in (0, 1)}
        for image in self.names:
            self.write(image)

    def write(self, image):
        write_chip(self.folder, *image, name=self.names[image], **self.facts[image[0]])

    def correct(self, dice):
        visit, name = dice.choice((1, 2)), dice.choice(sorted(FACTS))
        self.facts[visit][name] = dice.choice(FACTS[name])
        self.write((visit, 0))
        self.write((visit, 1))

    def move(self, dice):
        image = dice.choice(sorted(self.names))
        old = self.folder / self.names[image]
        self.names[image] = f"{dice.randrange(10**6):06d}.fits" + dice.choice(("", ".gz"))
        old.unlink()
        self.write(image)

    def exchange(self, dice):
        one, two = dice.sample(sorted(self.names), 2)
        self.names[one], self.names[two] = self.names[two], self.names[one]
        self.write(one)
        self.write(two)

    def touch(self, dice):
        os.utime(self.folder / dice.choice(sorted(self.names.values())), (1e9, dice.randrange(10**9)))


@pytest.mark.slow
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32))
def test_any_history_of_the_files_gives_what_a_new_survey_would_have(tmp_path_factory, seed):
    """After corrections, moves, compressions and exchanges, in any order, no image is lost and every row is right."""
    dice, tmp_path = random.Random(seed), tmp_path_factory.mktemp("history")
    (tmp_path / "raw").mkdir()
    sky = Sky(tmp_path / "raw")
    with Survey.init(tmp_path / "s") as survey:
        take_in(survey, *sky.folder.iterdir())
        for _ in range(3):
            for _ in range(dice.randint(1, 4)):
                dice.choice((sky.correct, sky.move, sky.exchange, sky.touch))(dice)
            summary = take_in(survey, *sky.folder.iterdir())
            assert summary.lost == () and reasons(survey) == {}
        assert observed(survey) == observed_afresh(tmp_path / "fresh", survey, *sky.folder.iterdir())
        assert take_in(survey, *sky.folder.iterdir()).n_unit == 0
