"""The macros that analysts use, against independent implementations."""

import re

import hand_made
import hpgeom
import numpy as np
import pyarrow as pa
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from dbpipe.catalog import migrations
from dbpipe.catalog.sql.queries import directory
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views
from dbpipe.catalog.work.units import format_key
from dbpipe.constants import ab_magnitude
from dbpipe.io.raw.header import local_night
from dbpipe.sky.healpix import hpx29


@pytest.fixture
def catalog():
    """An empty catalog with schema, views and macros."""
    with connection.memory() as empty:
        migrations.migrate(empty)
        apply_views(empty)
        yield empty


def ask(catalog, query, *values):
    return catalog.execute(query, values).fetchall()


def some_directions():
    """Random directions, and those where spherical formulas go wrong."""
    rng = np.random.default_rng(4)
    ra, dec = rng.uniform(0, 360, 200), np.degrees(np.arcsin(rng.uniform(-1, 1, 200)))
    ra[:8] = 0, 360, 359.9999999, 1e-7, 10, 190, 10, 10
    dec[:8] = 0, 0, 0, 0, 90, 89.9999999, -90, 0
    return ra, dec


def test_separation_is_that_of_astropy(catalog):
    """Angles from zero to 180 degrees are those of astropy to a microarcsecond."""
    ra, dec = some_directions()
    pairs = [(a, b) for a in range(12) for b in range(len(ra))]
    first, second = np.array(pairs).T
    expected = SkyCoord(ra[first], dec[first], unit="deg").separation(SkyCoord(ra[second], dec[second], unit="deg"))
    pair = pa.table({"ra1": ra[first], "dec1": dec[first], "ra2": ra[second], "dec2": dec[second]})
    catalog.register("pair", pair)
    found = ask(catalog, "SELECT separation_arcsec(ra1, dec1, ra2, dec2) FROM pair")
    np.testing.assert_allclose(np.ravel(found), expected.arcsec, atol=1e-6, rtol=1e-12)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (359.9999, 45.0), (123.0, 90.0), (200.0, -89.999), (10.0, -30.0)])
def test_a_cone_holds_what_astropy_finds_in_it(catalog, ra, dec):
    """Around any place, poles and right ascension 0 among them, a cone has exactly the right sources, nearest first."""
    rng = np.random.default_rng(7)
    center = SkyCoord(ra, dec, unit="deg")
    around = center.directional_offset_by(rng.uniform(0, 360, 80) * u.deg, rng.uniform(0, 120, 80) * u.arcsec)
    catalog.execute("INSERT INTO band VALUES ('r'); INSERT INTO detector VALUES (0, 'a')")
    hand_made.insert(catalog, "visit", visit=1, band="r")
    for number, place in enumerate(around):
        hand_made.insert(catalog, "dia_source", dia_source_id=number, visit=1, band="r", ra=float(place.ra.deg),
                         dec=float(place.dec.deg))  # fmt: skip
    distance = center.separation(around).arcsec
    found = ask(catalog, "SELECT dia_source_id, distance_arcsec FROM cone_search(?, ?, 60)", ra, dec)
    assert [number for number, _ in found] == list(np.argsort(distance)[: np.sum(distance <= 60)])
    np.testing.assert_allclose([d for _, d in found], np.sort(distance)[: len(found)], atol=1e-6)


def test_a_cone_is_cut_by_both_coordinates_in_the_scan(catalog):
    """The database sees the ranges of both coordinates as numbers, so that it can skip pieces of the table by them."""
    catalog.execute("INSERT INTO band VALUES ('r'); INSERT INTO detector VALUES (0, 'a')")
    hand_made.insert(catalog, "visit", visit=1, band="r")
    for number in range(100):
        hand_made.insert(
            catalog, "dia_source", dia_source_id=number, visit=1, band="r", ra=number, dec=-35 + 0.1 * number
        )
    plan = ask(catalog, "EXPLAIN SELECT * FROM cone_search(10, -30, 3600)")[0][1].replace(" ", "")
    assert "dec>=-31.0" in plan and "dec<=-29.0" in plan
    assert "ra>=8.845" in plan and "ra<=11.154" in plan  # 1 / cos(30 deg), and a little more on the sphere


def test_magnitudes_are_those_of_the_pipeline(catalog):
    """Magnitude and error of a flux; none where there is no light."""
    assert ask(catalog, "SELECT ab_mag(3630.78)")[0][0] == pytest.approx(ab_magnitude(3630.78), abs=1e-9)
    flux = 1000.0
    slope = (ab_magnitude(flux - 0.5) - ab_magnitude(flux + 0.5)) / 1.0
    assert ask(catalog, "SELECT ab_mag_err(1000, 7)")[0][0] == pytest.approx(7 * slope, rel=1e-6)
    assert ask(catalog, "SELECT ab_mag(0), ab_mag(-1), ab_mag(NULL), ab_mag_err(-1, 1)") == [(None,) * 4]


