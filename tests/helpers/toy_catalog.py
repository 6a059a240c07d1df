"""A catalog with hand-made detections, as if the stages up to detect had run."""

from contextlib import contextmanager

import pandas as pd

from dbpipe.catalog import migrations
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views
from dbpipe.sky.healpix import hpx29

DETECTION = {
    "ra_err": 3e-5,
    "dec_err": 3e-5,
    "ra_dec_cov": 0.0,
    "score": 10.0,
    "is_primary": True,
    "snr": 10.0,
    "flag_streak": False,
}
"""What a detection is if nothing else is said."""


@contextmanager
def empty_catalog():
    """A catalog in memory with schema and views."""
    with connection.memory() as catalog:
        migrations.migrate(catalog)
        apply_views(catalog)
        catalog.execute("INSERT INTO band VALUES ('r'), ('g'); INSERT INTO detector VALUES (0, 'a')")
        yield catalog


def insert(catalog, table, rows):
    """Insert rows, a DataFrame, in which what is not said is 0, or nothing where that is allowed."""
    values = {name: f'"{name}"' for name in rows}
    for name, kind, is_null, *_ in catalog.execute(f"DESCRIBE {table}").fetchall():
        if is_null == "NO" and name not in values:
            values[name] = "''" if kind == "VARCHAR" else f"CAST(0 AS {kind})"
    catalog.register("toy_rows", rows)
    columns, selected = ", ".join(values), ", ".join(values.values())
    catalog.execute(f"INSERT INTO {table} ({columns}) SELECT {selected} FROM toy_rows")
    catalog.unregister("toy_rows")


def detect(catalog, visit, rows, *, mjd=None, band="r"):
    """Put the detections of one visit in the place of those that it had, and note that detect was here.

    Parameters
    ----------
    rows : DataFrame with ra and dec [deg], and what differs from `DETECTION`; numbered in their order
    """
    mjd = 60000.0 + visit if mjd is None else mjd
    key = f"visit={visit},detector=0"
    if not catalog.execute("FROM visit WHERE visit = ?", [visit]).fetchall():
        night = int(mjd)
        insert(
            catalog, "visit", pd.DataFrame([{"visit": visit, "band": band, "midpoint_mjd_tai": mjd, "night": night}])
        )
        insert(catalog, "diffim", pd.DataFrame([{"visit": visit, "detector": 0}]))
    catalog.execute("DELETE FROM dia_source WHERE visit = ?", [visit])
    catalog.execute("DELETE FROM unit WHERE stage = 'detect' AND unit_key = ?", [key])
    rows = pd.DataFrame(
        {**DETECTION, **{name: list(values) for name, values in rows.items()}}, index=range(len(rows["ra"]))
    )
    rows = rows.assign(
        dia_source_id=(visit << 22) + rows.index, visit=visit, detector=0, band=band, midpoint_mjd_tai=mjd
    )
    rows["hpx29"] = hpx29(rows.ra, rows.dec)
    if len(rows):
        insert(catalog, "dia_source", rows)
    fingerprint = str(pd.util.hash_pandas_object(rows).sum())
    unit = {"stage": "detect", "unit_key": key, "fingerprint": fingerprint, "status": "done"}
    insert(catalog, "unit", pd.DataFrame([unit | {"finished_at": pd.Timestamp(0)}]))
