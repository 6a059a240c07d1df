"""The decision which exposures make the template: the cut as a query, its reasons, its versions."""

import numpy as np
import pytest

from dbpipe.catalog.migrations import migrate
from dbpipe.catalog.store import connection as catalog
from dbpipe.catalog.store.rekey import put_back, rekeying
from dbpipe.catalog.views import apply_views
from dbpipe.catalog.work.offer import Options
from dbpipe.errors import ConfigError
from dbpipe.template import choice as templates
from dbpipe.template import due
from dbpipe.template.contract import AutoCut, TemplateConfig, Veto

FWHM = [5.6, 3.4, 4.1, 3.5, 3.8, 4.85, 3.6, 4.5]
"""Of visits 0 to 7, native pixels."""
CONFIG = TemplateConfig()


def add_exposure(database, visit, fwhm_pix, *, band="r", **changes):
    """Insert a calibrated exposure with one patch."""
    database.execute("INSERT INTO band VALUES (?) ON CONFLICT DO NOTHING", [band])
    database.execute("INSERT INTO visit VALUES (?, ?, 'x', ?, 30, NULL, 1)", [visit, band, 61000.0 + visit])
    row = {name: 0 for name, *_ in database.execute("DESCRIBE calexp").fetchall()}
    row |= {"visit": visit, "path": f"{visit}", "sha256": f"{visit}", "wcs": "", "njy_per_e": 3.0, "sky_noise_e": 28.0}
    row |= {"corner_ra": [0.0] * 4, "corner_dec": [0.0] * 4, "pixel_scale_arcsec": 0.2}
    row |= {"psf_fwhm_pix": fwhm_pix - 0.1, "psf_fwhm_det_pix": fwhm_pix, "depth_5sigma_mag": 24.0}
    row |= {"n_source": 400, "sky_e": 784.0, "fraction_masked": 0.01}
    row |= {"psf_effective_area_pix": 4 * np.pi * (fwhm_pix / 2.3548) ** 2, "astrom_rms_arcsec": 0.02} | changes
    names, holes = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"INSERT INTO calexp ({names}) VALUES ({holes})", list(row.values()))
    database.execute("INSERT INTO patch_overlap VALUES (0, 500500, ?, 0)", [visit])


WAYS = ({"max_psf_fwhm": 4.0}, {"quantile": 0.5}, {"auto": True})


@pytest.fixture
def database():
    """A catalog in memory with eight exposures on a tract of finer pixels."""
    connection = catalog.memory()
    migrate(connection)
    apply_views(connection)
    connection.execute("INSERT INTO detector VALUES (0, 'a')")
    connection.execute("INSERT INTO tract VALUES (0, 0, 0, 0.16, 2048)")
    for visit, fwhm_pix in enumerate(FWHM):
        add_exposure(connection, visit, fwhm_pix)
    yield connection
    connection.close()


def propose(database, config=CONFIG, **choice):
    (decision,) = templates.propose(database, config, **choice)
    return decision


def chosen(decision):
    return {row["visit"] for row in decision.exposures if row["selected"]}


def half_way(decision):
    """FWHM between the sharpest and the widest input [pix of the tract]; half-maximum FWHMs are 0.1 pix smaller."""
    inputs = [FWHM[visit] - 0.1 for visit in chosen(decision)]
    return np.sqrt(min(inputs) * max(inputs)) * 0.2 / 0.16


@pytest.mark.parametrize("limit", [4.0, 4.85, 10.0])
def test_a_number_is_the_cut(database, limit):
    """Exposures up to the limit go in; the model PSF, in tract pixels, lies between the sharpest and the widest."""
    decision = propose(database, max_psf_fwhm=limit)
    assert chosen(decision) == {visit for visit, fwhm_pix in enumerate(FWHM) if fwhm_pix <= limit}
    assert decision.target_fwhm_pix == pytest.approx(half_way(decision))
    assert decision.how == "max_psf_fwhm_pix" and float(decision.how_value) == limit
    assert decision.n_input == len(chosen(decision))


