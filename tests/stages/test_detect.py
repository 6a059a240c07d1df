"""The detect stage, on a small difference image that is made here."""

from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from point_sources import add_source, flux_of_snr, gaussian_psf, noise_image

from dbpipe.catalog.sql.queries import directory, load_named
from dbpipe.ids import unpack_source_id
from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.difference.score_image import score_image
from dbpipe.imaging.mask import BAD, COSMIC_RAY, NEAR_SATURATED, NO_DATA, REJECTED, STREAK
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.sky.healpix import hpx29
from dbpipe.sky.wcs import pixel_to_sky, tan_wcs
from dbpipe.stages import detect as stage

FWHM, SIGMA, SHAPE = 4.0, 10.0, (300, 400)
UNIT = {
    "visit": 123456,
    "detector": 7,
    "band": "r",
    "template_id": 5,
    "midpoint_mjd_tai": 61000.25,
    "path": "files/diffim/d.fits",
    "njy_per_e": 3.0,
    "science_noise_e": 9.0,
    "template_noise_e": 3.0,
    "diff_noise_e": 10.0,
    "shift_pix": None,
}
STARS = pa.table({"x": [200.0], "y": [200.0], "flux": [3e6]})
"""The bright star [nJy]."""


def flux(snr):
    return flux_of_snr(snr, SIGMA, FWHM)


@pytest.fixture
def scene(monkeypatch):
    """A difference with five sources of its own, a bright star and a masked strip, and a run of the stage."""
    difference, variance, mask = noise_image(np.random.default_rng(1), SHAPE, SIGMA)
    template = np.zeros(SHAPE, np.float32)
    sources = [(60.3, 50.2, 30), (200.7, 60.4, -20), (300.1, 80.9, 100), (100.5, 200.5, 12), (340.2, 210.3, 9)]
    for x, y, snr in sources:
        add_source(difference, x, y, flux(snr), FWHM)
    add_source(template, 200, 200, 1e6, FWHM)
    science = template + difference
    add_source(difference, 200.0, 200.0, 5e3, FWHM)
    mask[:30, :] = NO_DATA
    psf = gaussian_psf(31, FWHM)
    field = KernelField(psf[None, None].astype(np.float32), 10**6)
    image = SimpleNamespace(
        difference=difference,
        variance=variance,
        mask=mask,
        science=science,
        template=template,
        psf_field=field,
        score=score_image(difference, variance, mask != 0, field).score,
        science_psf=PsfModel(psf[None], SHAPE, 0),
        wcs=tan_wcs(0.001, -40.0, crpix=(200, 150), cd=np.array([[0.0, 5e-5], [5e-5, 0.0]])),
        njy_per_e=3.0,
        metadata={},
    )
    monkeypatch.setattr(stage, "read_difference", lambda path: image)
    return image, sources, lambda: stage.detect(UNIT, {"stars": STARS}, stage.DetectConfig()).rows["dia_source"]


def at(rows, x, y):
    distance = np.hypot(np.asarray(rows["x"]) - x, np.asarray(rows["y"]) - y)
    assert distance.min() < 1.5
    return int(distance.argmin())


def test_sources_have_their_flux_and_place(scene):
    """Every source is one row with its flux in nJy, its place on the sky and no flag."""
    image, sources, run = scene
    rows = run()
    assert {len(column) for column in rows.values()} == {len(rows["x"])}
    for x, y, snr in sources:
        k = at(rows, x, y)
        assert abs(rows["psf_flux_njy"][k] - 3.0 * flux(snr)) < 4 * rows["psf_flux_err_njy"][k]
        assert abs(rows["aperture_flux_njy"][k] - 3.0 * flux(snr)) < 4 * rows["aperture_flux_err_njy"][k]
        assert abs(rows["science_flux_njy"][k] - 3.0 * flux(snr)) < 5 * rows["science_flux_err_njy"][k]
        assert rows["is_negative"][k] == (snr < 0)
        assert rows["snr"][k] == pytest.approx(abs(snr), abs=4)
        assert not any(rows[name][k] for name in rows if name.startswith("flag_"))
        ra, dec = pixel_to_sky(image.wcs, x, y)
        dra = (rows["ra"][k] - ra + 180) % 360 - 180
        assert abs(dra * np.cos(np.radians(dec))) < 4 * rows["ra_err"][k]
        assert abs(rows["dec"][k] - dec) < 4 * rows["dec_err"][k]
    near = np.sum(np.abs(rows["score"]) > 5)
    assert near == len(sources) + 1  # and the bright star's residual


