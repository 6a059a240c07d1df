"""Which object is meant, what is shown of it, and its page."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from dbpipe.ask import light_curves
from dbpipe.ask.light_curves import choose_epochs, find_object
from dbpipe.catalog import migrations
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views
from dbpipe.errors import ConfigError
from dbpipe.sky.wcs import tan_wcs

OBJECTS = [(101, 359.99999, -30.0), (205, 0.0001, -30.0), (300, 53.0, -27.4), (777, 10.0, 90.0)]
HISTORY = [
    (11, 12, "renamed", 1),
    (12, 101, "merged", 2),
    (20, 205, "split", 3),
    (20, 300, "split", 3),
    (30, None, "withdrawn", 4),
    (40, 999, "renamed", 1),
    (40, 300, "merged", 5),
]


@pytest.fixture(scope="module")
def catalog():
    """Four objects, two of them a third of an arcsecond apart across RA 0, and what became of others."""
    with connection.memory() as database:
        migrations.migrate(database)
        apply_views(database)
        for number, ra, dec in OBJECTS:
            database.execute(
                "INSERT INTO association.object VALUES (?, ?, ?, 1e-5, 1e-5, 0, 0, 0, 3, 2, 61000, 61010, 9, 5)",
                [number, ra, dec],
            )
        for row in HISTORY:
            database.execute("INSERT INTO dia_object_history VALUES (?, ?, ?, ?, '2026-01-01')", row)
        yield database


@pytest.mark.parametrize(("asked", "found"), [(300, 300), ("101", 101), (11, 101), (12, 101), (40, 300)])
def test_an_id_leads_to_the_object_of_now(catalog, asked, found):
    """An id of now is itself; one of before is followed through its history, with a word about it."""
    answer = find_object(catalog, asked)
    assert answer.dia_object_id == found
    assert (answer.note == "") == (int(asked) == found)
    assert answer.note in ("", "object 11 is 101 now (renamed, then merged)", f"object {asked} is {found} now (merged)")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (299, "no object 299; the nearest ids are 300, 205, 101"),
        (20, "object 20 was split; its detections are now in 205, 300"),
        (30, "object 30 was withdrawn"),
        ("x", "neither a dia_object_id nor a direction"),
        ("10,91", "no declination 91"),
        ("53.001,-27.4", r"no object within 2 arcsec of 53.001, -27.4; the nearest are 300 \(3.2 arcsec\)"),
    ],
)
def test_what_is_not_there_is_an_error_that_names_what_is_near(catalog, asked, message):
    """An unknown id, an object that came apart or was given up, and a direction without an object each say so."""
    with pytest.raises(ConfigError, match=message):
        find_object(catalog, asked)


@pytest.mark.parametrize(
    ("direction", "found"),
    [("0,-30", 101), ("360.0 -30.0", 101), ("0.00015,-30", 205), ("190,89.9999", 777), ("-307.0, -27.4", 300)],
)
def test_a_direction_finds_the_nearest_object(catalog, direction, found):
    """Also across RA 0 and at the pole, and the second within reach is named."""
    answer = find_object(catalog, direction)
    assert answer.dia_object_id == found
    assert ("205" in answer.note) == (found in (101, 205))


def epoch(visit, flux, *, mjd=None, band="r", clean=True, detected=True):
    return {
        "dia_object_id": 300,
        "visit": visit,
        "detector": 0,
        "band": band,
        "midpoint_mjd_tai": 61000.0 + (visit if mjd is None else mjd),
        "psf_flux_njy": flux,
        "psf_flux_err_njy": None if flux is None else 10.0,
        "total_flux_njy": None if flux is None else flux + 100.0,
        "total_flux_err_njy": None if flux is None else 9.0,
        "detected": detected,
        "is_clean": clean,
        "in_template": visit % 2 == 0,
        "n_template_input": 3,
        "ra": 53.0,
        "dec": -27.4,
    }


def test_the_epochs_of_a_page_are_the_telling_ones():
    """Brightest, faintest, first and last, one a night, none that is flagged or missing."""
    rows = [epoch(k, f, clean=f is not None) for k, f in enumerate([5.0, None, 900.0, 40.0, 30.0, -800.0, 20.0])]
    rows += [epoch(7, 950.0, mjd=2.01), epoch(8, 9e9, clean=False, mjd=8)]
    rows.sort(key=lambda row: row["midpoint_mjd_tai"])
    chosen = choose_epochs(rows, 4)
    assert sorted(row["visit"] for row in chosen) == [0, 5, 6, 7]
    assert [row["midpoint_mjd_tai"] for row in chosen] == sorted(row["midpoint_mjd_tai"] for row in chosen)
    assert len(choose_epochs(rows, 99)) == 7
    assert choose_epochs([epoch(0, None, clean=False)], 4) == []


@pytest.mark.parametrize("angle_deg", [0.0, 70.0, 200.0])
@pytest.mark.parametrize("parity", [1, -1])
def test_cutouts_have_north_up_and_east_to_the_left(monkeypatch, angle_deg, parity):
    """However the camera was turned, what is north of the object is above it, and what is east is left of it."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    cd = 0.2 / 3600 * np.array([[parity * c, -s], [parity * s, c]])
    wcs = tan_wcs(53.0, -27.4, crpix=(101.0, 81.0), cd=cd)
    image = np.zeros((160, 200), np.float32)
    north, east = (
        wcs.world_to_pixel_values(53.0, -27.4 + 3 / 3600),
        wcs.world_to_pixel_values(53.0 + 3 / 3600 / np.cos(np.radians(27.4)), -27.4),
    )
    for (x, y), value in ((north, 10.0), (east, 20.0)):
        image[int(round(float(y))), int(round(float(x)))] = value
    mask = np.zeros(image.shape, np.uint16)
    product = SimpleNamespace(science=image, template=image, difference=image, mask=mask, wcs=wcs)
    monkeypatch.setattr(light_curves, "read_difference", lambda path: product)
    row = {"path": "files/diffim/d.fits", "science_noise_e": 1.0, "diff_noise_e": 1.4}
    cutout = light_curves._cut(epoch(0, 1.0), row, 61, 12.2)
    piece = cutout.images["difference"]
    (above, column), (line, left) = (np.argwhere(piece == value)[0] for value in (10.0, 20.0))
    assert abs(above - 45) <= 1 and abs(column - 30) <= 1
    assert abs(left - 15) <= 1 and abs(line - 30) <= 1


def test_a_page_is_drawn_whatever_there_is(tmp_path):
    """With cutouts that have holes, without any, and for an object without a flux, a PNG comes out."""
    from dbpipe.pictures import object_page

    pytest.importorskip("matplotlib")
    found = light_curves.Found(300, dict(ra=53.0, dec=-27.4, n_dia_source=1, n_night=1))
    rows = [epoch(0, 5.0), epoch(1, 3e4, band="V", detected=False), epoch(2, None, clean=False, detected=False)]
    piece = np.random.default_rng(1).normal(0, 1, (21, 21))
    piece[3] = np.nan
    images, noise = (
        dict.fromkeys(("science", "template", "difference"), piece),
        dict.fromkeys(("science", "template", "difference"), 1.0),
    )
    cutouts = [light_curves.Cutout(row, images, noise, 12.0) for row in rows[:2]]
    for number, (epochs, pieces) in enumerate(((rows, cutouts), (rows, []), (rows[2:], []), ([], []))):
        path = object_page.draw_page(tmp_path / f"{number}.png", found, epochs, pieces)
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_importing_the_modules_does_not_import_matplotlib():
    """matplotlib comes only when a page is drawn."""
    code = "import sys, dbpipe.pictures.object_page, dbpipe.ask.light_curves; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