@pytest.mark.parametrize(("quantile", "n_input"), [(0.01, 2), (0.5, 4), (0.75, 6), (1.0, 8)])
def test_a_quantile_takes_the_sharpest_part(database, quantile, n_input):
    """That part of the exposures goes in, the sharpest ones, two at least."""
    decision = propose(database, quantile=quantile)
    assert chosen(decision) == set(np.argsort(FWHM)[:n_input].tolist())
    assert decision.target_fwhm_pix == pytest.approx(half_way(decision))


def test_auto_takes_the_sharpest_cut_that_is_deep(database):
    """The model PSF keeps within what the sharpest exposure can bear, and no other cut allowed is deeper."""
    decision = propose(database, auto=True)
    sharpest = min(FWHM) - 0.1
    assert decision.target_fwhm_pix * 0.16 / 0.2 <= CONFIG.auto.max_sharpening * sharpest
    assert [row["n_input"] for row in decision.curve if row["quantity"] is None] == list(range(2, 9))
    allowed = [row for row in decision.curve if row["target_fwhm_pix"] <= CONFIG.auto.max_sharpening * sharpest]
    deepest = max(row["predicted_depth_mag"] for row in allowed)
    assert decision.predicted_depth_mag >= deepest - CONFIG.auto.min_gain_mag
    assert chosen(decision) == set(np.argsort(FWHM)[: decision.n_input].tolist())
    (taken,) = (row for row in decision.curve if row["is_chosen"])
    assert decision.how_value == f"psf_fwhm_det_pix <= {taken['max_psf_fwhm_pix']:.4f}"
    assert taken["predicted_depth_mag"] == decision.predicted_depth_mag


def test_auto_leaves_out_what_would_widen_the_model(database):
    """Elongated exposures would widen the model PSF; a cut in ellipticity goes with the one in seeing, as SQL."""
    database.execute("DELETE FROM patch_overlap WHERE visit > 5")
    database.execute("UPDATE calexp SET psf_fwhm_pix = 4 + 0.01 * visit, psf_fwhm_det_pix = psf_fwhm_pix")
    database.execute("UPDATE calexp SET psf_effective_area_pix = 36")
    database.execute("UPDATE calexp SET psf_e1 = 0.3 WHERE visit % 2 = 0")
    decision = propose(
        database,
        TemplateConfig(auto=AutoCut(max_sharpening=1.05, min_input=2), veto=Veto(max_ellipticity=0.4)),
        auto=True,
    )
    rows = {row["visit"]: row for row in decision.exposures}
    assert chosen(decision) == {1, 3, 5} and rows[2]["reason"] == "ellipticity 0.3, the limit is 0"
    assert decision.target_fwhm_pix * 0.16 / 0.2 == pytest.approx(np.sqrt(4.01 * 4.05))
    condition = decision.how_value.replace(" AND ", " and ")
    assert {visit for visit, row in rows.items() if eval(condition, {}, row)} == {1, 3, 5}


def test_a_worthless_exposure_brings_nothing(database):
    """A noisy exposure that no veto stops changes the predicted depth by less than its seeing suggests."""
    before = {row["n_input"]: row["predicted_depth_mag"] for row in propose(database, auto=True).curve}
    add_exposure(database, 8, 3.45, sky_noise_e=28.0 * 2.3, depth_5sigma_mag=23.1)
    after = [row for row in propose(database, auto=True).curve if row["quantity"] is None and row["n_input"] == 4]
    assert after[0]["predicted_depth_mag"] < before[4]


def test_more_exposures_make_a_deeper_template(database):
    """Of nearly equal seeing, every exposure more adds depth, and the second four add less than the first."""
    database.execute("UPDATE calexp SET psf_fwhm_det_pix = 4 + 1e-4 * visit, psf_effective_area_pix = 36")
    curve = propose(database, auto=True).curve
    depth = [row["predicted_depth_mag"] for row in curve if row["quantity"] is None]
    gain = np.diff(depth)
    assert (gain > 0).all() and gain[:3].sum() > gain[3:].sum()


