"""What the catalog, the report and the picture say of injected sources, from a handful of rows."""

import duckdb
import numpy as np
import pandas as pd
import pytest

from dbpipe.ask import completeness
from dbpipe.catalog.sql.dictionary import column_metadata
from dbpipe.catalog.sql.queries import directory, load, load_named
from dbpipe.catalog.views import apply_views
from dbpipe.pictures import charts


def insert(database, table, **values):
    row = {name: 0 for name, *_ in database.execute(f"DESCRIBE {table}").fetchall()} | values
    names, holes = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({holes})", list(row.values()))


@pytest.fixture
def database():
    """Two difference images: of the first, four injected sources; the second was made anew since its injection."""
    with duckdb.connect() as connection:
        for path in sorted(directory("migrations").glob("*.sql")):
            connection.execute(path.read_text())
        apply_views(connection)
        connection.execute("INSERT INTO band VALUES ('r')")
        connection.execute("INSERT INTO detector VALUES (0, 'a')")
        for visit in (1, 2):
            connection.execute(f"INSERT INTO visit VALUES ({visit}, 'r', 'x', 61000.5, 30, NULL, 20260101)")
            insert(connection, "diffim", visit=visit, sha256="new", path="d.fits")
        insert(connection, "injection_summary", visit=1, diffim_sha256="new", snr_50=4.9, depth_50_mag=24.5)
        insert(connection, "injection_summary", visit=2, diffim_sha256="old", snr_50=9.9)
        source = {"visit": 1, "band": "r", "place": "blank", "flags": "", "true_flux_njy": 1000.0, "score": 7.0}
        common = source | {"is_confused": False, "is_detected": True, "is_recovered": True, "true_snr": 5.2}
        insert(connection, "injected_source", **common, number=0)
        insert(connection, "injected_source", **common | {"is_recovered": False, "flags": "flag_bad"}, number=1)
        insert(connection, "injected_source", **common | {"place": "star", "true_snr": 40.0}, number=2)
        insert(connection, "injected_source", **common | {"is_confused": True}, number=3)
        insert(connection, "injected_source", **common | {"visit": 2}, number=0)
        yield connection


def test_the_depth_is_a_column_of_the_difference_image(database):
    """An image has the depth that was measured on it; one that was made anew since has none."""
    query = "SELECT visit, snr_50, depth_50_mag FROM difference_image ORDER BY visit"
    assert database.execute(query).fetchall() == [(1, 4.9, 24.5), (2, None, None)]


def test_completeness_is_counted_by_place_and_bin(database):
    """Each source is in one bin of S/N and one of magnitude; confused ones in none, and flagged ones are detected."""
    database.execute("DELETE FROM injected_source WHERE visit = 2")
    query = (
        "SELECT place, low, high, n, n_detected, n_recovered, completeness FROM injection_completeness "
        "WHERE axis = '{}' ORDER BY ALL"
    )
    assert database.execute(query.format("snr")).fetchall() == [
        ("blank", 5.0, 5.5, 2, 2, 1, 0.5),
        ("star", 15.0, 1000.0, 1, 1, 1, 1.0),
    ]
    assert database.execute(query.format("magnitude")).fetchall() == [
        ("blank", 23.75, 24.0, 2, 2, 1, 0.5),
        ("star", 23.75, 24.0, 1, 1, 1, 1.0),
    ]


def test_units_are_known_for_every_column(database):
    """Every column of the views has a description."""
    for view in ("difference_image", "injection_completeness"):
        described = column_metadata(database, view)
        assert [name for name, known in described.items() if "description" not in known] == []


def test_the_report_is_about_images_that_are_there(database):
    """Sources of an image that was made anew, and confused ones, are left out."""
    rows = database.execute(load_named("reports", "injection")["sources"]).fetchall()
    assert [(row[0], row[2]) for row in rows] == [(1, 0), (1, 1), (1, 2)]


def test_an_outdated_injection_is_pointed_at(database):
    """The rules find the image that was made anew, a detection without a score, and sources without a summary."""
    rules = load(directory("sql") / "checks" / "injection.sql")
    assert database.execute(rules["injection_is_of_this_diffim"]).fetchall() == [(2, 0)]
    assert database.execute(rules["recovered_is_detected"]).fetchall() == []
    assert database.execute(rules["injected_source_has_summary"]).fetchall() == []
    database.execute("UPDATE injected_source SET score = NULL WHERE number = 2")
    assert database.execute(rules["recovered_is_detected"]).fetchall() == [(1, 0, 2)]


@pytest.fixture
def sources():
    """Sources in two bands as a perfect pipeline would find them, r only half as deep as g."""
    rng = np.random.default_rng(1)
    snr, band = rng.uniform(2, 20, 600), np.repeat(["g", "r"], 300)
    err = np.where(band == "g", 20.0, 40.0)
    measured = snr + rng.normal(size=600)
    found = measured > 5.0
    return pd.DataFrame(
        {
            "band": band, "place": np.tile(["blank", "star"], 300), "true_snr": snr, "true_flux_njy": snr * err,
            "true_flux_err_njy": err, "true_mag": 31.4 - 2.5 * np.log10(snr * err), "is_recovered": found,
            "is_detected": found, "psf_flux_njy": np.where(found, measured * err, np.nan), "psf_flux_err_njy": err,
            "forced_flux_njy": measured * err, "forced_flux_err_njy": err,
        }
    )  # fmt: skip


def test_bands_and_places_are_summed_up(sources):
    """Each band has its depth, for all places and for each of them; a perfect pipeline has unit pulls and no bias."""
    found = completeness.summarize(sources)
    assert [(f.band, f.place, f.n) for f in found] == [
        (band, place, n) for band in "gr" for place, n in (("all", 300), ("blank", 150), ("star", 150))
    ]
    whole = [f for f in found if f.place == "all"]
    for recovery, err in zip(whole, (20.0, 40.0), strict=True):
        assert recovery.half_snr.value == pytest.approx(5.0, abs=4 * recovery.half_snr.err)
        depth = 31.4 - 2.5 * np.log10(5.0 * err)
        assert recovery.half_mag.value == pytest.approx(depth, abs=4 * recovery.half_mag.err)
        assert recovery.completeness > 0.95 and recovery.detected == recovery.completeness
        assert recovery.forced.pull_std == pytest.approx(1.0, abs=0.15)
        assert recovery.flux.bias == pytest.approx(0.0, abs=4 * recovery.flux.bias_err)


def test_the_picture_is_drawn(sources, tmp_path):
    """Completeness, pulls and fluxes of both bands become one PNG."""
    pytest.importorskip("matplotlib")
    assert charts.draw_injection(tmp_path / "a" / "b.png", sources).read_bytes()[:4] == b"\x89PNG"
