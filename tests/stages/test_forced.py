"""The forced stage, on a small difference image that is made here."""

from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from pair import blank_pixels, make_pair, subtract_pair
from point_sources import add_source, flux_of_snr, gaussian_psf, grid_positions, noise_image

from dbpipe.catalog.sql.queries import directory, fetch_table, load_named
from dbpipe.catalog.store.arrow import to_table
from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.mask import BAD, NO_DATA, SATURATED
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.sky.healpix import hpx29, place_centers, place_pixels
from dbpipe.sky.sphere import separation_deg
from dbpipe.sky.wcs import pixel_to_sky, sky_to_pixel, tan_wcs
from dbpipe.stages import forced as stage

FWHM, SIGMA, SHAPE = 4.0, 10.0, (300, 400)
UNIT = {
    "visit": 123456,
    "detector": 7,
    "band": "r",
    "midpoint_mjd_tai": 61000.25,
    "path": "files/diffim/d.fits",
    "sha256": "d1",
    "calexp_sha256": "c1",
    "njy_per_e": 3.0,
    "science_noise_e": 9.0,
    "template_noise_e": 4.0,
    "diff_noise_e": 10.0,
}
WCS = tan_wcs(0.001, -40.0, crpix=(200, 150), cd=np.array([[0.0, 5e-5], [5e-5, 0.0]]))
"""The image lies across RA 0."""


def objects(x, y, first_id=1):
    """Objects whose mean position is at these pixels."""
    ra, dec = pixel_to_sky(WCS, np.asarray(x, float), np.asarray(y, float))
    return pa.table({"dia_object_id": np.arange(first_id, first_id + len(x)), "hpx29": hpx29(ra, dec)})


def known_rows(made):
    """What the query gives back of the rows of a unit."""
    rows = to_table(made.rows["dia_forced_source"])
    rows = rows.drop_columns(["visit", "detector", "band", "midpoint_mjd_tai", "ra", "dec"])
    used = made.rows["forced_image"][0]["measured_with"]
    return rows.append_column("measured_with", pa.array([used] * len(rows), pa.string()))


@pytest.fixture
def scene(monkeypatch, database):
    """A difference image, and a run of the stage on objects and what is known of them."""
    rng = np.random.default_rng(1)
    difference, variance, mask = noise_image(rng, SHAPE, SIGMA)
    template = rng.normal(0, 4.0, SHAPE).astype(np.float32)
    psf = gaussian_psf(31, FWHM)
    image = SimpleNamespace(
        difference=difference,
        variance=variance,
        mask=mask,
        science=template + difference,
        template=template,
        psf_field=KernelField(psf[None, None].astype(np.float32), 10**6),
        science_psf=PsfModel(psf[None], SHAPE, 0),
        wcs=WCS,
    )
    read = []
    monkeypatch.setattr(stage, "read_difference", lambda path: read.append(path) or image)
    query = load_named("stages", "forced")["known"]
    nothing = fetch_table(database, query, {"visit": 0, "detector": 0})

    def run(wanted, known=nothing, config=None):
        return stage.forced(UNIT, {"objects": wanted, "known": known}, config or stage.ForcedConfig())

    return SimpleNamespace(image=image, run=run, read=read, nothing=nothing)


@pytest.fixture(scope="module")
def database():
    with duckdb.connect(":memory:") as connection:
        for path in sorted(directory("migrations").glob("*.sql")):
            connection.execute(path.read_text())
        yield connection


def test_every_object_has_its_flux_detected_or_not(scene):
    """Bright, faint and absent: each is a row in nJy with its error, on difference, science image and template."""
    flux = flux_of_snr(1.0, SIGMA, FWHM)
    x, y, snr = np.array([60.3, 200.7, 320.0]), np.array([50.2, 160.4, 90.5]), np.array([50.0, -3.0, 0.0])
    for u, v, s in zip(x, y, snr, strict=True):
        for plane in (scene.image.difference, scene.image.science):
            add_source(plane, u, v, s * flux, FWHM)
    for plane in (scene.image.template, scene.image.science):
        add_source(plane, 60.3, 50.2, 1e4, FWHM)
    rows = scene.run(objects(x, y)).rows["dia_forced_source"]
    assert rows["dia_object_id"].tolist() == [1, 2, 3]
    assert np.all(np.abs(rows["psf_flux_njy"] - 3 * snr * flux) < 4 * rows["psf_flux_err_njy"])
    np.testing.assert_allclose(rows["psf_flux_err_njy"], 3 * flux, rtol=0.01)
    assert abs(rows["template_flux_njy"][0] - 3e4) < 4 * rows["template_flux_err_njy"][0]
    total = rows["psf_flux_njy"] + rows["template_flux_njy"]
    np.testing.assert_allclose(rows["science_flux_njy"], total, atol=30.0)
    assert not any(rows[name].any() for name in rows if name.startswith("flag_"))


