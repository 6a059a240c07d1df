"""Linking in the catalog: the same detections give the same objects whatever the order of their arrival."""

import numpy as np
import pandas as pd
import pytest
from toy_catalog import detect, empty_catalog

from dbpipe.association.contract import AssociateConfig
from dbpipe.association.flow import associate
from dbpipe.association.images import count_due
from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.work.offer import Options
from dbpipe.declared import unflatten
from dbpipe.runner.report import Report
from dbpipe.sky.sphere import separation_deg

PLACES = {"equator": (10.0, 0.0), "ra 0": (0.0, -30.0), "pole": (123.0, 89.9999), "tile corner": (45.0, 0.0)}
ARCSEC = 1.0 / 3600.0
RULES = load_named("checks", "association")


def field(rng, place, *, n_object=40, n_visit=8, size_arcsec=60.0):
    """Visits of a dense field: objects seen in some of them, pairs of them half an arcsecond apart, noise."""
    ra0, dec0 = PLACES[place]
    x, y = rng.uniform(-0.5, 0.5, (2, n_object)) * size_arcsec
    x = np.concatenate([x, x[:10] + 0.5])
    y = np.concatenate([y, y[:10]])
    visits = {}
    for visit in range(1, n_visit + 1):
        seen = rng.random(len(x)) < 0.7
        noise = rng.uniform(-0.5, 0.5, (2, 10)) * size_arcsec
        error = rng.choice([0.03, 0.1, 0.2], seen.sum() + 10)
        east = np.concatenate([x[seen], noise[0]]) + error * rng.normal(size=len(error))
        north = np.concatenate([y[seen], noise[1]]) + error * rng.normal(size=len(error))
        ra, dec = displaced(ra0, dec0, east, north)
        visits[visit] = pd.DataFrame({"ra": ra, "dec": dec, "ra_err": error * ARCSEC, "dec_err": error * ARCSEC})
    return visits


def displaced(ra0, dec0, east, north):
    """Directions some arcseconds east and north of another."""
    from dbpipe.sky.sphere import deproject

    return deproject(east * ARCSEC, north * ARCSEC, ra0=ra0, dec0=dec0)


def run(catalog, **settings):
    """Link what is due; the catalog is healthy afterward."""
    verdicts, n_removed = associate(
        catalog, unflatten(AssociateConfig, settings), run_id=1, options=Options(), report=Report()
    )
    assert [name for name, query in RULES.items() if catalog.sql(query).fetchall()] == []
    return len(verdicts), n_removed


def tables(catalog):
    """Everything that the order of arrival must not change."""
    names = ("dia_object", "dia_association", "tracklet")
    return [catalog.execute(f"FROM {name} ORDER BY ALL").fetchall() for name in names]


@pytest.fixture
def catalog():
    with empty_catalog() as opened:
        yield opened


@pytest.mark.parametrize("place", PLACES)
def test_the_order_of_arrival_does_not_matter(place):
    """All at once, one by one in any order, and after a detour over other detections: the same tables to the bit."""
    rng = np.random.default_rng(5)
    visits = field(rng, place)
    with empty_catalog() as catalog:
        for visit, rows in visits.items():
            detect(catalog, visit, rows)
        assert run(catalog) == (8, 0)
        expected = tables(catalog)
        assert run(catalog) == (0, 0)
    assert len(expected[0]) > 40
    for seed in (1, 2):
        with empty_catalog() as catalog:
            order = np.random.default_rng(seed).permutation(list(visits)).tolist()
            for visit in order:
                if visit in order[2:4]:  # first with other detections, which are taken back
                    detect(catalog, visit, visits[order[0]][::2].assign(dec=lambda rows: rows.dec - 0.3 * ARCSEC))
                    run(catalog)
                detect(catalog, visit, visits[visit])
                run(catalog)
            assert tables(catalog) == expected


