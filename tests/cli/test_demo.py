"""The demo refuses what it must not overwrite, and says what was found."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from dbpipe.cli.commands import demo
from dbpipe.errors import ConfigError
from dbpipe.simulate.judge import Judgment


def _judgment(kinds):
    n = len(kinds)
    sources = pd.DataFrame({
        "kind": kinds, "snr": 10.0 + np.arange(n), "real": True, "usable": True, "obj_id": np.arange(n, dtype=float),
        "psf_flux_njy": 100.0,
    })  # fmt: skip
    expected = pd.DataFrame({"true_snr": [6.0, 3.0], "found": [True, False]})
    return Judgment(
        sources=sources,
        expected=expected,
        snr_at_half=None,
        completeness_above_7=None,
        purity=1.0,
        n_spurious=0,
        n_ignored=0,
        flux_bias=0.001,
        pull_std=1.02,
        astrometry_mas=12.0,
    )


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    """The demo does not write into a folder that is not empty."""
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ConfigError, match="not empty"):
        demo.run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_best_transient_is_a_supernova_if_there_is_one():
    """The most significant supernova goes before a stronger variable star; without any it is the strongest source."""
    assert demo.best_transient(_judgment(["supernova", "supernova", "variable_star"])).obj_id == 1
    assert demo.best_transient(_judgment(["variable_star", "asteroid"])).obj_id == 1
    assert demo.best_transient(_judgment([])) is None


def test_the_report_can_be_read():
    """Every row has its number, and a dash where a number could not be had."""
    answers = {
        "clean_sources": pd.DataFrame({"snr": [6.0]}),
        "visits": pd.DataFrame({"visit": [1], "seeing_fwhm_px": [4.0], "zero_point": [32.0]}),
        "noise": pd.DataFrame({"score_std": [1.003], "lag1_correlation": [0.004], "n_diffim": [1]}),
    }
    truth = {"visits": pd.DataFrame({"obsid": [1], "fwhm_px": [4.0], "zp": [32.0]})}
    screen = Console(width=100, record=True, file=io.StringIO())
    screen.print(demo.report(_judgment(["supernova"]), answers, truth))
    text = screen.export_text()
    assert "+0.10%" in text
    assert "1.02" in text
    assert "PSF FWHM over truth" in text
    assert " - " in text


def test_suggestions_name_the_real_survey(tmp_path):
    """Each suggested command can be pasted: it names the survey that was made."""
    lines = demo.suggestions(tmp_path / "survey", 4194304)
    assert len(lines) == 6 and len(demo.suggestions(tmp_path / "survey")) == 5
    assert all(str(tmp_path / "survey") in line for line in lines)
    assert any("lightcurve" in line and " 4194304 " in line for line in lines)


@pytest.mark.slow
def test_the_whole_demo_finds_the_transients(tmp_path, monkeypatch):
    """On a smaller sky the whole pipeline runs and finds most true sources above 7 sigma, and little else."""
    monkeypatch.setattr(demo, "N_VISIT", {"r": 6})
    monkeypatch.setattr(demo, "SIZE_PIX", 512)
    judgment = demo.run(tmp_path / "demo", workers=1)
    assert judgment.completeness_above_7 > 0.85
    assert judgment.purity > 0.8
    assert len(list((tmp_path / "demo" / "pictures").glob("*.png"))) == 5
