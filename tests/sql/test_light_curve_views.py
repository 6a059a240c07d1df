"""Light curves and their statistics in SQL, beside numpy and astropy."""

import numpy as np
import pyarrow as pa
import pytest
from astropy.stats import median_absolute_deviation
from scipy import stats

from dbpipe.catalog import migrations
from dbpipe.catalog.sql.dictionary import column_metadata
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views

N_VISIT = 25
FLAGS = [
    f"flag_{name}"
    for name in (
        "edge",
        "saturated",
        "near_saturated",
        "bad",
        "streak",
        "cosmic_ray",
        "no_template",
        "template_rejected",
    )
]


def insert(catalog, table, rows, schema="main"):
    """Insert rows; what they lack is 0 or text."""
    catalog.register("new_rows", pa.table(rows))
    given = set(rows)
    columns = catalog.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = $table AND schema_name = $schema "
        "AND NOT is_nullable",
        {"table": table, "schema": schema},
    ).fetchall()
    missing = [f"CAST({_nothing(kind)} AS {kind}) AS {name}" for name, kind in columns if name not in given]
    catalog.execute(f"INSERT INTO {schema}.{table} BY NAME SELECT {', '.join(['*', *missing])} FROM new_rows")
    catalog.unregister("new_rows")


def _nothing(kind):
    return "[0, 0, 0, 0]" if kind.endswith("[4]") else "'0'" if kind == "VARCHAR" else "0"


@pytest.fixture(scope="module")
def forced():
    """Forced fluxes of seven objects in two bands: many, few, one, none clean, some without a flux."""
    rng = np.random.default_rng(12)
    n_of = {(1, "r"): 25, (1, "g"): 13, (2, "r"): 8, (3, "r"): 3, (4, "r"): 2, (5, "r"): 1, (6, "r"): 4, (7, "g"): 5}
    rows = {name: [] for name in ("dia_object_id", "band", "visit", "psf_flux_njy", "psf_flux_err_njy", *FLAGS)}
    for (number, band), n in n_of.items():
        visit = np.sort(rng.choice(N_VISIT, n, replace=False))
        err = rng.uniform(50, 150, n)
        flux = rng.normal(-300 if number == 2 else 500, 400, n)
        flux[visit % 11 == 5] = np.nan
        flags = rng.random((len(FLAGS), n)) < (1.0 if number == 6 else 0.02)
        if number == 5:
            flux[:], flags[:] = 120.0, False
        if number == 7:
            flux[:], flags[:] = 77.0, False
        for name, values in zip(rows, ([number] * n, [band] * n, visit, flux, err, *flags), strict=True):
            rows[name] += list(values)
    rows = {name: np.array(values) for name, values in rows.items()}
    rows["midpoint_mjd_tai"] = 61000.0 + 3.7 * rows["visit"] + 0.1 * (rows["band"] == "g")
    return rows


@pytest.fixture(scope="module")
def catalog(forced):
    """A catalog with these fluxes, their images and some detections."""
    n = len(forced["visit"])
    with connection.memory() as database:
        migrations.migrate(database)
        apply_views(database)
        insert(database, "band", {"band": ["g", "r"]})
        insert(database, "detector", {"detector": [0]})
        insert(database, "visit", {"visit": np.arange(N_VISIT), "band": ["r"] * N_VISIT})
        loo = np.arange(N_VISIT) % 3 == 0
        images = {"visit": np.arange(N_VISIT), "leave_one_out": loo, "n_template_input": np.full(N_VISIT, 2)}
        insert(database, "diffim", images)
        inputs = {"visit": np.repeat(np.arange(N_VISIT), 3), "template_visit": np.tile([9, 3, 3], N_VISIT)}
        insert(database, "diffim_input", inputs | {"template_detector": np.tile([0, 0, 1], N_VISIT)})
        columns = {name: pa.array(values, from_pandas=True) for name, values in forced.items()}
        columns |= {"template_flux_njy": np.full(n, 1000.0), "science_flux_err_njy": np.full(n, 33.0)}
        insert(database, "dia_forced_source", columns)
        source = {"dia_source_id": [100, 101, 102], "dia_object_id": [1, 1, 2], "score": [6.0, -9.0, 7.0]}
        visit = [int(forced["visit"][forced["dia_object_id"] == number][0]) for number in (1, 1, 2)]
        insert(database, "source", source | {"visit": visit}, schema="association")
        yield database


def test_a_light_curve_has_every_epoch(catalog, forced):
    """Detected or not each image is a row, with the total flux and the epochs that were subtracted."""
    rows = (
        catalog.sql("FROM light_curve WHERE dia_object_id = 1 AND band = 'r' ORDER BY visit")
        .to_arrow_table()
        .to_pylist()
    )
    mine = (forced["dia_object_id"] == 1) & (forced["band"] == "r")
    assert [row["visit"] for row in rows] == forced["visit"][mine].tolist()
    assert [row["dia_source_id"] for row in rows if row["detected"]] == [101]
    assert {row["visit"] for row in rows if row["in_template"]} == {v for v in forced["visit"][mine] if v % 3 == 0}
    for row in rows:
        assert row["template_visits"] == [3, 9]
        if row["psf_flux_njy"] is None:
            assert row["total_flux_njy"] is None and not row["is_clean"]
        else:
            assert row["total_flux_njy"] == row["psf_flux_njy"] + 1000.0 and row["total_flux_err_njy"] == 33.0


