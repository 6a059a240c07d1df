"""The inject stage: sources of known flux go through difference and detect, and nothing else does."""

import json

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from sky_patch import NJY_PER_E, coadd_warps, difference_inputs, make_exposure, warp_unit

from dbpipe.catalog.sql.queries import directory
from dbpipe.catalog.work.offer import stage_queries
from dbpipe.declared import flatten, unflatten
from dbpipe.io.difference import read_difference
from dbpipe.stage import Skip
from dbpipe.stages.contracts.calibrate import CalibrateConfig
from dbpipe.stages.contracts.detect import DETECT, DetectConfig
from dbpipe.stages.contracts.difference import DIFFERENCE, DifferenceConfig
from dbpipe.stages.contracts.inject import INJECT, InjectConfig, Places, Strengths
from dbpipe.stages.detect import detect
from dbpipe.stages.difference import difference
from dbpipe.stages.inject.stage import inject

FWHM = [4.6, 4.0, 4.3]
CONFIG = InjectConfig(
    rounds=2,
    place=Places(spacing_fwhm=15.0, kernel_star_fraction=0.5),
    strength=Strengths(snr=(4.0, 40.0), dense_snr=(10.0, 30.0)),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Unit and inputs of the first of three exposures, whose difference image and sources are made by the stages."""
    folder = tmp_path_factory.mktemp("survey")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exposures = [make_exposure(f"calexp-{k}.fits", k, fwhm_pix=FWHM[k], angle_deg=5.0 * k) for k in range(3)]
        units = [unit for unit, *_ in exposures]
        warps = [warp_unit(unit) for unit in units]
        x, y = exposures[0][1:]
        named = difference_inputs(units[0], units, warps, coadd_warps(units, warps), x, y)
        outputs = difference(units[0], named, unflatten(DifferenceConfig, {"kernel_order": 0}))
        outputs.files["diffim"].write("diffim.fits")
        numbers = outputs.rows["diffim"][0] | {
            "path": "diffim.fits",
            "band": "r",
            "shift_pix": None,
            "midpoint_mjd_tai": 61000.0,
        }
        stars = pa.table({"x": x[:3], "y": y[:3], "flux": [2e5] * 3})
        found = detect(numbers, {"stars": stars}, DetectConfig()).rows["dia_source"]
    unit = {
        "visit": 0, "detector": 0, "band": "r", "template_id": 1, "path": "diffim.fits", "sha256": "0" * 64,
        "njy_per_e": NJY_PER_E, "difference_version": DIFFERENCE.version, "detect_version": DETECT.version,
        "difference_settings": json.dumps(flatten(unflatten(DifferenceConfig, {"kernel_order": 0}))),
        "detect_settings": json.dumps(flatten(DetectConfig())),
        "calibrate_settings": json.dumps(flatten(CalibrateConfig())),
    }  # fmt: skip
    n = len(x)
    static = {"x": x, "y": y, "kind": ["star"] * n, "size_pix": [2.0] * n, "is_clean": [True] * n}
    inputs = {f"difference.{name}": table for name, table in named.items()} | {
        "difference.work": pa.Table.from_pylist([units[0]]),
        "detect.work": pa.Table.from_pylist([numbers]),
        "detect.stars": stars,
        "static_sources": pa.table(static | {"is_bright_star": [True] * 3 + [False] * (n - 3)}),
        "real_sources": pa.table(
            {"x": found["x"], "y": found["y"], "reach_fwhm": np.where(found["is_primary"], 2.5, 1.0)}
        ),
    }
    return folder, unit, inputs


@pytest.fixture(autouse=True)
def inside(made, monkeypatch):
    """Stages run in the survey directory."""
    monkeypatch.chdir(made[0])


@pytest.fixture(scope="module")
def outputs(made):
    """What the stage makes of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made[0])
        return inject(made[1], made[2], CONFIG)


@pytest.fixture(scope="module")
def sources(outputs):
    """The rows of the injected sources as arrays."""
    return {name: np.array(column) for name, column in outputs.rows["injected_source"].items()}