def test_a_select_of_the_user_decides(database, tmp_path):
    """What the user's SELECT gives goes in, from any table, and decides the model PSF."""
    file = tmp_path / "mine.sql"
    file.write_text("SELECT visit, detector FROM calexp WHERE visit % 2 = 0\n")
    decision = propose(database, sql=file)
    assert chosen(decision) == {0, 2, 4, 6}
    assert decision.target_fwhm_pix == pytest.approx(half_way(decision))
    file.write_text("SELECT visit, detector FROM candidate WHERE veto IS NULL ORDER BY psf_fwhm_det_pix LIMIT 3")
    assert chosen(propose(database, sql=file)) == {1, 3, 6}


@pytest.mark.parametrize("text", ["SELECT visit FROM calexp", "SELEKT 1", "SELECT visit, detector FROM nothing"])
def test_a_wrong_select_is_named(database, tmp_path, text):
    """A SELECT that is none, or lacks a column, is the user's mistake and says so."""
    (tmp_path / "mine.sql").write_text(text)
    with pytest.raises(ConfigError, match="visit and detector"):
        propose(database, sql=tmp_path / "mine.sql")


@pytest.mark.parametrize("text", ["CREATE TABLE mine (visit BIGINT)", "DELETE FROM patch_overlap", ""])
def test_a_statement_that_is_no_select_is_refused(database, tmp_path, text):
    """What gives no rows is the user's mistake, and changes nothing."""
    (tmp_path / "mine.sql").write_text(text)
    with pytest.raises(ConfigError):
        propose(database, sql=tmp_path / "mine.sql")
    assert database.sql("SELECT count(*) FROM patch_overlap").fetchall() == [(8,)]


def test_a_cut_that_nothing_passes_is_an_error(database):
    """The message names the band, the choice and the sharpest exposure."""
    with pytest.raises(ConfigError, match=r"no r exposure.*3\.3.*3\.40 pix"):
        propose(database, max_psf_fwhm=3.3)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"depth_5sigma_mag": 22.5}, "too shallow: 5 sigma depth 22.50 mag, the median is 24.00"),
        ({"psf_e1": 0.2, "psf_e2": -0.2}, "PSF ellipticity 0.28, the limit is 0.25"),
        ({"astrom_rms_arcsec": 0.1}, "positions: rms 0.100 arcsec, the median is 0.020"),
        ({"njy_per_e": 9.0}, "clouds: transparency 0.33, the limit is 0.50"),
        ({"n_source": 12}, "nearly empty: 12 sources, the median is 400"),
        ({"fraction_masked": 0.45}, "masked: 45% of the pixels, the limit is 30%"),
        ({"sky_noise_e": 120.0, "depth_5sigma_mag": 22.4}, "too shallow: 5 sigma depth 22.40 mag, the median is 24.00"),
    ],
)
def test_seeing_alone_may_deceive(database, changes, reason):
    """A cloudy, trailed or misplaced exposure stays out, sharp as it may be, and the reason has the numbers."""
    add_exposure(database, 8, 3.0, **changes)
    for choice in ({"max_psf_fwhm": 4.85}, {"quantile": 0.5}, {"auto": True}):
        decision = propose(database, **choice)
        (row,) = (row for row in decision.exposures if row["visit"] == 8)
        assert not row["selected"] and row["reason"] == reason
        assert chosen(decision)


def test_every_exposure_has_its_reason(database):
    """In or out, an exposure says why, with its FWHM and the limit; the sharpest comes first."""
    decision = propose(database, max_psf_fwhm=4.0)
    reasons = {row["visit"]: row["reason"] for row in decision.exposures}
    assert reasons[1] == "FWHM 3.40 pix, within 4.00" and reasons[0] == "FWHM 5.60 pix, above 4.00"
    assert [row["visit"] for row in decision.exposures] == np.argsort(FWHM).tolist()


def decide(database, run_id=1, **choice):
    templates.decide(database, CONFIG, templates.propose(database, CONFIG, **choice), run_id)


