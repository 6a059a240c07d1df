"""The calibrate stage."""

import shutil
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from starfield import moffat_stamp, star_field

from dbpipe.constants import flux_njy
from dbpipe.declared import unflatten
from dbpipe.errors import DataError
from dbpipe.imaging.psf.model import measure_psf
from dbpipe.io.raw.image import RawImage
from dbpipe.sky.wcs import pixel_to_sky, tan_wcs
from dbpipe.stages.calibrate import stage
from dbpipe.stages.calibrate.selfref import NOMINAL_ZERO_POINT_MAG, reference_from_raw
from dbpipe.stages.calibrate.stage import calibrate
from dbpipe.stages.contracts.calibrate import CALIBRATE, CalibrateConfig

ROOT = Path(__file__).resolve().parents[2]
NJY_PER_E = 0.6


def _query(name):
    text = (ROOT / "sql/stages/calibrate.sql").read_text()
    return text.split(f"-- name: {name}\n")[1].split("-- name:")[0]


def _wcs(offset_deg=0.0):
    return tan_wcs(0.003, -30.0 + offset_deg, crpix=(255.5, 255.5), cd=np.diag([-5.5e-5, 5.5e-5]))


def _raw(image, header_wcs):
    return RawImage(
        image=image, bad=np.zeros(image.shape, bool), saturated=image > 1e5, wcs=header_wcs, sky_e=500.0, sha256="0",
        size_byte=1, visit=7, detector=0, detector_name="S", band="r", midpoint_mjd_tai=60000.0, exposure_s=30.0,
        airmass=None, night=20230101, gain=1.0, read_noise_e=5.0, saturation_e=1e5,
    )  # fmt: skip


def _unit(n_catalogue_star=70):
    return {
        "visit": 7, "detector": 0, "path": "raw.fits", "sha256": "0", "band": "r", "midpoint_mjd_tai": 60000.0,
        "parallactic_angle_deg": 30.0, "ra": 0.003, "dec": -30.0, "radius_deg": 0.02,
        "n_catalogue_star": n_catalogue_star,
    }  # fmt: skip


def _refcat(ra, dec, magnitude, color=None, motion=None):
    n = len(ra)
    nothing = np.full(n, np.nan)
    pm_ra, pm_dec, epoch = (nothing, nothing, nothing) if motion is None else motion
    bands, magnitudes = [["r"]] * n, [[m] for m in magnitude]
    if color is not None:
        bands, magnitudes = [["g", "r"]] * n, [[m + c, m] for m, c in zip(magnitude, color, strict=True)]
    return pa.table({
        "reference_id": np.arange(n) + 100, "ra": ra, "dec": dec, "epoch_mjd_tai": epoch,
        "pm_ra_mas_per_yr": pm_ra, "pm_dec_mas_per_yr": pm_dec,
        "bands": bands, "magnitudes_ab": magnitudes,
        "magnitude_ab": magnitude, "magnitude_err": nothing, "brightest_magnitude_ab": magnitude,
    })  # fmt: skip


@pytest.fixture(scope="module")
def scene():
    image, truth = star_field(seed=31, n_star=70, fwhm_pix=3.8, flux_range=(3e3, 3e5))
    ra, dec = pixel_to_sky(_wcs(), truth["x"], truth["y"])
    return _raw(image, _wcs(4.0 / 3600.0)), _refcat(ra, dec, 31.4 - 2.5 * np.log10(NJY_PER_E * truth["flux"]))


def _run(monkeypatch, raw, refcat, n_catalogue_star=70, **config):
    monkeypatch.setattr(stage, "load_instrument", lambda name: type("Instrument", (), {"bleed": "rows"}))
    monkeypatch.setattr(stage, "read_raw", lambda path, instrument, max_mib: raw)
    return calibrate(_unit(n_catalogue_star), {"refcat": refcat}, unflatten(CalibrateConfig, config))


