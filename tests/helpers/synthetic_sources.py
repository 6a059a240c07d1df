"""DIASources, objects and forced fluxes made of random numbers, as many as a test wants, straight into the tables."""

import numpy as np
import pyarrow as pa

from dbpipe.catalog.store.lent import execute_with
from dbpipe.ids import detector_base
from dbpipe.sky.healpix import hpx29

FIELDS = ((45.0, 0.05), (150.0, -30.0))
"""Centers [deg]; the first is on the border between tiles of order 4."""
SIZE_DEG = 0.5
PER_NIGHT = 2
"""Visits a night: one of each field."""
FIRST_NIGHT = 20260101


def prepare(connection):
    """Make the band and the detector that all rows need, and the views where the survey has none yet."""
    connection.execute("INSERT INTO band VALUES ('r'); INSERT INTO detector VALUES (0, 'a')")
    views = {name for (name,) in connection.execute("SELECT view_name FROM duckdb_views()").fetchall()}
    for view, table in (("dia_association", "source"), ("dia_object", "object")):
        if view not in views:
            connection.execute(f"CREATE VIEW {view} AS SELECT * FROM association.{table}")


def night_of(visit):
    """Return the night of a visit; visits count from 1."""
    return FIRST_NIGHT + (visit - 1) // PER_NIGHT


def add_visits(connection, visits, *, per_visit, n_object=1000, seed=1):
    """Commit visits with random sources of fixed objects; the same visit gives the same rows."""
    for visit in visits:
        _add_visit(connection, visit, per_visit, n_object, np.random.default_rng([seed, visit]))
    _gather_objects(connection)


def _add_visit(connection, visit, n, n_object, rng):
    field = visit % len(FIELDS)
    sky = np.random.default_rng([17, field])  # the objects of a field, alike in all its visits
    offsets = sky.uniform(-SIZE_DEG / 2, SIZE_DEG / 2, (2, n_object))
    chosen = rng.integers(0, n_object, n)
    dec = FIELDS[field][1] + offsets[1][chosen] + rng.normal(0, 2e-5, n)
    ra = FIELDS[field][0] + offsets[0][chosen] / np.cos(np.radians(dec)) + rng.normal(0, 2e-5, n)
    mjd = 61000.0 + (visit - 1) // PER_NIGHT + 0.01 * (visit % PER_NIGHT)
    connection.execute(
        "INSERT INTO visit BY NAME SELECT $visit AS visit, 'r' AS band, 'x' AS instrument, $mjd AS midpoint_mjd_tai, "
        "30 AS exposure_s, $night AS night",
        {"visit": visit, "mjd": mjd, "night": night_of(visit)},
    )
    flux = rng.normal(0, 1000, n)
    rows = {
        "dia_source_id": detector_base(visit, 0) + np.arange(n),
        "visit": np.full(n, visit),
        "midpoint_mjd_tai": np.full(n, mjd),
        "ra": ra,
        "dec": dec,
        "hpx29": hpx29(ra, dec),
        "score": flux / 100,
        "snr": abs(flux) / 100,
        "psf_flux_njy": flux,
        "psf_flux_err_njy": np.full(n, 100.0),
        "is_primary": np.ones(n, bool),
        "is_negative": flux < 0,
        "flag_streak": np.zeros(n, bool),
        "template_id": np.ones(n, int),
        "band": pa.array(["r"] * n),
    }
    _insert(connection, "dia_source", rows)
    link = {name: rows[name] for name in ("dia_source_id", "visit", "midpoint_mjd_tai", "ra", "dec", "hpx29", "score")}
    link |= {"night": np.full(n, night_of(visit)), "dia_object_id": 1 + field * n_object + chosen}
    _insert(connection, "association.source", link | dict.fromkeys(("ra_err", "dec_err"), np.full(n, 1e-5)))


def _gather_objects(connection):
    connection.execute(
        "DELETE FROM association.object; INSERT INTO association.object BY NAME "
        "SELECT dia_object_id, avg(ra) AS ra, avg(dec) AS dec, 1e-6 AS ra_err, 1e-6 AS dec_err, 0 AS ra_dec_cov, "
        "arg_min(hpx29, dia_source_id) AS hpx29, 0 AS position_chi2, count(*) AS n_dia_source, "
        "count(DISTINCT night) AS n_night, min(midpoint_mjd_tai) AS first_mjd_tai, "
        "max(midpoint_mjd_tai) AS last_mjd_tai, max(score) AS max_score, min(score) AS min_score "
        "FROM association.source WHERE dia_object_id IS NOT NULL GROUP BY dia_object_id"
    )


def _insert(connection, table, columns):
    """Insert rows; every column that must have a value and is not given is zero."""
    given = pa.table(columns)
    described = connection.execute(f"DESCRIBE {table}").fetchall()
    zeros = [f"0 AS {name}" for name, _, null, *_ in described if null == "NO" and name not in columns]
    query = f"INSERT INTO {table} BY NAME SELECT {', '.join(['*', *zeros])} FROM given"
    execute_with(connection, query, {"given": given})