def test_columns_are_those_of_the_schema(scene, database):
    """The rows have exactly the columns of their tables."""
    made = scene.run(objects([60.0], [50.0])).rows
    for table in ("dia_forced_source", "forced_image"):
        columns = to_table(made[table]).column_names
        assert sorted(columns) == sorted(row[0] for row in database.execute(f"DESCRIBE {table}").fetchall())


def test_the_place_is_steady(scene):
    """It is within 0.02 arcsec of the object, and a mean position that moves by a milli-arcsecond leaves it."""
    rng = np.random.default_rng(2)
    ra, dec = pixel_to_sky(WCS, *rng.uniform(20, 280, (2, 200)))
    pixel = place_pixels(hpx29(ra, dec))
    center_ra, center_dec = place_centers(pixel)
    assert np.max(separation_deg(ra, dec, center_ra, center_dec)) * 3600 < 0.0225
    assert np.array_equal(place_pixels(hpx29(center_ra, center_dec)), pixel)
    nearby = separation_deg(ra, dec, center_ra, center_dec) * 3600 < 0.008
    assert nearby.any()
    moved = place_pixels(hpx29(ra, dec + 0.001 / 3600))
    assert np.array_equal(moved[nearby], pixel[nearby])


def test_no_row_where_there_is_no_data(scene):
    """Beside the image, and where template or exposure has no data, there is no row; on a bad pixel there is."""
    scene.image.mask[:40] = NO_DATA
    scene.image.mask[95:106, 95:106] = BAD
    scene.image.mask[180:220, 180:220] = SATURATED
    rows = scene.run(objects([100, 100, 200, 401, -3], [20, 100, 200, 100, 100])).rows
    columns = rows["dia_forced_source"]
    assert columns["dia_object_id"].tolist() == [2, 3]
    assert columns["flag_bad"].tolist() == [True, False] and columns["flag_saturated"].tolist() == [False, True]
    assert np.isfinite(columns["psf_flux_njy"][0]) and np.isnan(columns["psf_flux_njy"][1])
    assert rows["forced_image"][0]["n_object"] == 2


def test_close_objects_do_not_share_their_light(scene):
    """A source of S/N 50 gives none of its flux to an object a PSF away, which is fitted with it."""
    flux = flux_of_snr(50.0, SIGMA, FWHM)
    x, y = sky_to_pixel(WCS, *place_centers(place_pixels(objects([100.0], [100.0])["hpx29"].to_numpy())))
    add_source(scene.image.difference, x[0], y[0], flux, FWHM)
    rows = scene.run(objects([100.0, 104.0, 250.0], [100.0, 100.0, 100.0])).rows["dia_forced_source"]
    assert rows["n_blend"].tolist() == [2, 2, 1]
    pull = (rows["psf_flux_njy"] - [3 * flux, 0, 0]) / rows["psf_flux_err_njy"]
    assert np.all(np.abs(pull) < 4)


def test_two_objects_at_one_place_have_one_flux(scene):
    """Objects within one pixel of order 23 are both there, with the same numbers."""
    both = objects([60.0, 60.0], [50.0, 50.0])
    rows = scene.run(both).rows["dia_forced_source"]
    assert rows["dia_object_id"].tolist() == [1, 2]
    assert rows["psf_flux_njy"][0] == rows["psf_flux_njy"][1] and rows["n_blend"].tolist() == [1, 1]