def test_a_field_across_ra_zero_is_calibrated(monkeypatch, scene):
    """Zero point to 0.5%, positions to 0.05 pixels and the header error of 4 arcsec are found, at RA 0/360."""
    out = _run(monkeypatch, *scene)
    row = out.rows["calexp"][0]
    assert row["njy_per_e"] == pytest.approx(NJY_PER_E, rel=0.005)
    assert row["wcs_offset_arcsec"] == pytest.approx(4.0, abs=0.05)
    assert row["astrom_rms_arcsec"] < 0.05 * row["pixel_scale_arcsec"]
    assert row["psf_fwhm_pix"] == pytest.approx(measure_psf(moffat_stamp(3.8)).fwhm_pix, rel=0.01)
    sources = out.rows["source"]
    matched = [k for k, star in enumerate(sources["reference_id"]) if star is not None]
    assert len(matched) > 50
    magnitude = scene[1]["magnitude_ab"].to_numpy()
    for k in matched:
        if sources["is_psf_star"][k]:
            expected = flux_njy(magnitude[sources["reference_id"][k] - 100])
            assert sources["psf_flux_njy"][k] == pytest.approx(expected, rel=0.05)


def _with_color(refcat, color, **changes):
    columns = {name: refcat[name].to_numpy(zero_copy_only=False) for name in ("ra", "dec", "magnitude_ab")} | changes
    return _refcat(*columns.values(), color=color)


def test_color_term_and_refraction_are_found(monkeypatch, scene):
    """A term of 0.1 mag/mag is taken out of the zero point, and a shift of 40 mas/mag toward the zenith is seen."""
    raw, refcat = scene
    color = np.random.default_rng(5).uniform(0.0, 2.0, len(refcat))
    ra, dec, magnitude = (refcat[name].to_numpy() for name in ("ra", "dec", "magnitude_ab"))
    # what is seen is bluer than the catalog toward the zenith, 30 degrees east of north
    shift_deg = 0.04 / 3600.0 * (color - 1.0)
    ra = ra + shift_deg * np.sin(np.radians(30.0)) / np.cos(np.radians(dec))
    dec = dec + shift_deg * np.cos(np.radians(30.0))
    bent = _with_color(refcat, color, ra=ra, dec=dec, magnitude_ab=magnitude + 0.1 * (color - 1.0))
    out = _run(monkeypatch, raw, bent, reference_colours={"r": 1.0})
    row = out.rows["calexp_residual"][0]
    assert (row["color_blue"], row["color_red"], row["color_term_is_applied"]) == ("g", "r", True)
    assert row["color_term"] == pytest.approx(0.1, abs=4.0 * row["color_term_err"])
    assert row["scatter_after_color_mag"] < 0.6 * row["scatter_before_color_mag"]
    assert row["refraction_mas_per_mag"] == pytest.approx(-40.0, abs=4.0 * row["refraction_err_mas_per_mag"])
    assert abs(row["across_mas_per_mag"]) < 4.0 * row["across_err_mas_per_mag"]
    assert row["refraction_err_mas_per_mag"] < 5.0
    assert out.rows["calexp"][0]["njy_per_e"] == pytest.approx(NJY_PER_E, rel=0.005)


def test_a_color_that_does_not_matter_changes_nothing(monkeypatch, scene):
    """Where fluxes do not depend on color the term is recorded, but the zero point is the one without colors."""
    raw, refcat = scene
    plain = _run(monkeypatch, raw, refcat).rows
    colored = _run(monkeypatch, raw, _with_color(refcat, np.random.default_rng(6).uniform(0, 2, len(refcat)))).rows
    assert colored["calexp"] == plain["calexp"]
    row = colored["calexp_residual"][0]
    assert not row["color_term_is_applied"] and row["n_color_star"] > 30
    assert abs(row["color_term"]) < 3.0 * row["color_term_err"] < 0.03
    assert plain["calexp_residual"][0]["color_term"] is None and plain["calexp_residual"][0]["color_blue"] is None


def test_stars_are_calibrated_at_the_epoch_of_the_exposure(monkeypatch, scene):
    """A catalog 16 years old whose stars all move by 100 mas/yr or more gives the WCS of one without motion."""
    raw, refcat = scene
    rng = np.random.default_rng(7)
    years, pm = 16.0, rng.uniform(100.0, 300.0, (2, len(refcat))) * rng.choice([-1.0, 1.0], (2, len(refcat)))
    ra, dec, magnitude = (refcat[name].to_numpy() for name in ("ra", "dec", "magnitude_ab"))
    old_dec = dec - pm[1] * years / 3.6e6
    old_ra = ra - pm[0] * years / 3.6e6 / np.cos(np.radians(dec))
    epoch = np.full(len(ra), 60000.0 - years * 365.25)
    moved = _run(monkeypatch, raw, _refcat(old_ra, old_dec, magnitude, motion=(*pm, epoch))).rows["calexp"][0]
    still = _run(monkeypatch, raw, refcat).rows["calexp"][0]
    assert moved["n_astrom_star"] == still["n_astrom_star"]
    assert moved["astrom_rms_arcsec"] == pytest.approx(still["astrom_rms_arcsec"], abs=1e-4)
    assert abs(moved["dec"] - still["dec"]) * 3.6e6 < 0.5


