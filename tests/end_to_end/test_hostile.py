"""A survey in which much goes wrong: every trouble has its verdict or its flag, and the good visits do not notice."""

import shutil

import numpy as np
import pandas as pd
import pytest
import small_survey
from manifest import read_manifest

import dbpipe
from dbpipe.catalog.sql.queries import load_named
from dbpipe.imaging import mask as planes
from dbpipe.io.planes import read_planes
from dbpipe.simulate import write_survey
from dbpipe.simulate.judge import judge, read_truth
from dbpipe.simulate.scene import PIXEL_TROUBLE, VISIT_TROUBLE

pytestmark = pytest.mark.slow

SCENE = (*PIXEL_TROUBLE, *VISIT_TROUBLE, "duplicate_id", "bright_star")
HOSTILE = {*VISIT_TROUBLE, "satellite", "nan_block", "duplicate_id"}
VERDICTS = {
    "trailed": ("calibrate", "exposure is trailed"),
    "empty": ("calibrate", "too few"),
    "truncated": ("ingest", "not readable FITS"),
    "no_wcs": ("ingest", "no WCS"),
    "filter_mismatch": ("ingest", "filter disagrees"),
    "duplicate_id": ("ingest", "visit and detector are in use by another file"),
}
"""What is wrong -> the stage that says so, and words of its reason."""


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    """Raw frames of a hostile survey, with truth."""
    folder = tmp_path_factory.mktemp("hostile_sky")
    n_visit = {"g": 3, "r": 7}
    write_survey(folder, seed=53, n_visit=n_visit, size_pix=640, scene=SCENE, density=small_survey.DENSITY)
    return folder


@pytest.fixture(scope="module")
def problems(sky):
    """Visit -> its problems, cosmic rays aside: every visit has those."""
    visits = read_manifest(sky)["visits"]
    return {entry["obsid"]: set(entry["problems"]) - {"cosmic_rays"} for entry in visits}


@pytest.fixture(scope="module")
def hostile(sky, tmp_path_factory):
    """The survey of all frames."""
    root = tmp_path_factory.mktemp("hostile") / "survey"
    small_survey.process(sky, root, n_worker=2)
    return root


@pytest.fixture(scope="module")
def calm(sky, problems, tmp_path_factory):
    """The survey of the good frames alone."""
    folder = tmp_path_factory.mktemp("calm")
    (folder / "raw").mkdir()
    for entry in read_manifest(sky)["visits"]:
        if not problems[entry["obsid"]] & HOSTILE:
            shutil.copy(sky / "raw" / entry["files"][0], folder / "raw")
    shutil.copy(sky / "refcat.csv", folder)
    small_survey.process(folder, folder / "survey", n_worker=2)
    return folder / "survey"


GUESTS = ("nebula", "bright_star")
"""What shines on the good visits, too: a nebula as bright as the sky, and a star of 12th magnitude."""
IN_HALO = planes.SATURATED | planes.NEAR_SATURATED


@pytest.fixture(scope="module")
def guests(tmp_path_factory):
    """Good visits of one sky without and with nebula and star: name -> (frames with truth, survey)."""
    made = {}
    for name, scene in (("without", ()), ("with", GUESTS)):
        folder = tmp_path_factory.mktemp(f"{name}_guests")
        write_survey(
            folder, seed=51, n_visit={"g": 3, "r": 7}, size_pix=640, scene=("cosmic_rays", *scene),
            density=small_survey.DENSITY,
        )  # fmt: skip
        small_survey.process(folder, folder / "survey", n_worker=2)
        made[name] = (folder, folder / "survey")
    return made


def outside_halos(expected, root):
    """Return which of the expected sources lie where a difference image is not flagged as saturated or halo."""
    outside = np.zeros(len(expected), bool)
    with dbpipe.open(root) as survey:
        paths = dict(survey.sql("SELECT visit, path FROM diffim").fetchall())
    for visit, rows in expected.groupby("obsid").indices.items():
        x, y = (np.rint(expected[name].to_numpy()[rows]).astype(int) for name in ("x", "y"))
        outside[rows] = (read_planes(root / paths[visit], ["MASK"]).arrays["MASK"][y, x] & IN_HALO) == 0
    return outside


def test_a_nebula_and_a_star_of_12th_magnitude_cost_little(guests):
    """Outside the star's halo completeness above 7 sigma stays within two sources."""
    visits = [entry["obsid"] for entry in read_manifest(guests["with"][0])["visits"]]
    without, with_them = (judged(root, sky, visits) for sky, root in (guests["without"], guests["with"]))
    expected = with_them.expected[outside_halos(with_them.expected, guests["with"][1])]
    strong = expected[expected.true_snr.abs() >= 7.0]
    both = strong.merge(
        without.expected[["obsid", "obj_id", "found"]], on=["obsid", "obj_id"], suffixes=("", "_without")
    )
    assert len(both) >= 100
    assert both.found.sum() >= both.found_without.sum() - 2