def expected(t, flux, err):
    """The statistics of a band by numpy, scipy and astropy; None where there is no answer."""
    n, some, many = len(flux), len(flux) > 0, len(flux) > 1
    weight = err**-2.0
    mean = np.average(flux, weights=weight) if some else None
    found = {"n": n, "psf_flux_weighted_mean_njy": mean}
    found["psf_flux_mean_njy"] = np.mean(flux) if some else None
    found["psf_flux_weighted_mean_err_njy"] = np.sum(weight) ** -0.5 if some else None
    found["psf_flux_sigma_njy"] = np.std(flux, ddof=1) if many else None
    found["psf_flux_mean_err_njy"] = stats.sem(flux) if many else None
    found["psf_flux_chi2"] = np.sum(((flux - mean) / err) ** 2) if many else None
    found["psf_flux_mad_njy"] = median_absolute_deviation(flux) if some else None
    found["psf_flux_skew"] = stats.skew(flux, bias=False) if n > 2 and np.ptp(flux) > 0 else None
    found["first_mjd_tai"], found["last_mjd_tai"] = (t.min(), t.max()) if some else (None, None)
    found["psf_flux_min_njy"], found["psf_flux_max_njy"] = (flux.min(), flux.max()) if some else (None, None)
    for percent in (5, 25, 50, 75, 95):
        found[f"psf_flux_percentile_{percent:02d}_njy"] = np.percentile(flux, percent) if some else None
    found["psf_flux_stetson_j"] = found["psf_flux_slope_njy_per_day"] = found["psf_flux_slope_err_njy_per_day"] = None
    if many:
        delta = np.sqrt(n / (n - 1)) * (flux - mean) / err
        found["psf_flux_stetson_j"] = np.mean(np.sign(delta**2 - 1) * np.sqrt(np.abs(delta**2 - 1)))
        line, covariance = np.polyfit(t - t.mean(), flux, 1, w=1 / err, cov="unscaled")
        found["psf_flux_slope_njy_per_day"] = line[0]
        found["psf_flux_slope_err_njy_per_day"] = covariance[0, 0] ** 0.5
    return found


def test_statistics_are_those_of_numpy_and_astropy(catalog, forced):
    """Every column of dia_object_band, for many clean fluxes, one and none; flagged ones do not count."""
    rows = catalog.sql("FROM dia_object_band ORDER BY dia_object_id, band").to_arrow_table().to_pylist()
    assert len(rows) == 8
    counts = set()
    for row in rows:
        mine = (forced["dia_object_id"] == row["dia_object_id"]) & (forced["band"] == row["band"])
        assert row["n_image"] == mine.sum()
        left_out = np.any(
            [forced[name] for name in FLAGS if name not in ("flag_near_saturated", "flag_template_rejected")], 0
        )
        good = mine & np.isfinite(forced["psf_flux_njy"]) & ~left_out
        wanted = expected(*(forced[c][good] for c in ("midpoint_mjd_tai", "psf_flux_njy", "psf_flux_err_njy")))
        counts.add(wanted["n"])
        assert set(row) - set(wanted) == {"dia_object_id", "band", "n_image", "n_detected"}
        for name, value in wanted.items():
            if value is None:
                assert row[name] is None, name
            else:
                assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-9), name
    assert {0, 1} < counts and max(counts) > 15
    assert {row["dia_object_id"]: row["n_detected"] for row in rows if row["band"] == "r"}[1] == 2


def test_a_constant_source_has_the_chi2_and_j_of_noise(catalog):
    """Without variation chi2 is about its degrees of freedom and J about zero, whatever the mean."""
    rng = np.random.default_rng(5)
    err = rng.uniform(20, 60, (400, N_VISIT))
    flux = rng.normal(1e4, err)
    rows = {"dia_object_id": np.repeat(np.arange(1000, 1400), N_VISIT), "visit": np.tile(np.arange(N_VISIT), 400)}
    rows |= {"band": ["r"] * err.size, "psf_flux_njy": flux.ravel(), "psf_flux_err_njy": err.ravel()}
    insert(catalog, "dia_forced_source", rows | {"midpoint_mjd_tai": rows["visit"] + 61000.0})
    query = "SELECT * FROM dia_object_band WHERE dia_object_id >= 1000"
    found = catalog.sql(query).to_arrow_table().to_pydict()
    dof = N_VISIT - 1
    assert np.mean(found["psf_flux_chi2"]) == pytest.approx(dof, abs=4 * np.sqrt(2 * dof / 400))
    # sgn(P) sqrt|P| of a unit normal has the mean -0.094
    normal = stats.norm.expect(lambda u: np.sign(u**2 - 1) * np.sqrt(np.abs(u**2 - 1)))
    assert np.mean(found["psf_flux_stetson_j"]) == pytest.approx(normal, abs=0.05)
    pull = np.divide(found["psf_flux_slope_njy_per_day"], found["psf_flux_slope_err_njy_per_day"])
    assert np.std(pull) == pytest.approx(1.0, abs=4 / np.sqrt(800))


@pytest.mark.parametrize("view", ["light_curve", "dia_object_band"])
def test_every_column_says_what_it_is(catalog, view):
    """Each column of the views has its unit and meaning."""
    assert [name for name, about in column_metadata(catalog, view).items() if not about.get("description")] == []