def test_objects_are_kept_over_the_seams(catalog):
    """An object on a corner of tiles, at RA 0 or beside a pole is one object, where the mean of its sources is."""
    rng = np.random.default_rng(7)
    for visit in range(1, 21):
        offsets = 0.1 * rng.normal(size=(2, len(PLACES)))
        ra, dec = np.transpose([displaced(*PLACES[name], *offsets[:, k]) for k, name in enumerate(PLACES)])
        detect(catalog, visit, pd.DataFrame({"ra": ra, "dec": dec}))
        run(catalog)
    objects = catalog.sql("FROM dia_object").df()
    assert len(objects) == len(PLACES) and (objects.n_dia_source == 20).all()
    for ra, dec in PLACES.values():
        assert separation_deg(ra, dec, objects.ra, objects.dec).min() < 0.15 * ARCSEC


def test_a_late_visit_renames_and_the_old_id_stays_on_record(catalog):
    """An earlier source gives the object another id; the old one is on record with its successor."""
    detect(catalog, 2, {"ra": [10.0], "dec": [0.0]})
    run(catalog)
    detect(catalog, 1, {"ra": [10.0], "dec": [0.0]})
    run(catalog)
    assert catalog.sql("SELECT dia_object_id, n_dia_source FROM dia_object").fetchall() == [(1 << 22, 2)]
    found = catalog.sql("SELECT dia_object_id, successor_id, change FROM dia_object_history").fetchall()
    assert found == [(2 << 22, 1 << 22, "renamed")]


def test_a_source_between_merges_and_its_removal_splits_again(catalog):
    """What a new detection joins is merged, on record; when it is taken back the objects of before are back."""
    vague = {"ra_err": [6e-5], "dec_err": [6e-5]}
    detect(catalog, 1, {"ra": [10.0], "dec": [0.0], **vague})
    detect(catalog, 2, {"ra": [10.0 + 1.4 * ARCSEC], "dec": [0.0], **vague})
    run(catalog)
    before = tables(catalog)
    assert len(before[0]) == 2
    detect(catalog, 3, {"ra": [10.0 + 0.7 * ARCSEC], "dec": [0.0], **vague})
    run(catalog)
    assert catalog.sql("SELECT n_dia_source FROM dia_object").fetchall() == [(3,)]
    assert catalog.sql("SELECT successor_id, change FROM dia_object_history").fetchall() == [(1 << 22, "merged")]
    detect(catalog, 3, {"ra": [], "dec": []})
    run(catalog)
    assert tables(catalog) == before
    assert catalog.sql("SELECT change FROM dia_object_history ORDER BY ALL").fetchall() == [("merged",), ("split",)]


def test_an_image_that_is_no_more_takes_its_sources_with_it(catalog):
    """A difference image that was withdrawn leaves no link, and its objects are on record as withdrawn."""
    detect(catalog, 1, {"ra": [10.0], "dec": [0.0]})
    detect(catalog, 2, {"ra": [11.0], "dec": [0.0]})
    run(catalog)
    catalog.execute("DELETE FROM diffim WHERE visit = 2")
    assert run(catalog) == (0, 1)
    assert catalog.sql("SELECT dia_object_id FROM dia_object").fetchall() == [(1 << 22,)]
    assert catalog.sql("SELECT change, successor_id FROM dia_object_history").fetchall() == [("withdrawn", None)]
    assert catalog.sql("SELECT count(*) FROM unit WHERE stage = 'associate'").fetchall() == [(1,)]


def track(visit, *, speed_arcsec_per_visit=5.0):
    """A mover, and a star that stays."""
    return {"ra": [10.0 + visit * speed_arcsec_per_visit * ARCSEC, 10.01], "dec": [0.0, 0.0]}