def versions(database):
    return database.sql("SELECT template_id, version, n_input FROM template ORDER BY template_id").fetchall()


def test_a_new_decision_is_a_new_version(database):
    """The old one stays on record with its inputs; the new one is in force."""
    decide(database, max_psf_fwhm=4.0)
    decide(database, max_psf_fwhm=4.85, run_id=2)
    assert versions(database) == [(1, 1, 4), (2, 2, 7)]
    assert database.sql("SELECT count(*) FROM template_input GROUP BY template_id").fetchall() == [(8,), (8,)]
    (current,) = templates.in_force(database)
    assert chosen(current) == {1, 2, 3, 4, 5, 6, 7} and current.how_value == "4.85"


def test_the_same_decision_is_no_new_version(database):
    """Deciding the same exposures and width again, by whatever way, changes nothing."""
    decide(database, max_psf_fwhm=4.85)
    decide(database, max_psf_fwhm=4.85, run_id=2)
    assert versions(database) == [(1, 1, 7)]


def test_proposing_decides_nothing(database):
    """A proposal leaves no row."""
    propose(database, auto=True)
    assert versions(database) == []


def test_auto_keeps_its_curve(database):
    """The cuts that were weighed are on record with the decision, and which of them was taken."""
    database.execute("UPDATE calexp SET psf_e1 = 0.01 * visit")
    decide(database, auto=True)
    rows = database.sql("SELECT n_input FROM template_curve WHERE quantity IS NULL ORDER BY n_input").fetchall()
    assert rows == [(n,) for n in range(2, 9)]
    (current,) = templates.in_force(database)
    (taken,) = (row for row in current.curve if row["is_chosen"])
    assert taken["n_input"] == current.n_input
    kinds = database.sql("SELECT DISTINCT quantity FROM template_curve WHERE quantity IS NOT NULL").fetchall()
    assert kinds == [("ellipticity",)]  # the only other thing in which these exposures differ


def test_every_exposure_has_a_predicted_depth(database):
    """It is that of the choice, itself left out, and follows when exposures come or change; the choice stays."""
    decide(database, auto=True)
    rows = database.sql("SELECT visit, predicted_depth_mag, n_input FROM template_prediction ORDER BY visit").fetchall()
    (current,) = templates.in_force(database)
    assert [row[0] for row in rows] == list(range(8))
    assert np.median([row[1] for row in rows]) == pytest.approx(current.predicted_depth_mag)
    assert [row[2] for row in rows] == [current.n_input - (visit in chosen(current)) for visit in range(8)]
    add_exposure(database, 8, 3.3)
    templates.decide_missing(database, CONFIG, 3)
    again = database.sql(
        "SELECT visit, predicted_depth_mag, n_input FROM template_prediction ORDER BY visit"
    ).fetchall()
    assert again[:8] == rows and again[8][2] == current.n_input
    assert versions(database) == [(1, 1, current.n_input)]


def test_nothing_is_due_until_something_is_new(database):
    """A run decides and predicts once; then nothing is due until an exposure or a setting says otherwise."""
    assert due.is_due(database, CONFIG, Options())
    templates.decide_missing(database, CONFIG, 1)
    assert not due.is_due(database, CONFIG, Options())
    strict = TemplateConfig(veto=Veto(max_ellipticity=0.1))
    assert due.is_due(database, CONFIG, Options()) is due.is_due(database, strict, Options()) is False
    add_exposure(database, 8, 4.0, psf_e1=0.2)
    assert due.is_due(database, CONFIG, Options())
    templates.decide_missing(database, CONFIG, 2)
    assert not due.is_due(database, CONFIG, Options()) and due.is_due(database, strict, Options())
    assert len(versions(database)) == 1