def test_bright_sources_on_blank_sky_are_recovered(sources):
    """Far above the threshold everything on blank sky is found at its place, with its flux to 5 sigma."""
    strong = (sources["place"] == "blank") & (sources["true_snr"] > 8) & ~sources["is_confused"]
    assert strong.sum() >= 8
    assert sources["is_recovered"][strong].mean() > 0.9
    found = strong & sources["is_recovered"]
    pull = (sources["psf_flux_njy"] - sources["true_flux_njy"])[found] / sources["psf_flux_err_njy"][found]
    assert np.abs(pull).max() < 5.0 and np.abs(pull.mean()) < 1.0
    assert sources["separation_arcsec"][found].max() < 0.2
    allowed = {"flag_template_rejected", "flag_trail", "flag_near_saturated", "flag_bright_star"}
    assert all(set(flags.split()) <= allowed for flags in sources["flags"][found])


def test_forced_fluxes_differ_by_what_was_put_in(sources):
    """At the true place the flux with the source minus the flux without it is the flux put in, to its photon noise."""
    clear = (sources["place"] == "blank") & ~sources["is_confused"]
    gain = sources["forced_flux_njy"] - sources["flux_before_njy"]
    assert np.median((gain / sources["true_flux_njy"])[clear]) == pytest.approx(1.0, abs=0.05)


def test_errors_are_predicted(sources):
    """The error that was expected is the one that is measured, to a few percent."""
    found = sources["is_recovered"] & (sources["place"] == "blank")
    ratio = sources["psf_flux_err_njy"][found] / sources["true_flux_err_njy"][found]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
    np.testing.assert_allclose(sources["true_snr"], sources["true_flux_njy"] / sources["true_flux_err_njy"])


def test_sources_are_apart_and_of_all_kinds(sources):
    """Within a copy no two are closer than asked, and stars and their surroundings have theirs; numbers run on."""
    for copy in (0, 1):
        x, y = (sources[name][sources["round"] == copy] for name in "xy")
        distance = np.hypot(x[:, None] - x, y[:, None] - y) + 1e3 * np.eye(len(x))
        assert distance.min() >= CONFIG.place.separation_fwhm * FWHM[0]
    assert {"blank", "star", "bright_star"} <= set(sources["place"])
    assert sources["number"].tolist() == list(range(len(sources["x"])))


def test_the_difference_image_is_left_alone(made, outputs):
    """The stage makes rows of its own tables and no file; the real difference image is what it was."""
    before = read_difference("diffim.fits")
    assert outputs.files == {} and set(outputs.rows) == set(INJECT.writes)
    again = inject(made[1], made[2], CONFIG)
    for name, column in outputs.rows["injected_source"].items():
        np.testing.assert_array_equal(np.array(again.rows["injected_source"][name]), np.array(column), err_msg=name)
    np.testing.assert_array_equal(read_difference("diffim.fits").difference, before.difference)


def test_the_summary_counts_what_the_rows_say(outputs, sources):
    """Numbers of the image leave the confused sources out."""
    (summary,) = outputs.rows["injection_summary"]
    counted = ~sources["is_confused"]
    strong = counted & (sources["true_snr"] > 7)
    assert summary["n_injected"] == len(counted) and summary["n_confused"] == (~counted).sum()
    assert summary["n_above_7"] == strong.sum()
    assert summary["completeness_above_7"] == pytest.approx(sources["is_recovered"][strong].mean())
    assert summary["diffim_sha256"] == "0" * 64 and summary["pull_std"] < 2.0


@pytest.mark.parametrize("change", [{"difference_version": 0}, {"detect_version": 0}, {"template_id": 2}])
def test_an_image_that_is_out_of_date_is_skipped(made, change):
    """What another version of the code, or another template, has made is not compared with this one."""
    assert isinstance(inject(made[1] | change, made[2], CONFIG), Skip)


def test_columns_are_those_of_the_schema(outputs):
    """The rows have exactly the columns of their tables."""
    with duckdb.connect() as connection:
        for path in sorted(directory("migrations").glob("*.sql")):
            connection.execute(path.read_text())
        columns = {t: [row[0] for row in connection.execute(f"DESCRIBE {t}").fetchall()] for t in INJECT.writes}
    assert sorted(outputs.rows["injected_source"]) == sorted(columns["injected_source"])
    assert sorted(outputs.rows["injection_summary"][0]) == sorted(columns["injection_summary"])


def test_inputs_of_other_stages_are_their_queries():
    """The stage is given what difference and detect are given, and of their work the row of its own unit."""
    queries = stage_queries(INJECT)
    assert queries["difference.coadds"] == stage_queries(DIFFERENCE)["coadds"]
    assert queries["detect.work"].endswith('WHERE "visit" = $visit AND "detector" = $detector')
    assert set(INJECT.inputs) <= set(queries)