def test_rows_fit_their_tables(monkeypatch, scene):
    """Every column of what calibration writes is filled, apart from those that the runner fills."""
    raw, refcat = scene
    rows, columns = np.indices(raw.image.shape)
    satellite = 800.0 * np.exp(-0.5 * ((rows - 100.0 - 0.6 * columns) / 2.5) ** 2)
    cut_off = np.minimum(raw.image + satellite, 8000.0).astype(np.float32)
    out = _run(monkeypatch, replace(raw, image=cut_off), refcat)
    (streak,) = out.rows["streak"]
    assert streak["y1"] - streak["y0"] == pytest.approx(0.6 * (streak["x1"] - streak["x0"]), abs=3.0)
    database = duckdb.connect()
    for migration in sorted((ROOT / "migrations").glob("*.sql")):
        database.execute(migration.read_text())
    for table in CALIBRATE.writes:
        names = {row[0] for row in database.execute(f"DESCRIBE {table}").fetchall()}
        rows = out.rows[table]
        found = set(rows[0]) if isinstance(rows, list) else set(rows)
        assert names - found <= {"path", "sha256"}
        assert found <= names
    database.close()


def test_calibrating_twice_gives_the_same(monkeypatch, scene):
    """The result is a function of the inputs alone."""
    first, second = (_run(monkeypatch, *scene) for _ in range(2))
    assert first.rows["calexp"] == second.rows["calexp"]
    np.testing.assert_array_equal(first.files["calexp"].image, second.files["calexp"].image)


def test_exposures_that_cannot_be_used_are_refused_with_numbers(monkeypatch, scene):
    """No catalog, no star in the field, an empty frame and a PSF too wide for its stamp: each has its verdict."""
    raw, refcat = scene
    with pytest.raises(DataError, match="no reference catalog") as error:
        _run(monkeypatch, raw, refcat.slice(0, 0), n_catalogue_star=0)
    assert "dbpipe refcat" in error.value.numbers["needed"]
    with pytest.raises(DataError, match="no reference star in the field") as error:
        _run(monkeypatch, raw, refcat.slice(0, 0))
    assert error.value.numbers["n_reference"] == 0
    blank = np.random.default_rng(1).normal(500.0, 22.0, (512, 512)).astype(np.float32)
    with pytest.raises(DataError, match="nearly empty"):
        _run(monkeypatch, _raw(blank, _wcs()), refcat)
    with pytest.raises(DataError, match="PSF is too wide") as error:
        _run(monkeypatch, raw, refcat, psf_size_pix=13)
    assert error.value.numbers["limit_pix"] == 13 / 4
    with pytest.raises(DataError, match="trailed"):
        _run(monkeypatch, raw, refcat, max_ellipticity=1e-6)


@pytest.mark.parametrize("fwhm_pix", [0.6, 1.0, 1.2, 1.4, 1.5])
def test_undersampled_stars_are_called_that(monkeypatch, scene, fwhm_pix):
    """Stars narrower than their pixels are no trails and no failed match, and the verdict has their width."""
    image, _ = star_field(seed=31, n_star=70, fwhm_pix=fwhm_pix, flux_range=(3e3, 3e5), shape=(300, 300))
    with pytest.raises(DataError, match="undersampled") as error:
        _run(monkeypatch, _raw(image, _wcs()), scene[1])
    assert error.value.numbers["star_fwhm_pix"] < error.value.numbers["required_fwhm_pix"] < 2.0


def test_a_catalog_without_the_band_is_called_that(monkeypatch, scene):
    """Before anything is measured the verdict says which band is missing and which there are."""
    raw, refcat = scene
    n = len(refcat)
    other = refcat.set_column(
        refcat.column_names.index("magnitude_ab"), "magnitude_ab", pa.nulls(n, pa.float64())
    ).set_column(refcat.column_names.index("bands"), "bands", pa.array([["g", "i"]] * n))
    other = other.set_column(other.column_names.index("magnitudes_ab"), "magnitudes_ab", pa.array([[20.0, 19.0]] * n))
    with pytest.raises(DataError, match="no magnitude in band r in this field; it has g, i$"):
        _run(monkeypatch, raw, other)


