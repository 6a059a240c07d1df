import numpy as np
import pyarrow as pa
import pytest

from dbpipe.catalog.queries import fetch_table, load_named
from dbpipe.errors import DataError
from dbpipe.sky.sphere import separation_deg
from dbpipe.sky.wcs import corners, tan_wcs
from dbpipe.stages.skymap import SKYMAP, SkymapConfig

SCALE_DEG = 0.2 / 3600.0


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
    """Run the stage on exposures and the tracts that exist; returns its rows."""
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
        "footprints": pa.Table.from_pylist(exposures),
        "tracts": pa.Table.from_pylist(list(tracts), schema=schema),
    }
    return SKYMAP.run({"tract": 0}, inputs, SkymapConfig(**settings)).rows


def test_a_tract_is_made_around_the_exposures():
    """The tract touches the sky amid the exposures, has their pixel scale, and every exposure touches a patch."""
    rows = run([exposure(1, 10.0, 0.0), exposure(2, 10.2, 0.1), exposure(3, 10.1, 0.3)])
    (tract,) = rows["tract"]
    assert separation_deg(tract["ra"], tract["dec"], 10.1, 0.15) < 0.05
    assert tract["pixel_scale_arcsec"] == pytest.approx(0.2) and tract["patch_size_pix"] == 2048
    assert {row["visit"] for row in rows["patch_overlap"]} == {1, 2, 3}
    numbers = [row["patch"] for row in rows["patch"]]
    assert numbers == sorted(set(numbers)) == sorted({row["patch"] for row in rows["patch_overlap"]})
    for row in rows["patch"]:
        assert row["patch"] == 1000 * (row["iy"] + 500) + row["ix"] + 500
        assert (row["x0"], row["y0"], row["nx"], row["ny"]) == (2048 * row["ix"], 2048 * row["iy"], 2048, 2048)


def test_a_survey_that_grows_keeps_its_tract():
    """New exposures add patches; the tract and its patches stay as they are, whatever the settings say."""
    first = run([exposure(1, 359.99, 10.0)], patch_size_pix=400)
    second = run(
        [exposure(1, 359.99, 10.0), exposure(2, 0.05, 10.05)],
        tracts=first["tract"],
        patch_size_pix=999,
        pixel_scale_arcsec=1.0,
    )
    assert second["tract"] == first["tract"]
    assert all(row in second["patch"] for row in first["patch"]) and len(second["patch"]) > len(first["patch"])
    assert [row for row in second["patch_overlap"] if row["visit"] == 1] == first["patch_overlap"]


def test_settings_shape_a_new_tract():
    """A pixel scale and patch size can be given."""
    (tract,) = run([exposure(1, 10.0, 0.0)], patch_size_pix=512, pixel_scale_arcsec=0.4)["tract"]
    assert tract["patch_size_pix"] == 512 and tract["pixel_scale_arcsec"] == 0.4


def test_an_exposure_out_of_reach_is_named():
    """An exposure far from an existing tract fails the unit with its visit."""
    first = run([exposure(1, 10.0, 0.0)])
    with pytest.raises(DataError, match="too far from the tract") as caught:
        run([exposure(1, 10.0, 0.0), exposure(77, 19.0, 0.0)], tracts=first["tract"])
    assert caught.value.numbers["visit"] == 77 and caught.value.numbers["distance_deg"] > 8.0


def test_queries_offer_one_tract_that_follows_the_footprints():
    """No calexp, no work; with one there is one unit, whose row follows the footprints and not the seeing."""
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
        (work,) = connection.execute(queries["work"]).fetchall()
        assert work[:2] == (0, 2)
        connection.execute("UPDATE calexp SET psf_fwhm_pix = 5.0")
        assert connection.execute(queries["work"]).fetchall() == [work]
        inputs = {name: fetch_table(connection, queries[name], {"tract": 0}) for name in SKYMAP.inputs}
        rows = SKYMAP.run({"tract": 0}, inputs, SkymapConfig()).rows
        assert [row["visit"] for row in rows["patch_overlap"]][0] == 3 and len(rows["tract"]) == 1
        connection.execute("DELETE FROM calexp WHERE visit = 7")
        assert connection.execute(queries["work"]).fetchall() != [work]