def test_errors_follow_the_pixel_axes(scene):
    """On a WCS that swaps the axes, the error of dec is that of x; ids and HEALPix indices name the row."""
    _, _, run = scene
    rows = run()
    np.testing.assert_allclose(rows["dec_err"], np.array(rows["x_err"]) * 5e-5, rtol=1e-3)
    np.testing.assert_allclose(rows["ra_err"], np.array(rows["y_err"]) * 5e-5, rtol=1e-3)
    assert [unpack_source_id(i) for i in rows["dia_source_id"]] == [(123456, 7, k) for k in range(len(rows["x"]))]
    np.testing.assert_array_equal(rows["hpx29"], hpx29(rows["ra"], rows["dec"]))
    assert np.all(np.diff(np.abs(rows["score"])) <= 0)


def test_a_long_trail_is_one_clean_row(scene):
    """A trail of four FWHM, which makes several peaks, is one row at its midpoint with its own flux and no defect."""
    image, _, run = scene
    for t in np.linspace(-8, 8, 41):
        add_source(image.difference, 200.0 + 0.8 * t, 150.0 + 0.6 * t, flux(60) / 41, FWHM)
    psf_field = image.psf_field
    image.score = score_image(image.difference, image.variance, image.mask != 0, psf_field).score
    rows = run()
    near = np.flatnonzero(np.hypot(np.asarray(rows["x"]) - 200, np.asarray(rows["y"]) - 150) < 15)
    assert len(near) == 1
    (k,) = near
    assert rows["flag_trail"][k] is True
    assert [name for name in rows if name.startswith("flag_") and rows[name][k]] == ["flag_trail"]
    assert rows["x"][k] == pytest.approx(200, abs=4 * rows["x_err"][k])
    assert rows["trail_angle_deg"][k] == pytest.approx(36.87, abs=2.0)
    assert rows["trail_length_arcsec"][k] == pytest.approx(16.4 * 0.18, abs=4 * rows["trail_length_err_arcsec"][k])
    assert rows["trail_flux_njy"][k] == pytest.approx(3 * flux(60), abs=4 * rows["trail_flux_err_njy"][k])
    assert rows["flag_trail"][at(rows, 100.5, 200.5)] is None


def test_residual_of_a_bright_star_is_flagged(scene):
    """Half a percent of a bright star left behind is a row with its flag, and the star is in both images beneath."""
    _, _, run = scene
    rows = run()
    k = at(rows, 200, 200)
    assert rows["flag_bright_star"][k]
    assert rows["template_flux_njy"][k] == pytest.approx(3e6, rel=0.01)
    assert rows["ixx_arcsec2"][k] == pytest.approx(((4 / 2.3548) ** 2 + 1 / 12) * 0.18**2, rel=0.05)


@pytest.mark.parametrize(
    ("bit", "flag"),
    [
        (BAD, "flag_bad"),
        (NEAR_SATURATED, "flag_near_saturated"),
        (COSMIC_RAY, "flag_cosmic_ray"),
        (STREAK, "flag_streak"),
        (REJECTED, "flag_template_rejected"),
        (NO_DATA, "flag_no_template"),
    ],
)
def test_masks_become_flags(scene, bit, flag):
    """A mask bit beside the center sets the flag of its kind, on that source alone."""
    image, _, run = scene
    image.mask[81, 301] = bit
    rows = run()
    set_here = [k for k in range(len(rows["x"])) if rows[flag][k] and rows["is_primary"][k]]
    assert set_here == [at(rows, 300.1, 80.9)]


def test_no_source_is_no_row(scene):
    """An image without a peak gives empty columns."""
    image, _, run = scene
    image.score[:] = 0
    assert all(len(column) == 0 for column in run().values())


@pytest.fixture
def database():
    """An empty database with the schema."""
    with duckdb.connect() as connection:
        for path in sorted(directory("migrations").glob("*.sql")):
            connection.execute(path.read_text())
        yield connection


def test_columns_are_those_of_the_schema(scene, database):
    """The rows have exactly the columns of dia_source."""
    expected = [row[0] for row in database.execute("DESCRIBE dia_source").fetchall()]
    assert sorted(scene[2]()) == sorted(expected)


def test_work_is_one_row_per_difference_image(database):
    """A difference image gives one unit, with every number that the stage asks for."""
    database.execute("INSERT INTO band VALUES ('r')")
    database.execute("INSERT INTO detector VALUES (7, 'a')")
    database.execute("INSERT INTO visit VALUES (123456, 'r', 'x', 61000.25, 30, NULL, 20260101)")
    for table in ("diffim", "calexp"):
        columns = database.execute(f"DESCRIBE {table}").fetchall()
        row = {name: [0.0] * 4 if kind.endswith("[4]") else 0 for name, kind, *_ in columns}
        row |= {name: value for name, value in UNIT.items() if name in row}
        names, holes = ", ".join(row), ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({names}) VALUES ({holes})", list(row.values()))
    (work,) = database.sql(load_named("stages", "detect")["work"]).to_arrow_table().to_pylist()
    assert UNIT.items() <= work.items()
