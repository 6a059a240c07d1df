"""The ingest stage and its queries."""

import hashlib
import re
import shutil
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import SkyCoord
from make_fits import sky_image, write_eimage

from dbpipe.catalog.views import apply_views
from dbpipe.catalog.work.request import seeing_files
from dbpipe.errors import DataError
from dbpipe.io.raw.image import read_raw
from dbpipe.io.raw.instrument import load_instrument
from dbpipe.stages.contracts.ingest import INGEST, IngestConfig
from dbpipe.stages.ingest import ingest, measure_footprint

ROOT = Path(__file__).resolve().parents[2]


def query(name):
    """Return a named query of the stage."""
    parts = re.split(r"^-- name: (\w+)\n", (ROOT / "sql/stages/ingest.sql").read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[name]


@pytest.fixture
def survey(tmp_path, monkeypatch):
    """A survey directory with its instrument description, as the worker's directory."""
    shutil.copy(ROOT / "dbpipe/instruments/phosim-eimage.toml", tmp_path / "instrument.toml")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(path, **config):
    """Run the stage on one file."""
    unit = {"path": str(path), "size_byte": 1, "mtime_ns": 1, "instrument_sha256": "0" * 64}
    unit |= {"known_file": None, "known_made_from": None}
    return ingest(unit, {}, IngestConfig(**config))


@pytest.fixture
def catalog():
    """An empty catalog, of which no file was asked for."""
    connection = duckdb.connect()
    for path in sorted((ROOT / "migrations").glob("*.sql")):
        connection.execute(path.read_text())
    apply_views(connection)
    connection.execute("CREATE TEMP TABLE offered (unit_key VARCHAR, fingerprint VARCHAR)")
    with seeing_files(connection):
        yield connection
    connection.close()


def offer(connection, rows):
    """Show rows of a unit to the queries ``skip`` and ``refuse``, as the runner does, and return their verdicts."""
    for table in ("raw", "raw_content", "visit"):
        connection.register(f"rows_{table}", pa.Table.from_pylist(rows[table]))
        connection.execute(f"CREATE OR REPLACE TEMP TABLE new_{table} AS SELECT * FROM rows_{table}")
    connection.execute(query("look"), {"path": rows["raw"][0]["path"]})
    return connection.execute(query("skip")).fetchall() + connection.execute(query("refuse")).fetchall()


def insert(connection, rows):
    """Put the rows of a unit into the catalog."""
    for table in ("band", "visit", "detector", "raw", "raw_content"):
        known = "ON CONFLICT DO NOTHING" if table in INGEST.inserts else ""
        connection.register("inserted", pa.Table.from_pylist(rows[table]))
        connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM inserted {known}")


def test_good_file_becomes_rows_of_the_schema(survey, catalog):
    """One file gives its band, visit, detector and raw row, and the catalog takes them."""
    path = write_eimage(survey)
    outputs = run(path)
    assert set(outputs.rows) == {*INGEST.writes, *INGEST.inserts}
    insert(catalog, outputs.rows)
    raw = catalog.execute("SELECT * FROM raw").df().iloc[0]
    assert raw.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (raw.visit, raw.detector, raw.nx, raw.ny, raw.n_bad_pix) == (1234, 94, 64, 48, 0)
    assert raw.sky_e == np.median(sky_image())
    assert catalog.execute("SELECT count(*) FROM visit JOIN band USING (band)").fetchone() == (1,)
    assert outputs.n_pix == 64 * 48


def test_same_file_gives_the_same_rows(survey):
    """Ingest is a function of the file."""
    path = write_eimage(survey)
    assert run(path).rows == run(path).rows


def test_footprint_agrees_with_astropy(survey):
    """Center, radius and scale are those that astropy's coordinates give, also across RA 0."""
    for ra, dec in ((53.0, -27.4), (0.0, 60.0), (120.0, 89.99)):
        wcs = read_raw(write_eimage(survey, CRVAL1=ra, CRVAL2=dec), load_instrument("phosim-eimage")).wcs
        found = measure_footprint(wcs, (48, 64))
        center, corner = wcs.pixel_to_world(31.5, 23.5), wcs.pixel_to_world([-0.5, 63.5], [-0.5, 47.5])
        assert SkyCoord(found["ra"], found["dec"], unit="deg").separation(center).arcsec < 1e-6
        assert found["radius_deg"] == pytest.approx(corner.separation(center).deg.max(), rel=1e-6)
        assert found["pixel_scale_arcsec"] == pytest.approx(5.5e-5 * 3600, rel=1e-6)


def test_nan_block_below_the_limit_is_counted(survey):
    """A dead amplifier is no reason to lose an image; its pixels are on record."""
    image = sky_image()
    image[:10, :20] = np.nan
    assert run(write_eimage(survey, image=image)).rows["raw"][0]["n_bad_pix"] == 200


@pytest.mark.parametrize(
    ("change", "message", "numbers"),
    [
        (lambda image: image * 0, "all pixels have the same value", {"value_e": 0.0}),
        (lambda image: image * 0 + 7, "all pixels have the same value", {"value_e": 7.0}),
        (lambda image: np.where(np.arange(64) < 40, np.nan, image), "too many bad pixels", {"limit": 0.5}),
    ],
)
def test_pixels_that_are_no_sky_are_refused(survey, change, message, numbers):
    """Zero, constant and mostly dead images get a verdict with the numbers behind it."""
    with pytest.raises(DataError, match=message) as caught:
        run(write_eimage(survey, image=change(sky_image()).astype(np.float32)))
    assert numbers.items() <= caught.value.numbers.items()


def test_limit_of_bad_pixels_is_a_setting(survey):
    """The same image passes with a wider limit."""
    image = np.where(np.arange(64) < 40, np.nan, sky_image()).astype(np.float32)
    assert run(write_eimage(survey, image=image), max_bad_fraction=0.7).rows["raw"][0]["n_bad_pix"] == 40 * 48


def test_text_file_is_refused(survey):
    """A note among the images gets its own verdict."""
    (survey / "note.fits").write_text("not an image")
    with pytest.raises(DataError, match="not readable FITS"):
        run(survey / "note.fits")


def test_work_is_what_was_asked_for(catalog):
    """One unit per file, in the order of the paths; the description's hash is part of the unit."""
    catalog.execute("CREATE TEMP TABLE ingest_request (path VARCHAR, size_byte BIGINT, mtime_ns BIGINT)")
    catalog.execute("INSERT INTO ingest_request VALUES ('/b', 2, 20), ('/a', 1, 10)")
    rows = catalog.execute(query("work"), {"instrument_sha256": "abc"}).fetchall()
    assert rows == [("/a", 1, 10, "abc", None, None), ("/b", 2, 20, "abc", None, None)]


def test_second_file_of_an_image_is_refused(survey, catalog):
    """A copy and another exposure with the same id are refused; the verdict names the file that has the place."""
    first = write_eimage(survey)
    rows = run(first).rows
    assert offer(catalog, rows) == []
    insert(catalog, rows)
    assert offer(catalog, rows) == []  # the same path again is an update
    copy = shutil.copy(first, survey / "copy.fits")
    (reason, numbers), _ = offer(catalog, run(copy).rows)
    assert reason == "same image as another file" and numbers == f'{{"other_path":"{first}"}}'
    other = write_eimage(survey, name="other.fits", image=sky_image(seed=2))
    ((reason, numbers),) = offer(catalog, run(other).rows)
    assert reason == "visit and detector are in use by another file"
    assert f'"other_path":"{first}"' in numbers and '"same_pixels":false' in numbers


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"FILTER": "g", "FILTNM": 1}, "another file of the visit says another band"),
        ({"TAI": 59581.25}, "another file of the visit says another time"),
        ({"EXPTIME": 15.0}, "another file of the visit says another time"),
    ],
)
def test_other_detector_must_agree_on_the_visit(survey, catalog, changes, reason):
    """All sensors of a visit were exposed at one time through one filter."""
    insert(catalog, run(write_eimage(survey)).rows)
    same = run(write_eimage(survey, name="same.fits", CHIPID="R22_S12", image=sky_image(seed=3))).rows
    assert offer(catalog, same) == []
    other = run(write_eimage(survey, name="b.fits", CHIPID="R22_S12", image=sky_image(seed=3), **changes)).rows
    assert [verdict[0] for verdict in offer(catalog, other)] == [reason]


def test_same_bytes_are_not_two_visits(survey, catalog):
    """Where the visit id comes from the file name, a renamed copy does not become a second epoch."""
    rows = run(write_eimage(survey)).rows
    insert(catalog, rows)
    renamed = {name: [rows[name][0] | {"visit": 99, "path": "/copy"}] for name in ("raw", "raw_content")}
    renamed["visit"] = [rows["visit"][0] | {"visit": 99}]
    assert [verdict[0] for verdict in offer(catalog, renamed)] == ["the same bytes are in use as another image"]
