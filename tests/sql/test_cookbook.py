"""The cookbook's questions, asked of a survey made by hand whose answers we know."""

import hand_made
import pyarrow as pa
import pytest

from dbpipe.catalog.sql.cookbook import find_recipe, parse_value, read_recipes
from dbpipe.catalog.sql.queries import parameters
from dbpipe.errors import ConfigError

S, V, L, R, ONCE = hand_made.SUPERNOVA, hand_made.VARIABLE, hand_made.LEFT, hand_made.RIGHT, hand_made.ONCE


@pytest.fixture
def ask(survey):
    """Return a function that runs a recipe and gives its rows as dictionaries."""

    def run(name, **given):
        recipe = find_recipe(name)
        return survey.sql(recipe.query, params=recipe.bind(given) or None).to_arrow_table().to_pylist()

    return run


def ids(rows):
    return [row["dia_object_id"] for row in rows]


def test_there_are_twenty_and_each_says_what_it_asks():
    """Each recipe has a question, and its declared parameters are those that its text uses."""
    recipes = read_recipes()
    assert len(recipes) == 20
    for recipe in recipes.values():
        assert "?" in recipe.question, recipe.name
        assert {parameter.name for parameter in recipe.parameters} == parameters(recipe.query), recipe.name
        assert "ORDER BY" in recipe.query or recipe.name == "provenance", recipe.name


def test_new_objects(ask):
    """The supernova is new in the third night, the object seen once in the second; the last night has nothing new."""
    assert ids(ask("new_objects", night=20260103)) == [S]
    assert ids(ask("new_objects", night=20260102)) == [ONCE]
    assert ask("new_objects") == []
    assert ids(ask("new_objects", night=20260101)) == [V, L, R]


def test_light_curve(ask):
    """Seven epochs in time, of which three are detections; the magnitude is that of template and difference."""
    rows = ask("light_curve", dia_object_id=S)
    assert len(rows) == 7 and sum(row["detected"] for row in rows) == 3
    last = rows[-1]
    assert last["snr"] == 50 and last["total_magnitude"] == pytest.approx(31.4 - 2.5 * 4.176091, abs=1e-4)


def test_around(ask):
    """A small radius around the right image has its detections alone; a larger one those of both, nearest first."""
    ra, dec = hand_made.place_of(R)
    assert set(ids(ask("around", ra=ra, dec=dec, radius_arcsec=1))) == {R}
    rows = ask("around", ra=ra, dec=dec, radius_arcsec=2)
    assert ids(rows) == [R] * 4 + [L] * 4
    assert len(ask("around", ra=ra, dec=dec, radius_arcsec=200)) == 8 + 3 + 7 + 1 + 2


def test_rising(ask):
    """Only the supernova rises, in r; in g it has a slope too, and with more epochs wanted nothing does."""
    rows = ask("rising", within_day=2.5)
    assert (rows[0]["dia_object_id"], rows[0]["band"]) == (S, "r")
    assert rows[0]["slope_njy_per_day"] == pytest.approx((5000 + 30) / 2)
    assert rows[0]["slope_err_njy_per_day"] == pytest.approx(100 / 2**0.5)
    assert S in ids(ask("rising")) and not {L, R, ONCE} & set(ids(ask("rising", min_sigma=15)))
    assert ask("rising", min_epoch=5) == []


def test_repeated(ask):
    """The variable star alone was detected five times."""
    assert ids(ask("repeated")) == [V]
    assert ids(ask("repeated", min_detection=4)) == [V, L, R]


def test_variable(ask):
    """The star that goes up and down in both bands together leads; the quasar varies in one band alone."""
    found = {row["dia_object_id"]: row["stetson_j"] for row in ask("variable", min_stetson_j=-100)}
    assert max(found, key=found.get) == V and found[V] > 20
    assert abs(found[ONCE]) < 2 and abs(found[R]) < 3
    assert ids(ask("variable", min_stetson_j=20))[0] == V and L not in ids(ask("variable", min_stetson_j=20))


def test_movers(ask):
    """The track of the third night has two detections and 1.5 arcsec an hour."""
    (row,) = ask("movers")
    assert row["arcsec_per_hour"] == pytest.approx(1.5) and row["dia_source_ids"] == [9001, 9002]
    assert row["magnitude"] == pytest.approx(31.4 - 2.5 * 3.60206, abs=1e-4)
    assert ask("movers", night=20260101) == [] and ask("movers", max_arcsec_per_hour=1) == []


def test_image_pairs(ask):
    """The two images are the one pair, 1.5 arcsec apart; a narrower limit loses it."""
    (row,) = ask("image_pairs")
    assert (row["dia_object_id"], row["other_dia_object_id"]) == (L, R)
    assert row["distance_arcsec"] == pytest.approx(1.5, abs=1e-4)
    assert ask("image_pairs", max_arcsec=1) == []


def test_before_first_detection(ask):
    """Four epochs before the explosion, each with a limit of five sigma above what was measured."""
    rows = ask("before_first_detection", dia_object_id=S)
    assert [row["visit"] for row in rows] == [101, 102, 103, 104] and rows[0]["day_from_first"] == pytest.approx(-2)
    assert rows[0]["limit_magnitude"] == pytest.approx(31.4 - 2.5 * 2.71600, abs=1e-4)  # 520 nJy
    assert rows[1]["limit_magnitude"] == pytest.approx(31.4 - 2.5 * 2.69897, abs=1e-4)  # a negative flux counts as 0


