import numpy as np
import pyarrow as pa
import pytest

from dbpipe.catalog.sql.queries import fetch_table, load_named
from dbpipe.errors import DataError
from dbpipe.sky.sphere import separation_deg
from dbpipe.sky.wcs import corners, tan_wcs
from dbpipe.stages.contracts.skymap import SKYMAP, SkymapConfig

SCALE_DEG = 0.2 / 3600.0
FOOTPRINT = pa.schema(
    [
        ("visit", pa.int64()),
        ("detector", pa.int32()),
        ("corner_ra", pa.list_(pa.float64())),
        ("corner_dec", pa.list_(pa.float64())),
        ("pixel_scale_arcsec", pa.float64()),
    ]
)


def exposure(visit, ra, dec, *, scale_deg=SCALE_DEG):
    """Return the footprint row of a 1000 x 1000 exposure."""
    wcs = tan_wcs(ra, dec, crpix=(499.5, 499.5), cd=scale_deg * np.diag([-1.0, 1.0]))
    corner_ra, corner_dec = corners(wcs, (1000, 1000))
    return {
        "visit": visit,
        "detector": 0,
        "corner_ra": corner_ra.tolist(),
        "corner_dec": corner_dec.tolist(),
        "pixel_scale_arcsec": scale_deg * 3600.0,
    }


def run(exposures, *, tracts=(), **settings):
    """Run the stage on every exposure, as if all started at once; returns all rows, and visit -> error."""
    schema = pa.schema(
        [
            ("tract", pa.int32()),
            ("ra", pa.float64()),
            ("dec", pa.float64()),
            ("pixel_scale_arcsec", pa.float64()),
            ("patch_size_pix", pa.int32()),
        ]
    )
    inputs = {
        "footprints": pa.Table.from_pylist([] if tracts else exposures, schema=FOOTPRINT),
        "tracts": pa.Table.from_pylist(list(tracts), schema=schema),
    }
    rows, refused = {"tract": [], "patch": [], "patch_overlap": []}, {}
    for unit in exposures:
        try:
            outputs = SKYMAP.run({"tract": 0, **unit}, inputs, SkymapConfig(**settings))
        except DataError as error:
            refused[unit["visit"]] = error
            continue
        for name, more in outputs.rows.items():
            rows[name] += [row for row in more if row not in rows[name]]
    return rows, refused


def test_a_tract_is_made_around_the_exposures():
    """All exposures make the same tract amid them, with their pixel scale, and every one touches a patch."""
    rows, _ = run([exposure(1, 10.0, 0.0), exposure(2, 10.2, 0.1), exposure(3, 10.1, 0.3)])
    (tract,) = rows["tract"]
    assert separation_deg(tract["ra"], tract["dec"], 10.1, 0.15) < 0.05
    assert tract["pixel_scale_arcsec"] == pytest.approx(0.2) and tract["patch_size_pix"] == 2048
    assert {row["visit"] for row in rows["patch_overlap"]} == {1, 2, 3}
    assert {row["patch"] for row in rows["patch"]} == {row["patch"] for row in rows["patch_overlap"]}
    for row in rows["patch"]:
        assert row["patch"] == 1000 * (row["iy"] + 500) + row["ix"] + 500
        assert (row["x0"], row["y0"], row["nx"], row["ny"]) == (2048 * row["ix"], 2048 * row["iy"], 2048, 2048)


def test_a_survey_that_grows_keeps_its_tract():
    """New exposures add patches; the tract and its patches stay as they are, whatever the settings say."""
    old, new = exposure(1, 359.99, 10.0), exposure(2, 0.05, 10.05)
    first, _ = run([old], patch_size_pix=400)
    second, _ = run([old, new], tracts=first["tract"], patch_size_pix=999, pixel_scale_arcsec=1.0)
    assert second["tract"] == first["tract"]
    assert all(row in second["patch"] for row in first["patch"]) and len(second["patch"]) > len(first["patch"])
    assert [row for row in second["patch_overlap"] if row["visit"] == 1] == first["patch_overlap"]


def test_settings_shape_a_new_tract():
    """A pixel scale and patch size can be given."""
    (tract,) = run([exposure(1, 10.0, 0.0)], patch_size_pix=512, pixel_scale_arcsec=0.4)[0]["tract"]
    assert tract["patch_size_pix"] == 512 and tract["pixel_scale_arcsec"] == 0.4


def test_an_exposure_out_of_reach_is_left_out_alone():
    """An exposure far from an existing tract is refused with its distance; the others get their patches."""
    good = exposure(1, 10.0, 0.0)
    first, _ = run([good])
    second, refused = run([good, exposure(77, 19.0, 0.0)], tracts=first["tract"])
    assert second == first and set(refused) == {77}
    assert refused[77].message == "exposure is too far from the tract"
    assert refused[77].numbers["distance_deg"] == pytest.approx(9.0, abs=0.1)


def test_a_stray_exposure_does_not_move_a_new_tract():
    """A tract is made around the main field; an exposure of another part of the sky, the first even, is left out."""
    field = [exposure(2, 10.0, 0.0), exposure(3, 10.2, 0.1)]
    alone, _ = run(field)
    with_stray, refused = run([exposure(1, 200.0, 60.0), *field])
    assert with_stray == alone and set(refused) == {1}


def test_queries_offer_every_exposure_and_follow_its_outline():
    """One unit for each calexp, whose row follows the outline and not the seeing; outlines until there is a tract."""
    duckdb = pytest.importorskip("duckdb")
    queries = load_named("stages", "skymap")
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE calexp (visit BIGINT, detector INTEGER, corner_ra DOUBLE[4], corner_dec DOUBLE[4], "
            "pixel_scale_arcsec DOUBLE, psf_fwhm_pix DOUBLE)"
        )
        connection.execute(
            "CREATE TABLE tract "
            "(tract INTEGER, ra DOUBLE, dec DOUBLE, pixel_scale_arcsec DOUBLE, patch_size_pix INTEGER)"
        )
        assert connection.execute(queries["work"]).fetchall() == []
        for visit in (7, 3):
            row = exposure(visit, 10.0, 0.1 * visit)
            connection.execute("INSERT INTO calexp VALUES (?, ?, ?, ?, ?, 4.0)", list(row.values()))
        work = fetch_table(connection, queries["work"], {}).to_pylist()
        assert [(unit["tract"], unit["visit"]) for unit in work] == [(0, 3), (0, 7)]
        connection.execute("UPDATE calexp SET psf_fwhm_pix = 5.0")
        assert fetch_table(connection, queries["work"], {}).to_pylist() == work
        inputs = {name: fetch_table(connection, queries[name], work[0]) for name in SKYMAP.inputs}
        assert (inputs["footprints"].num_rows, inputs["tracts"].num_rows) == (2, 0)
        (tract,) = SKYMAP.run(work[0], inputs, SkymapConfig()).rows["tract"]
        connection.execute("INSERT INTO tract VALUES (?, ?, ?, ?, ?)", list(tract.values()))
        later = {name: fetch_table(connection, queries[name], work[1]) for name in SKYMAP.inputs}
        assert (later["footprints"].num_rows, later["tracts"].to_pylist()) == (0, [tract])