def test_every_band_gets_its_own_decision(database):
    """Only bands without a template are decided when one is missing; the other stays as it was."""
    decide(database, max_psf_fwhm=4.85)
    for visit, fwhm_pix in enumerate([4.0, 4.2, 4.4], start=20):
        add_exposure(database, visit, fwhm_pix, band="g")
    config = TemplateConfig(choose="quantile", quantile=0.67)
    templates.decide_missing(database, config, 3)
    by_band = {decision.band: decision for decision in templates.in_force(database)}
    assert by_band["r"].how == "max_psf_fwhm_pix" and by_band["g"].how == "quantile"
    assert chosen(by_band["g"]) == {20, 21}
    assert [decision.band for decision in templates.in_force(database, band=["g"])] == ["g"]
    assert [d.band for d in templates.propose(database, CONFIG, band=["r"], auto=True)] == ["r"]


def test_seeing_is_compared_on_the_sky(database):
    """A visit binned 2 x 2 has half the FWHM in its pixels and the same seeing: it goes where its seeing puts it."""
    unbinned = {tuple(how.items()): propose(database, **how) for how in WAYS}
    database.execute("""
        UPDATE calexp SET pixel_scale_arcsec = 0.4, psf_fwhm_pix = psf_fwhm_pix / 2, sky_noise_e = sky_noise_e * 2,
            psf_fwhm_det_pix = psf_fwhm_det_pix / 2, psf_effective_area_pix = psf_effective_area_pix / 4
        WHERE visit IN (1, 6)
    """)
    for how in WAYS:
        before, after = unbinned[tuple(how.items())], propose(database, **how)
        assert chosen(after) == chosen(before)
        assert after.target_fwhm_pix == pytest.approx(before.target_fwhm_pix)
        assert after.predicted_depth_mag == pytest.approx(before.predicted_depth_mag)
    decide(database, max_psf_fwhm=4.0)
    (current,) = templates.in_force(database)
    fwhm_pix = [row["psf_fwhm_det_pix"] for row in current.exposures]
    assert fwhm_pix == pytest.approx(sorted(FWHM), rel=0.01) and fwhm_pix == sorted(fwhm_pix)


@pytest.mark.parametrize("choice", [{"auto": True}, {"quantile": 0.5}, {"max_psf_fwhm": 4.0}])
def test_an_input_that_turns_out_to_be_of_another_band_is_decided_without(database, choice):
    """The template is decided anew, in the way that it was, and once; other corrections change no decision."""
    templates.decide(database, CONFIG, templates.propose(database, CONFIG, **choice), 1)
    (before,) = templates.in_force(database)
    database.execute("UPDATE visit SET airmass = 1.5")
    templates.decide_missing(database, CONFIG, 2)
    assert templates.in_force(database) == [before]
    database.execute("INSERT INTO band VALUES ('g')")
    with rekeying(database, "visit", [1]), catalog.transaction(database):
        database.execute("UPDATE visit SET band = 'g' WHERE visit = 1")
        put_back(database)
    for run_id in (3, 4):
        templates.decide_missing(database, CONFIG, run_id)
    (after,) = templates.in_force(database)
    assert after.how == before.how and 1 in chosen(before) and chosen(after) >= chosen(before) - {1}
    assert 1 not in chosen(after) and database.execute("SELECT max(version) FROM template").fetchall() == [(2,)]


def test_an_unknown_way_is_refused():
    """A setting that names no way to choose lists those there are."""
    with pytest.raises(ConfigError, match="auto, quantile, max_psf_fwhm_pix, sql"):
        TemplateConfig(choose="best")


def fail_calibration(database, visit, kind, n_attempt):
    """Put on record that the calibration of an exposure broke off."""
    key = f"visit={visit},detector=0"
    database.execute("INSERT INTO visit VALUES (?, 'r', 'x', ?, 30, NULL, 1) ON CONFLICT DO NOTHING", [visit, 61000.0])
    row = {name: 0 for name, *_ in database.execute("DESCRIBE raw").fetchall()}
    row |= {"visit": visit, "path": f"{visit}", "sha256": "", "instrument_sha256": ""}
    names, holes = ", ".join(row), ", ".join("?" * len(row))
    database.execute(f"INSERT INTO raw ({names}) VALUES ({holes})", list(row.values()))
    database.execute("INSERT INTO unit_failure VALUES ('calibrate', ?, ?, ?, NULL)", [key, kind, n_attempt])