@pytest.mark.parametrize(("science_fwhm_pix", "template_fwhm_pix"), [(4.6, 3.8), (3.6, 4.4)])
def test_errors_are_honest_on_blank_sky(monkeypatch, scene, science_fwhm_pix, template_fwhm_pix):
    """On a subtracted pair, either side convolved, difference and total flux scatter about 0 by their errors."""
    pulls = {"psf": [], "total": []}
    for seed in (1, 2):
        pair = make_pair(science_fwhm_pix, template_fwhm_pix, seed=seed, n_star=45)
        result, _ = subtract_pair(pair)
        image = SimpleNamespace(
            difference=np.ascontiguousarray(result.difference),
            variance=np.ascontiguousarray(result.variance),
            mask=result.mask,
            science=pair.science.image,
            template=np.ascontiguousarray(result.matched_template),
            psf_field=result.whitening.psf,
            science_psf=pair.science.psf,
            wcs=WCS,
        )
        monkeypatch.setattr(stage, "read_difference", lambda path, image=image: image)
        blank = blank_pixels(pair)
        x, y = grid_positions(np.random.default_rng(seed), blank.shape, 28)
        x, y = (v[blank[y.round().astype(int), x.round().astype(int)]] for v in (x, y))
        unit = UNIT | {"science_noise_e": result.science_noise, "template_noise_e": result.template_noise}
        unit |= {"njy_per_e": 1.0, "diff_noise_e": float(np.sqrt(np.median(result.variance)))}
        made = stage.forced(unit, {"objects": objects(x, y), "known": scene.nothing}, stage.ForcedConfig())
        rows = made.rows["dia_forced_source"]
        pulls["psf"] += list(rows["psf_flux_njy"] / rows["psf_flux_err_njy"])
        total = rows["psf_flux_njy"] + rows["template_flux_njy"]
        pulls["total"] += list(total / rows["science_flux_err_njy"])
    n = len(pulls["psf"])
    assert n > 250
    for name, tolerance in (("psf", 0.0), ("total", 0.05)):
        assert abs(np.mean(pulls[name])) < 4 / np.sqrt(n), name
        assert abs(np.std(pulls[name]) - 1) < tolerance + 4 / np.sqrt(2 * n), name


def _same(first, second):
    first, second = (to_table(made.rows["dia_forced_source"]) for made in (first, second))
    return first.equals(second)


@pytest.fixture
def crowd(scene):
    """Two hundred objects in groups, some beyond the edge and some on holes."""
    rng = np.random.default_rng(3)
    scene.image.mask[120:150, 60:90] = NO_DATA
    scene.image.mask[200:220, 100:140] = SATURATED
    return rng.uniform(-10, 410, 200), rng.uniform(-10, 310, 200)


@pytest.mark.parametrize("changed", ["more", "fewer", "moved", "renamed", "nothing"])
def test_measuring_what_changed_gives_what_measuring_all_gives(scene, crowd, changed, monkeypatch):
    """Whatever was known, the rows are those of a first measurement, bit by bit; only groups that changed are done."""
    x, y = crowd
    before = {"fewer": objects(x, y), "more": objects(x[:180], y[:180])}.get(changed, objects(x, y))
    after = {
        "more": objects(x, y),
        "fewer": objects(x[:150], y[:150]),
        "moved": objects(np.append(x[:190], x[190:] + 0.7), y),
        "renamed": objects(x, y, first_id=1000),
        "nothing": objects(x, y),
    }[changed]
    known = known_rows(scene.run(before))
    whole = scene.run(after)
    measured = []
    inner = stage._measure
    monkeypatch.setattr(
        stage, "_measure", lambda i, u, places, **k: measured.append(places) or inner(i, u, places, **k)
    )
    assert _same(scene.run(after, known), whole)
    (places,) = measured
    n_all = whole.rows["forced_image"][0]["n_place"]
    assert len(places.x) == 0 if changed in ("renamed", "nothing") else 0 < len(places.x) < n_all


def test_what_was_measured_otherwise_is_measured_again(scene, crowd):
    """Rows of another image or of other settings are not taken over."""
    known = known_rows(scene.run(objects(*crowd), config=stage.ForcedConfig(fit_radius_fwhm=1.5)))
    assert _same(scene.run(objects(*crowd), known), scene.run(objects(*crowd)))