@pytest.mark.parametrize("order", [0, 4, 10, 29])
def test_coarse_pixels_are_those_of_hpgeom(catalog, order):
    """The pixel of a lower order is the one that hpgeom finds for the direction."""
    ra, dec = some_directions()
    expected = hpgeom.angle_to_pixel(1 << order, ra % 360, dec, nest=True)
    found = [ask(catalog, "SELECT healpix(?, ?)", int(pixel), order)[0][0] for pixel in hpx29(ra, dec)]
    assert found == list(expected)


def test_the_night_is_that_of_the_pipeline(catalog):
    """Times on either side of midnight, of noon and of the new year are in the night that ingest would say."""
    rng = np.random.default_rng(1)
    for mjd in (61040.99, 61041.01, 61041.49, 61041.51, *rng.uniform(58000, 62000, 30)):
        for longitude in (0.0, -70.4, 149.1):
            assert ask(catalog, "SELECT night(?, longitude_deg := ?)", mjd, longitude) == [
                (local_night(mjd, longitude),)
            ]
    assert ask(catalog, "SELECT night(61041.6)") == [(local_night(61041.6, 0),)]


def test_an_old_id_leads_to_the_objects_of_today(catalog):
    """Renamed, merged and split objects are found through any number of changes, circles included."""
    for dia_object_id in (3, 4, 8):
        hand_made.insert(catalog, "association.object", dia_object_id=dia_object_id)
    catalog.execute("CREATE OR REPLACE VIEW dia_object AS SELECT * FROM association.object")
    for old, new, change in (
        (1, 2, "renamed"), (2, 3, "merged"), (2, 4, "split"), (5, None, "withdrawn"), (8, 9, "renamed"),
        (9, 8, "renamed"),
    ):  # fmt: skip
        hand_made.insert(catalog, "dia_object_history", dia_object_id=old, successor_id=new, change=change)
    resolved = {
        old: [row[0] for row in ask(catalog, "SELECT dia_object_id FROM resolve_object(?)", old)]
        for old in (1, 2, 3, 5, 8, 9, 77)
    }
    assert resolved == {1: [3, 4], 2: [3, 4], 3: [3], 5: [], 8: [8], 9: [8], 77: []}


def test_a_light_curve_is_that_of_one_object_in_time(survey):
    """Every epoch of the object and of no other, in time."""
    rows = ask(survey, "SELECT dia_object_id, midpoint_mjd_tai FROM light_curve_of(?)", hand_made.SUPERNOVA)
    assert {row[0] for row in rows} == {hand_made.SUPERNOVA}
    assert [row[1] for row in rows] == sorted(row[1] for row in rows) and len(rows) == 7


def test_objects_are_found_by_place(survey):
    """The nearest object to its own position is the object itself; the other image is 1.5 arcsec away."""
    ra, dec = hand_made.place_of(hand_made.LEFT)
    rows = ask(survey, "SELECT dia_object_id, distance_arcsec FROM cone_search_object(?, ?, 3)", ra, dec)
    assert [row[0] for row in rows] == [hand_made.LEFT, hand_made.RIGHT]
    assert [row[1] for row in rows] == pytest.approx([0, 1.5], abs=1e-4)


def test_every_macro_is_explained(catalog):
    """Each macro has a comment; a scalar one begins with the unit of its value."""
    macros = ask(catalog, "SELECT function_name, function_type, comment FROM duckdb_functions() WHERE NOT internal")
    assert len(macros) == 16
    for name, kind, comment in macros:
        assert comment and (kind == "table_macro" or comment.startswith("[")), name


def test_units_are_named_alike_in_sql_and_python(catalog):
    """The macros write the key of a unit as Python does, and nothing else in sql/ writes one by itself."""
    keys = {
        "image_key($visit, $detector)": {"visit": 4_000_000_001, "detector": 0},
        "raw_key($path)": {"path": "/data/it's, here=1.fits"},
        "template_key($tract, $band)": {"tract": 0, "band": "r"},
    }
    for call, key in keys.items():
        assert catalog.execute(f"SELECT {call}", key).fetchall() == [(format_key(key),)]
    own = [path.name for path in directory("sql").glob("*/*.sql") if re.search(r"'[a-z, ]*\w+='", path.read_text())]
    assert own == ["unit.sql"]