def test_a_mover_is_a_track_and_no_object(catalog):
    """Four detections along a line in one night are a tracklet with the right speed; what stays is an object."""
    for visit in range(1, 5):
        detect(catalog, visit, track(visit), mjd=60000.1 + 0.01 * visit)
        run(catalog)
    assert catalog.sql("SELECT n_dia_source FROM dia_object").fetchall() == [(4,)]
    ((n, rate, angle, arc),) = catalog.sql(
        "SELECT n_dia_source, rate_deg_per_day, angle_deg, arc_h FROM tracklet"
    ).fetchall()
    assert n == 4 and arc == pytest.approx(0.72)
    assert rate == pytest.approx(5.0 * ARCSEC / 0.01, rel=1e-3) and angle == pytest.approx(90.0, abs=0.1)
    found = catalog.sql("SELECT dia_object_id, tracklet_id FROM dia_association WHERE dec = 0 AND ra < 10.009")
    assert found.fetchall() == [(None, (1 << 22))] * 4
    # the first two were objects until the third showed what they are
    assert catalog.sql("SELECT DISTINCT change FROM dia_object_history").fetchall() == [("withdrawn",)]


def test_tracks_do_not_depend_on_the_order_either():
    """The nights of a mover in any order, and a later detection on top of one of its places: the same tables."""
    expected = None
    for order in ([1, 2, 3, 4, 9], [9, 3, 1, 4, 2], [4, 3, 9, 2, 1]):
        with empty_catalog() as catalog:
            for visit in order:
                rows = track(2) if visit == 9 else track(visit)  # in visit 9 something stands where it was in visit 2
                detect(catalog, visit, rows, mjd=60000.1 + (10.0 if visit == 9 else 0.01 * visit))
                run(catalog)
            expected = expected or tables(catalog)
            assert tables(catalog) == expected
    assert [row[5] for row in expected[2]] != [] and len(expected[0]) == 2


def test_changed_settings_link_anew(catalog):
    """A new radius makes every image due, and two sources 2 arcsec apart one object."""
    for visit, dec in ((1, 0.0), (2, 2.0 * ARCSEC)):
        detect(catalog, visit, {"ra": [10.0], "dec": [dec], "ra_err": [2e-4], "dec_err": [2e-4]})
    run(catalog)
    assert catalog.sql("SELECT count(*) FROM dia_object").fetchall() == [(2,)]
    wide = AssociateConfig(radius_arcsec=3.0)
    assert count_due(catalog, wide) == 2
    run(catalog, radius_arcsec=3.0)
    assert catalog.sql("SELECT count(*) FROM dia_object").fetchall() == [(1,)]


def test_a_killed_batch_leaves_nothing(catalog, monkeypatch):
    """A failure at the last step of a batch takes everything back."""
    detect(catalog, 1, {"ra": [10.0], "dec": [0.0]})
    run(catalog)
    before = tables(catalog)
    detect(catalog, 2, {"ra": [10.0], "dec": [0.0]})
    monkeypatch.setattr("dbpipe.catalog.work.units.record_verdicts", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(catalog)
    assert tables(catalog) == before


def test_an_image_that_cannot_be_linked_is_left_out(catalog, monkeypatch):
    """An error that nobody foresaw is the verdict of its image; the others are linked, and it follows on request."""
    from dbpipe.association import flow

    for visit in (1, 2, 3):
        detect(catalog, visit, {"ra": [10.0], "dec": [0.0]})
    link = flow.link

    def faulty(members, **settings):
        if 2 in members["visit"]:
            raise FloatingPointError("odd detections")
        return link(members, **settings)

    monkeypatch.setattr(flow, "link", faulty)
    verdicts, _ = associate(catalog, AssociateConfig(), run_id=1, options=Options(), report=Report())
    assert [(verdict.status, verdict.reason) for verdict in verdicts] == [
        ("done", None), ("failed", "FloatingPointError: odd detections"), ("done", None)
    ]  # fmt: skip
    monkeypatch.setattr(flow, "link", link)
    assert run(catalog) == (0, 0)
    verdicts, _ = associate(catalog, AssociateConfig(), run_id=1, options=Options(retry_failed=True), report=Report())
    assert [verdict.unit_key for verdict in verdicts] == ["visit=2,detector=0"]
    assert catalog.sql("SELECT n_dia_source FROM dia_object").fetchall() == [(3,)]