@pytest.mark.xfail(reason="0.82: the sky of a nebula that is steep at the edge of an exposure is not followed")
def test_a_nebula_and_a_star_of_12th_magnitude_spoil_no_purity(guests):
    """With nebula and star the purity of the clean sources stays above 0.95."""
    sky, root = guests["with"]
    assert judged(root, sky, [entry["obsid"] for entry in read_manifest(sky)["visits"]]).purity >= 0.95


def judged(root, sky, visits):
    """Compare the clean DIASources of some visits with truth."""
    queries = load_named("reports", "demo")
    with dbpipe.open(root) as survey:
        sources, weights = (survey.fetch(queries[name]).to_pandas() for name in ("clean_sources", "template_weights"))
    return judge(sources[sources.visit.isin(visits)], weights[weights.visit.isin(visits)], read_truth(sky))


def test_the_good_visits_do_not_notice(hostile, calm, sky, problems):
    """Completeness above 7 sigma and purity of the good visits are those of a survey without the others."""
    good = [visit for visit, found in problems.items() if not found & HOSTILE]
    with_them, without = (judged(root, sky, good) for root in (hostile, calm))
    n_strong = int((without.expected.true_snr.abs() >= 7.0).sum())
    assert n_strong >= 60
    one_source = 1.0 / n_strong
    assert with_them.completeness_above_7 >= without.completeness_above_7 - 2.0 * one_source
    assert with_them.purity >= without.purity - 0.03
    assert without.completeness_above_7 > 0.9


@pytest.mark.parametrize("problem", VERDICTS)
def test_what_cannot_be_used_has_its_verdict(hostile, problems, problem):
    """A visit of no use is refused by the stage that notices, with the reason."""
    (visit,) = (v for v, found in problems.items() if problem in found)
    stage, words = VERDICTS[problem]
    with dbpipe.open(hostile) as survey:
        found = survey.sql("SELECT stage, reason FROM unit WHERE status = 'failed'").fetchall()
        n_difference = survey.sql("SELECT count(*) FROM diffim WHERE visit = $visit", visit=visit).fetchall()[0][0]
    assert sum(verdict[0] == stage and words in verdict[1] for verdict in found) == 1
    assert n_difference == (problem == "duplicate_id")


def test_clouds_make_no_template(hostile, problems):
    """The visit through clouds is subtracted, but is in no template although its seeing is good."""
    (visit,) = (v for v, found in problems.items() if "cloudy" in found)
    with dbpipe.open(hostile) as survey:
        assert survey.sql("SELECT count(*) FROM diffim_input WHERE template_visit = $v", v=visit).fetchall() == [(0,)]


def test_the_satellite_is_on_record_and_its_streak_flagged(hostile, sky, problems):
    """One streak in one visit, on the line that truth knows; what is detected on it has the flag, and nothing else."""
    (visit,) = (v for v, found in problems.items() if "satellite" in found)
    regions = pd.read_parquet(sky / "truth" / "bad_regions.parquet")
    (line,) = regions[(regions.obsid == visit) & (regions.kind == "satellite")].itertuples()
    with dbpipe.open(hostile) as survey:
        streaks = survey.sql("SELECT * FROM streak").df()
        sources = survey.sql("SELECT visit, x, y, is_primary, flag_streak FROM dia_source").df()
        fraction = survey.sql("SELECT visit, fraction_streak FROM diffim").df().set_index("visit").fraction_streak
    assert streaks.visit.tolist() == [visit]
    direction = np.array([line.x1 - line.x0, line.y1 - line.y0]) / np.hypot(line.x1 - line.x0, line.y1 - line.y0)

    def distance(x, y):
        return np.abs((y - line.y0) * direction[0] - (x - line.x0) * direction[1])

    ends = streaks.iloc[0]
    assert max(distance(ends.x0, ends.y0), distance(ends.x1, ends.y1)) < 1.5
    mine = sources[sources.visit == visit]
    on_it = distance(mine.x, mine.y) < line.width
    assert mine.flag_streak[on_it & mine.is_primary].all()
    assert not mine.flag_streak[distance(mine.x, mine.y) > 3.0 * line.width].any()
    assert not sources.flag_streak[sources.visit != visit].any()
    assert (fraction[fraction.index != visit] == 0.0).all() and 0.005 < fraction[visit] < 0.08
