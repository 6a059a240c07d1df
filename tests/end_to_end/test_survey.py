"""A whole survey, from raw frames to the exported DIASources, on a simulated sky."""

import shutil
import sys

import pandas as pd
import pytest
import small_survey

import dbpipe
from dbpipe import cli
from dbpipe.catalog.sql.queries import load_named
from dbpipe.publish.write import export
from dbpipe.simulate.judge import judge, read_truth


@pytest.fixture(scope="module")
def survey(small_root):
    """The finished survey, open for reading."""
    with dbpipe.open(small_root) as opened:
        yield opened


def test_every_frame_becomes_a_difference_image(survey):
    """Raw, calibrated and difference images of all visits are there; nothing failed, no file is lost or orphaned."""
    n_visit = sum(small_survey.N_VISIT.values())
    for table in ("raw", "calexp", "diffim"):
        assert survey.sql(f"SELECT count(*) FROM {table}").fetchall() == [(n_visit,)]
    assert survey.sql("SELECT stage, unit_key, reason FROM unit WHERE status <> 'done'").fetchall() == []
    assert [finding for finding in survey.check(check_hash=True) if finding.n_row] == []
    assert survey.find_garbage() == []
    assert set(survey.count_due().values()) == {0}


def test_true_transients_are_found(survey, small_sky):
    """Nearly all true sources above 7 sigma have a clean DIASource, and few clean DIASources are spurious."""
    queries = load_named("reports", "demo")
    sources, weights = (survey.fetch(queries[name]).to_pandas() for name in ("clean_sources", "template_weights"))
    judgment = judge(sources, weights, read_truth(small_sky))
    assert (judgment.expected.true_snr.abs() >= 7.0).sum() >= 20
    assert judgment.completeness_above_7 > 0.8
    assert judgment.purity > 0.7


def test_what_is_exported_is_what_was_found(survey, tmp_path):
    """The Parquet file has every DIASource of the catalog, with its flux."""
    export(survey.connection, tmp_path / "DiaSource.parquet", table="DiaSource")
    exported = pd.read_parquet(tmp_path / "DiaSource.parquet").sort_values("diaSourceId")
    rows = survey.sql("SELECT dia_source_id, psf_flux_njy FROM dia_source ORDER BY ALL").fetchall()
    assert exported.diaSourceId.tolist() == [row[0] for row in rows]
    assert exported.psfFlux.tolist() == pytest.approx([row[1] for row in rows], nan_ok=True)


def test_one_worker_gives_the_rows_of_two_and_a_second_run_has_nothing_to_do(small_sky, small_root, tmp_path):
    """Every table is the same whatever the number of workers; running again is 0 units of work and changes nothing."""
    first = small_survey.process(small_sky, tmp_path / "one", n_worker=1)
    assert all(summary.n_done == summary.n_unit > 0 for summary in first)
    one = small_survey.content(tmp_path / "one")
    assert small_survey.differing(one, small_survey.content(small_root)) == []
    assert len(one["main.dia_source"]) > 50 and len(one["main.dia_forced_source"]) > 50
    again = small_survey.process(small_sky, tmp_path / "one", n_worker=1)
    assert [summary.n_unit for summary in again] == [0] * len(first)
    assert small_survey.differing(one, small_survey.content(tmp_path / "one")) == []


def command(monkeypatch, capsys, *arguments):
    """Run the command line in this process and return (exit code, stdout)."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, capsys.readouterr().out


def test_every_difference_image_is_sampled_and_as_deep_as_foretold(survey):
    """Each has 16 cells and a registration to a hundredth of a pixel, and its depth was predicted to 0.05 mag."""
    n_visit = sum(small_survey.N_VISIT.values())
    cells = survey.sql("SELECT count(*), count(DISTINCT visit), avg(score_std) FROM diffim_sample").fetchall()
    assert cells[0][:2] == (16 * n_visit, n_visit) and cells[0][2] == pytest.approx(1.0, abs=0.05)
    rows = survey.sql("SELECT shift_pix, depth_difference_mag, zenith_deg FROM diffim_quality").fetchall()
    assert len(rows) == n_visit and max(abs(row[0]) for row in rows) < 0.05
    assert max(abs(row[1]) for row in rows) < 0.05 and None not in {row[2] for row in rows}


def test_the_commands_show_quality(small_root, monkeypatch, capsys, tmp_path):
    """status counts the images to distrust that check lists; template shows and draws predicted and reached depth."""
    with dbpipe.open(small_root) as opened:
        ((n,),) = opened.sql("SELECT count(DISTINCT visit) FROM diffim_distrust").fetchall()
    code, out = command(monkeypatch, capsys, "check", small_root)
    assert code == 0 and "Healthy" in out and ("images to distrust" in out) == (n > 0)
    code, out = command(monkeypatch, capsys, "status", small_root)
    assert (f"{n} of {sum(small_survey.N_VISIT.values())} difference images are to be distrusted" in out) == (n > 0)
    code, out = command(monkeypatch, capsys, "template", small_root, "--plot", tmp_path / "cuts.png")
    assert code == 0 and "measured minus predicted depth of 5 difference images" in out
    assert (tmp_path / "cuts.png").read_bytes()[:4] == b"\x89PNG"


def test_injected_sources_leave_no_trace_but_their_own(small_root, tmp_path, monkeypatch, capsys):
    """One image is injected and reported; every other table stays as it was, no rule breaks, and again is 0 units."""
    root = tmp_path / "injected"
    shutil.copytree(small_root, root)
    before = small_survey.content(root)
    visit = before["main.diffim"][0][0]
    command = ["dbpipe", "inject", str(root), "--where", f"visit = {visit}", "--workers", "1"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None)
    assert "blank" in capsys.readouterr().out
    assert small_survey.differing(before, small_survey.content(root)) == [
        "main.injected_source",
        "main.injection_summary",
        "main.unit",
    ]
    with dbpipe.open(root) as survey:
        assert [finding for finding in survey.check() if finding.n_row] == []
        answer = survey.sql("SELECT visit, n_injected > 10 FROM difference_image WHERE n_injected IS NOT NULL")
        assert answer.fetchall() == [(visit, True)]
    with dbpipe.open(root, read_only=False) as survey:
        assert survey.inject(where=f"visit = {visit}", n_worker=1).n_unit == 0
