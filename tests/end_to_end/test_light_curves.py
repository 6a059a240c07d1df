"""Light curves of a simulated Twinkles field beside the truth of an independent simulator."""

import shutil
import sys

import numpy as np
import pytest
import small_survey
from scipy import stats

import dbpipe
from dbpipe import cli
from dbpipe.survey import Survey

pytestmark = pytest.mark.slow

TRUTH = """
WITH near AS (
    SELECT
        obj_id,
        kind,
        dia_object_id,
        sqrt(((found.ra - truth.ra) * cos(radians(found.dec))) ** 2 + (found.dec - truth.dec) ** 2) AS separation_deg
    FROM read_parquet($objects) AS truth
    CROSS JOIN dia_object AS found
    WHERE kind <> 'asteroid'
),

matched AS (
    SELECT obj_id, kind, dia_object_id
    FROM near
    WHERE separation_deg < 0.5 / 3600
    QUALIFY row_number() OVER (PARTITION BY obj_id ORDER BY separation_deg) = 1
),

subtracted AS (
    SELECT visit, obj_id, sum(weight * flux_njy) / sum(weight) AS template_flux_njy
    FROM diffim_input
    JOIN read_parquet($visits) AS truth ON truth.obsid = template_visit
    GROUP BY ALL
)

SELECT
    matched.*,
    light_curve.* EXCLUDE (dia_object_id, template_visits),
    truth.flux_njy AS true_flux_njy,
    truth.flux_njy - subtracted.template_flux_njy AS true_difference_njy
FROM light_curve
JOIN matched USING (dia_object_id)
JOIN read_parquet($visits) AS truth ON truth.obsid = visit AND truth.obj_id = matched.obj_id
JOIN subtracted ON subtracted.visit = light_curve.visit AND subtracted.obj_id = matched.obj_id
WHERE is_clean
ORDER BY ALL
"""
LINKS = """
SELECT truth.obj_id, kind, dia_object_id, snr
FROM dia_association AS linked
JOIN dia_source_clean AS source USING (dia_source_id)
JOIN read_parquet($visits) AS truth
    ON truth.obsid = linked.visit AND separation_arcsec(linked.ra, linked.dec, truth.ra, truth.dec) < 0.5
WHERE kind <> 'asteroid'
QUALIFY row_number() OVER (
    PARTITION BY dia_source_id ORDER BY separation_arcsec(linked.ra, linked.dec, truth.ra, truth.dec)
) = 1
"""
"""Which object each detection of a true source is linked to."""
TABLES = ("dia_forced_source", "forced_image")


@pytest.fixture(scope="module")
def detected(shared_data, tmp_path_factory):
    """The survey of the field with its detections, before they are linked."""
    folder = shared_data / "sim_small"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    root = tmp_path_factory.mktemp("twinkles") / "survey"
    with Survey.init(root) as survey:
        survey.ingest([folder / "raw"])
        survey.set_reference_catalog(folder / "refcat.csv")
        survey.run(to="detect")
    return root


@pytest.fixture(scope="module")
def finished(detected, tmp_path_factory):
    """The same with objects and forced photometry, all at once."""
    root = tmp_path_factory.mktemp("finished") / "survey"
    shutil.copytree(detected, root)
    with dbpipe.open(root, read_only=False) as survey:
        survey.run()
    return root


@pytest.fixture(scope="module")
def fluxes(finished, shared_data):
    """Clean forced fluxes of true objects with their true fluxes."""
    truth = shared_data / "sim_small" / "truth"
    files = {"objects": str(truth / "objects.parquet"), "visits": str(truth / "variable_visits.parquet")}
    with dbpipe.open(finished) as survey:
        rows = survey.sql(TRUTH, **files).df()
    return rows.assign(pull=(rows.psf_flux_njy - rows.true_difference_njy) / rows.psf_flux_err_njy)


def bias(rows):
    """Return how much too bright they are, as a fraction of their true difference flux, and its error."""
    weight = rows.psf_flux_err_njy**-2.0
    information = (weight * rows.true_difference_njy**2).sum()
    return (weight * rows.true_difference_njy * rows.psf_flux_njy).sum() / information - 1, information**-0.5


