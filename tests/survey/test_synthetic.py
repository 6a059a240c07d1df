"""Made-up catalogs: as real as the commands can tell."""

import numpy as np
import pytest

from dbpipe.association.flow import associate
from dbpipe.catalog import sky_shards
from dbpipe.catalog.work.offer import Options
from dbpipe.errors import ConfigError
from dbpipe.runner.report import Report
from dbpipe.simulate import detections
from dbpipe.survey import Survey, synthetic

LINKS = "SELECT * FROM dia_association ORDER BY dia_source_id"
OBJECTS = "SELECT * FROM dia_object ORDER BY dia_object_id"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A survey of four visits, in two nights."""
    root = tmp_path_factory.mktemp("synthetic") / "survey"
    synthetic.make_survey(root, n_source=40_000)
    return root


def test_the_same_seed_gives_the_same_visit():
    """A visit hangs on the seed and on itself, and on nothing that was made before."""
    first, last = detections.plan_visits(1e6)[:: len(detections.plan_visits(1e6)) - 1]
    alone = detections.make_detections(3, last)
    detections.make_detections(3, first)
    again, other = detections.make_detections(3, last), detections.make_detections(4, last)
    assert all(np.array_equal(alone[name], again[name]) for name in alone)
    assert not np.array_equal(alone["ra"], other["ra"])


@pytest.mark.parametrize("n_source", [1e4, 1e6, 1e7, 1e8])
def test_every_field_is_visited_equally_often(n_source):
    """A catalog grows by area: fields have some hundred visits, at most two a night, in time order."""
    visits = detections.plan_visits(n_source)
    fields, count = np.unique([visit.field for visit in visits], return_counts=True)
    per_night = np.unique([(visit.night, visit.field) for visit in visits], axis=0, return_counts=True)[1]
    assert len(visits) == n_source / 1e4 and len(fields) == max(1, n_source / 1e6)
    assert count.max() <= 110 and per_night.max() <= 2
    assert np.all(np.diff([visit.midpoint_mjd_tai for visit in visits]) > 0)
    assert np.all(np.diff([visit.visit for visit in visits]) > 0)
    assert detections.plan_next_night(n_source)[0].night > visits[-1].night or len(visits) % 2


def test_the_sky_is_finite():
    """More detections than there are fields for are refused."""
    with pytest.raises(ConfigError, match="fields of the sky"):
        detections.plan_visits(1e11)


def test_a_made_up_catalog_is_healthy(root):
    """It breaks no rule, and all stages that it has rows of are done."""
    with Survey.open(root) as survey:
        assert [finding for finding in survey.check() if finding.n_row] == []
        due = survey.count_due()
    assert {name: n for name, n in due.items() if n and name != "forced"} == {}


def test_objects_are_those_that_associate_finds(root):
    """Linked from nothing in the order of time, the same detections give the same links and objects."""
    with Survey.open(root, read_only=False) as survey:
        connection = survey.connection
        before = [survey.fetch(query) for query in (LINKS, OBJECTS)]
        for tile in sky_shards.find_tiles(connection):
            connection.execute(f"DELETE FROM association.source_{tile}; DELETE FROM association.object_{tile}")
        connection.execute("DELETE FROM association.image; DELETE FROM unit WHERE stage = 'associate'")
        associate(connection, survey.settings["associate"], run_id=1, options=Options(), report=Report())
        assert [survey.fetch(query) for query in (LINKS, OBJECTS)] == before
    assert before[0].num_rows > 30_000


def test_detections_of_an_object_are_found(root):
    """Looking where the object can be gives what a search of the whole catalog gives; an unknown id is refused."""
    with Survey.open(root) as survey:
        number = survey.sql("SELECT max(dia_object_id) FROM dia_object WHERE n_dia_source = 4").fetchall()[0][0]
        query = "SELECT dia_source_id FROM dia_association WHERE dia_object_id = $number ORDER BY midpoint_mjd_tai"
        linked = survey.fetch(query, number=number)["dia_source_id"].to_pylist()
        assert survey.find_detections(number)["dia_source_id"].to_pylist() == linked and len(linked) == 4
        with pytest.raises(ConfigError, match="no object 17"):
            survey.find_detections(17)


def test_a_new_visit_renames_nothing(root):
    """What comes later joins the objects that are there, as if they had been linked visit by visit."""
    visit = detections.plan_next_night(40_000)[0]
    with Survey.open(root, read_only=False) as survey:
        synthetic.add_visits(survey, [visit], 1)
        synthetic.commit_detections(survey, visit, seed=1, run_id=1)
        settings = survey.settings["associate"]
        verdicts, _ = associate(survey.connection, settings, run_id=1, options=Options(), report=Report())
        changes = survey.fetch("SELECT change, count(*) AS n FROM dia_object_history GROUP BY change").to_pylist()
        joined = survey.fetch(
            "SELECT count(*) FROM dia_association WHERE visit = $visit AND dia_object_id < visit << 22",
            visit=visit.visit,
        )
    assert len(verdicts) == 1 and sum(row["n"] for row in changes) < 20
    assert joined.to_pylist()[0]["count_star()"] > 4000