def test_color_at_peak(ask):
    """g - r of the variable at its brightest; the supernova's peak has no g image within half a day."""
    rows = {row["dia_object_id"]: row for row in ask("color_at_peak", within_day=0.5)}
    assert rows[V]["color"] == pytest.approx(-2.5 * 0.0669468, abs=1e-5) and S not in rows
    assert rows[V]["color_err"] == pytest.approx(1.0857 * (1 / 30**2 + 1 / 35**2) ** 0.5, rel=1e-3)
    assert ask("color_at_peak", blue="r", red="z") == []
    assert S in ids(ask("color_at_peak", within_day=1.5))


def test_seen_once(ask):
    """The object of one detection, with the six other epochs of its place."""
    (row,) = ask("seen_once")
    assert (row["dia_object_id"], row["max_score"], row["n_other_epoch"]) == (ONCE, 9, 6)
    assert row["highest_other_snr"] == pytest.approx(0.3)
    assert ask("seen_once", min_score=10) == []


def test_crossmatch(ask, survey):
    """A list of positions finds the objects within the radius, and keeps its own columns."""
    ra, dec = hand_made.place_of(V)
    survey.register("targets", pa.table({"name": ["near", "far"], "ra": [ra, 200.0], "dec": [dec + 1 / 3600, 0.0]}))
    try:
        (row,) = ask("crossmatch")
        assert (row["name"], row["dia_object_id"]) == ("near", V)
        assert row["distance_arcsec"] == pytest.approx(1, abs=1e-4)
        assert ask("crossmatch", radius_arcsec=0.5) == []
    finally:
        survey.unregister("targets")


def test_density_map(ask, survey):
    """Every clean detection is in one pixel, whatever the order."""
    ((n_source,),) = survey.execute("SELECT count(*) FROM dia_source_clean").fetchall()
    for order in (0, 10, 14):
        assert sum(row["n_dia_source"] for row in ask("density_map", healpix_order=order)) == n_source
    assert len(ask("density_map", healpix_order=0)) == 1 and len(ask("density_map", healpix_order=16)) > 3


def test_nightly_quality(ask):
    """Seeing grows from night to night; the last night in g has no difference image."""
    rows = ask("nightly_quality")
    assert [(row["night"], row["band"]) for row in rows[:2]] == [(20260101, "g"), (20260101, "r")]
    assert [row["seeing_arcsec"] for row in rows[1::2]] == pytest.approx([0.7, 0.8, 0.9, 1.0])
    assert rows[6]["n_difference_image"] == 0 and rows[6]["difference_depth_mag"] is None


def test_cadence(ask):
    """Four visits in four nights in a row."""
    for row in ask("cadence"):
        assert (row["n_visit"], row["n_night"], row["median_gap_day"], row["longest_gap_day"]) == (4, 4, 1, 1)


def test_missing_images(ask):
    """The one image without a difference, and what the stage said."""
    (row,) = ask("missing_images")
    assert (row["visit"], row["stage"], row["reason"]) == (108, "difference", "too few stars")


def test_false_alarms(ask, survey):
    """Nothing is below the score at first; with a high limit both signs are counted."""
    assert ask("false_alarms") == []
    rows = ask("false_alarms", max_score=1000)
    second = next(row for row in rows if (row["night"], row["band"]) == (20260102, "r"))
    assert (second["n_positive"], second["n_negative"], second["negative_over_positive"]) == (1, 3, 3.0)


def test_template_of(ask):
    """The inputs in the order of their share, with their distance in time."""
    rows = ask("template_of", dia_source_id=10501)
    assert [(row["template_visit"], row["weight"]) for row in rows] == [(101, 0.75), (103, 0.25)]
    assert [row["day_from_source"] for row in rows] == pytest.approx([-2, -1])


def test_provenance(ask):
    """The files and the code of one detection."""
    (row,) = ask("provenance", dia_source_id=10501)
    assert (row["raw_sha256"], row["diffim_path"], row["code_version"]) == ("raw105", "files/diffim/105.fits", "0.1.0")


def test_cost(ask):
    """The parts of all stages add to one; calibration was the dearest."""
    rows = ask("cost")
    assert rows[0]["stage"] == "calibrate" and rows[0]["cpu_s"] == 32
    assert sum(row["part_of_all"] for row in rows) == pytest.approx(1)
    assert {row["stage"]: row["n_failed"] for row in rows}["difference"] == 1


def test_values_on_the_command_line_are_what_they_look_like():
    """Numbers, truth and nothing are recognized; quotes make anything a text, also one that looks like SQL."""
    texts = ("60", "-1.5", "1e3", "null", "true", "r", "'5'", "1; DROP TABLE visit")
    assert [parse_value(text) for text in texts] == [60, -1.5, 1000.0, None, True, "r", "5", "1; DROP TABLE visit"]


def test_mistakes_in_parameters_are_named(survey):
    """A parameter that is missing, misspelt, or a recipe that is not there: the message leads to the right one."""
    with pytest.raises(ConfigError, match=r"needs \$ra: .deg. ICRS right ascension"):
        find_recipe("around").bind({"dec": 1})
    with pytest.raises(ConfigError, match="no parameter .radius; did you mean radius_arcsec"):
        find_recipe("around").bind({"radius": 1})
    with pytest.raises(ConfigError, match="no light_curv; did you mean light_curve"):
        find_recipe("light_curv")
    text = "x' OR 1 = 1 --"
    recipe = find_recipe("color_at_peak")
    assert survey.sql(recipe.query, params=recipe.bind({"blue": text})).fetchall() == []