def test_the_first_template_waits_for_what_is_tried_again(database, caplog):
    """While a run may still calibrate an exposure of the band, no template is decided without it, three runs long."""
    fail_calibration(database, 50, "died", 1)
    for n_run in (1, 2, 3):
        (verdict,) = templates.decide_missing(database, CONFIG, n_run)
        assert verdict.kind == "transient" and "waits for exposures" in verdict.reason
        assert (verdict.numbers["n_exposure"], verdict.numbers["n_run"]) == (1, n_run)
        assert versions(database) == []
    assert [verdict.status for verdict in templates.decide_missing(database, CONFIG, 4)] == ["done"]
    assert len(versions(database)) == 1 and "decided without 1 exposures" in caplog.text
    assert database.sql("FROM unit WHERE stage = 'template'").fetchall() == []


@pytest.mark.parametrize(("kind", "n_attempt"), [("data", 1), ("died", 3), ("bug", 1)])
def test_the_first_template_does_not_wait_for_what_is_given_up(database, kind, n_attempt):
    """Exposures that were refused, or given up after three runs, hold up nothing."""
    fail_calibration(database, 50, kind, n_attempt)
    assert [verdict.status for verdict in templates.decide_missing(database, CONFIG, 1)] == ["done"]
    assert len(versions(database)) == 1


def test_a_decision_that_meets_an_error_is_the_verdict_of_its_band(database, monkeypatch):
    """The other bands get their template, and the error its traceback."""
    for visit, fwhm_pix in enumerate([4.0, 4.2, 4.4], start=20):
        add_exposure(database, visit, fwhm_pix, band="g")
    choose = templates.choose

    def faulty(weighed, candidates, **limits):
        if any(row["visit"] == 20 for row in candidates):
            raise np.linalg.LinAlgError("Singular matrix")
        return choose(weighed, candidates, **limits)

    monkeypatch.setattr(templates, "choose", faulty)
    verdict, _ = templates.decide_missing(database, CONFIG, 1)
    assert (verdict.unit_key, verdict.kind, verdict.reason) == ("tract=0,band=g", "bug", "LinAlgError: Singular matrix")
    assert "in faulty" in database.sql("SELECT traceback FROM unit_failure").fetchall()[0][0]
    assert [decision.band for decision in templates.in_force(database)] == ["r"]


@pytest.mark.parametrize(("how", "how_value"), [("auto", None), ("quantile", "0.5"), ("max_psf_fwhm_pix", "4.6")])
def test_a_decision_of_an_older_version_is_taken_again_in_the_same_way(database, how, how_value):
    """What was decided before model PSFs were Moffat profiles gets a new version once; later decisions stay."""
    database.execute("INSERT INTO run VALUES (1, '2020-01-01', NULL, '', '{}', '{}')")
    database.execute("INSERT INTO run VALUES (2, now()::TIMESTAMP + INTERVAL 1 DAY, NULL, '', '{}', '{}')")
    row = {"template_id": 1, "tract": 0, "band": "r", "version": 1, "how": how, "how_value": how_value}
    row |= {"target_fwhm_pix": 3.0, "n_input": 1, "run_id": 1}
    database.execute(f"INSERT INTO template ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", [*row.values()])
    assert [found["band"] for found in templates.find_outdated(database)] == ["r"]
    for _ in range(2):
        templates.decide_missing(database, CONFIG, 2)
        assert templates.find_outdated(database) == []
        (decision,) = templates.in_force(database)
        choice = {} if how_value is None else {how.replace("_pix", ""): float(how_value)}
        wanted = propose(database, **(choice or {"auto": True}))
        assert (decision.how, decision.n_input, chosen(decision)) == (how, wanted.n_input, chosen(wanted))
        assert database.execute("SELECT version, run_id FROM template ORDER BY 1").fetchall() == [(1, 1), (2, 2)]