def test_every_true_transient_is_one_object(finished, shared_data):
    """Detections of one true source are one object, and those of two are two: no split, no merger, quasars included."""
    visits = str(shared_data / "sim_small" / "truth" / "variable_visits.parquet")
    with dbpipe.open(finished) as survey:
        links = survey.sql(LINKS, visits=visits).df()
    assert (links[links.snr > 7].groupby("obj_id").size() >= 3).sum() > 30
    assert (links.groupby("obj_id").dia_object_id.nunique() == 1).all()
    assert (links.groupby("dia_object_id").obj_id.nunique() == 1).all()


def test_light_curves_of_supernovae_are_true(fluxes):
    """Pulls are 1.0 +- 0.1 wide about 0, and the flux is right to 1 %, detected or not."""
    rows = fluxes[fluxes.kind == "supernova"]
    assert rows.dia_object_id.nunique() > 20 and (~rows.detected).sum() > 30
    assert rows.pull.std() == pytest.approx(1.0, abs=0.1)
    assert abs(rows.pull.mean()) < 3 / np.sqrt(len(rows))
    value, error = bias(rows)
    assert abs(value) < 0.01 and error < 0.005


def test_there_is_nothing_before_the_explosion(fluxes):
    """Where a supernova has no light yet the difference is minus what is in the template, with the chi2 of noise."""
    before = fluxes[(fluxes.kind == "supernova") & (fluxes.true_flux_njy < 0.1 * fluxes.psf_flux_err_njy)]
    assert len(before) > 15
    assert 0.001 < stats.chi2.sf((before.pull**2).sum(), len(before)) < 0.999
    assert abs(before.pull.mean()) < 3 / np.sqrt(len(before))


def test_images_of_lensed_quasars_do_not_share_their_light(fluxes):
    """Images less than a PSF apart are measured together: each varies as it truly does, with honest errors."""
    rows = fluxes[fluxes.kind == "lensed_agn"]
    assert rows.dia_object_id.nunique() > 10 and (rows.n_blend > 1).mean() > 0.5
    assert rows.pull.std() == pytest.approx(1.0, abs=0.15)
    assert abs(rows.pull.mean()) < 3 / np.sqrt(len(rows))
    assert abs(bias(rows)[0]) < 0.015


def _forced(root):
    with dbpipe.open(root) as survey:
        return {name: survey.sql(f"FROM {name} ORDER BY ALL").fetchall() for name in TABLES}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_arrival_does_not_matter(detected, finished, tmp_path, seed):
    """Linked and measured in five batches of any order, the tables are those of all at once; then nothing is due."""
    root = tmp_path / "survey"
    shutil.copytree(detected, root)
    with dbpipe.open(root, read_only=False) as survey:
        visits = [visit for (visit,) in survey.sql("SELECT visit FROM diffim ORDER BY visit").fetchall()]
        np.random.default_rng(seed).shuffle(visits)
        for batch in range(5):
            chosen = ", ".join(map(str, visits[: 1 + 3 * batch]))
            survey.run(where=f"visit IN ({chosen})", n_worker=1)
        survey.run(n_worker=1)
        assert set(survey.count_due().values()) == {0}
        assert [finding for finding in survey.check() if finding.n_row] == []
    assert _forced(root) == _forced(finished)
    before, after = small_survey.content(finished), small_survey.content(root)
    assert set(small_survey.differing(before, after)) <= {"main.dia_object_history"}


def test_the_command_shows_and_draws(finished, fluxes, tmp_path, monkeypatch, capsys):
    """By its position an object is found, its epochs are printed, and a page is drawn."""
    row = fluxes[fluxes.kind == "supernova"].iloc[0]
    page = tmp_path / "page.png"
    command = ["dbpipe", "lightcurve", str(finished), f"{row.ra},{row.dec}", "--plot", str(page)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert str(row.dia_object_id) in out and str(row.visit) in out
    assert page.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with dbpipe.open(finished) as survey:
        epochs = survey.light_curve(int(row.dia_object_id))
    assert epochs["visit"].to_pylist().count(row.visit) == 1