def test_reference_made_of_one_exposure_calibrates_it(scene):
    """Its own stars, at 25 mag for one electron per second, lie where the header says."""
    raw, _ = scene
    stars, magnitudes = reference_from_raw(raw, bleed="rows", config=CalibrateConfig())
    assert len(stars) == len(magnitudes) > 30
    assert magnitudes["band"].unique().to_pylist() == ["r"]
    brightest = magnitudes["magnitude_ab"].to_numpy().min()
    assert brightest == pytest.approx(NOMINAL_ZERO_POINT_MAG - 2.5 * np.log10(3e5 / 30.0), abs=0.2)


def test_reference_stars_are_found_across_ra_zero():
    """The query returns stars on both sides of RA 0 within the radius and margin, magnitudes of the band or none."""
    database = duckdb.connect()
    for migration in sorted((ROOT / "migrations").glob("*.sql")):
        database.execute(migration.read_text())
    for number, ra, dec in [(1, 359.999, -30.0), (2, 0.01, -30.0), (3, 0.1, -30.0), (4, 0.0, -29.9), (5, 0.0, -30.01)]:
        database.execute("INSERT INTO reference_star VALUES (?, 'a', ?, ?, NULL, NULL, NULL, 0)", [number, ra, dec])
    database.execute("INSERT INTO reference_magnitude VALUES (1, 'r', 20, 0.1), (1, 'g', 19, 0.1), (2, 'g', 18, NULL)")
    field = {"ra": 0.001, "dec": -30.0, "radius_deg": 0.02, "band": "r"}
    rows = database.execute(_query("refcat"), field).fetchall()
    assert [row[0] for row in rows] == [1, 2, 5]
    assert [row[-3] for row in rows] == [20.0, None, None]
    assert [row[-1] for row in rows] == [19.0, 18.0, None]
    database.close()


def test_work_depends_on_the_catalog():
    """A raw image is one unit, and its row changes when a reference star of the catalog does."""
    database = duckdb.connect()
    for migration in sorted((ROOT / "migrations").glob("*.sql")):
        database.execute(migration.read_text())
    database.execute("INSERT INTO band VALUES ('r')")
    database.execute("INSERT INTO detector VALUES (0, 'S')")
    database.execute("INSERT INTO visit VALUES (7, 'r', 'x', 60000, 30, NULL, 20230101)")
    database.execute("INSERT INTO raw VALUES (7, 0, 'a', 'b', 1, 'c', 9, 9, 1, 2, 0.1, 0.2, 1, 5, 100000, 500, 0)")
    before = database.execute(_query("work")).fetchall()
    database.execute("INSERT INTO reference_star VALUES (1, 'a', 5, 5, NULL, NULL, NULL, 0)")
    after = database.execute(_query("work")).fetchall()
    assert len(before) == len(after) == 1
    assert before != after
    database.close()


@pytest.mark.slow
def test_simulated_visit_agrees_with_its_truth(shared_data, tmp_path, monkeypatch):
    """On a frame of another simulator the width is right to 1% and the zero point to 5 mmag."""
    folder = shared_data / "sim_small"
    raw = next((folder / "raw").glob("lsst_e_185427_*"))
    shutil.copy(ROOT / "dbpipe/instruments/phosim-eimage.toml", tmp_path / "instrument.toml")
    monkeypatch.chdir(tmp_path)
    table = np.genfromtxt(folder / "refcat.csv", delimiter=",", names=True)
    unit = {**_unit(len(table)), "visit": 185427, "path": str(raw), "midpoint_mjd_tai": 59580.1235}
    inputs = {"refcat": _refcat(table["ra"], table["dec"], table["r"])}
    rows = calibrate(unit, inputs, CalibrateConfig()).rows
    row, residual = rows["calexp"][0], rows["calexp_residual"][0]
    assert row["psf_fwhm_pix"] == pytest.approx(3.632, rel=0.01)
    total = row["zero_point_mag"] + 2.5 * np.log10(residual["total_flux_ratio"])
    assert total == pytest.approx(32.0213, abs=0.005)