def test_an_image_without_objects_is_not_read(scene):
    """Nothing to measure is a unit that is done, without rows."""
    made = scene.run(objects([], []))
    assert scene.read == [] and made.rows["forced_image"][0]["n_object"] == 0
    assert to_table(made.rows["dia_forced_source"]).num_rows == 0


def _survey(database, n_image=1):
    """Put a difference image with its circle into the database."""
    database.execute("INSERT INTO band VALUES ('r')")
    database.execute("INSERT INTO detector VALUES (7, 'a')")
    database.execute("INSERT INTO visit VALUES (123456, 'r', 'x', 61000.25, 30, NULL, 20260101)")
    ny, nx = SHAPE
    corner_x, corner_y = np.array([0, nx, nx, 0.0]), np.array([0, 0, ny, ny])
    corner_ra, corner_dec = pixel_to_sky(WCS, corner_x, corner_y)
    ra, dec = pixel_to_sky(WCS, np.array([nx / 2]), np.array([ny / 2]))
    own = UNIT | {"ra": ra[0], "dec": dec[0], "corner_ra": list(corner_ra), "corner_dec": list(corner_dec)}
    for table, sha256 in (("diffim", "d1"), ("calexp", "c1")):
        columns = database.execute(f"DESCRIBE {table}").fetchall()
        row = {name: 0 for name, kind, *_ in columns} | {
            n: v for n, v in own.items() if n in dict(c[:2] for c in columns)
        }
        row |= {"sha256": sha256}
        names, holes = ", ".join(row), ", ".join("?" * len(row))
        database.execute(f"INSERT INTO {table} ({names}) VALUES ({holes})", list(row.values()))


def test_an_image_is_due_when_an_object_on_it_changes(database):
    """The work row changes with an object inside that moves or is renamed; not with one far away or a tiny shift."""
    _survey(database)
    queries = load_named("stages", "forced")
    database.execute("CREATE OR REPLACE TABLE object_here (dia_object_id BIGINT, ra DOUBLE, dec DOUBLE, hpx29 BIGINT)")
    database.execute("CREATE OR REPLACE VIEW dia_object AS SELECT * FROM object_here")

    def work(*places):
        database.execute("DELETE FROM object_here")
        for object_id, ra, dec in places:
            row = [object_id, ra, dec, int(hpx29(ra, dec))]
            database.execute("INSERT INTO object_here VALUES (?, ?, ?, ?)", row)
        (unit,) = fetch_table(database, queries["work"], {}).to_pylist()
        inside = fetch_table(database, queries["objects"], unit).column("dia_object_id").to_pylist()
        assert len(inside) == unit["n_object"]
        return unit

    ra, dec = (v[0] for v in place_centers(place_pixels([hpx29(359.9995, -40.0)])))
    one = work((5, ra, dec))
    assert UNIT.items() <= one.items() and one["n_object"] == 1
    assert work((5, ra, dec), (6, 180.0, 40.0), (7, 0.5, -40.0)) == one
    assert work((5, ra, dec + 0.003 / 3600)) == one
    for other in ([(5, ra, dec + 0.1 / 3600)], [(4, ra, dec)], [(5, ra, dec), (6, 0.001, -40.0)], []):
        assert work(*other) != one


def test_the_circle_holds_the_whole_image(database):
    """Every object on the image is among those of its unit, and none farther than the farthest corner."""
    rng = np.random.default_rng(8)
    x, y = rng.uniform(-300, 700, 3000), rng.uniform(-300, 600, 3000)
    ra, dec = pixel_to_sky(WCS, x, y)
    rows = pa.table({"dia_object_id": np.arange(3000), "ra": ra, "dec": dec, "hpx29": hpx29(ra, dec)})  # noqa: F841
    database.execute("DELETE FROM object_here; INSERT INTO object_here SELECT * FROM rows")
    queries = load_named("stages", "forced")
    (unit,) = fetch_table(database, queries["work"], {}).to_pylist()
    found = fetch_table(database, queries["objects"], unit)["dia_object_id"].to_numpy()
    on_image = np.flatnonzero((x > -0.5) & (x < 399.5) & (y > -0.5) & (y < 299.5))
    assert np.isin(on_image, found).all()
    assert len(found) == unit["n_object"]
    assert np.hypot(x[found] - 200, y[found] - 150).max() < 250 + 7
