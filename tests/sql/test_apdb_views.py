"""The views with the APDB's names, against its dictionary and against numpy."""

import csv

import hand_made
import numpy as np
import pytest

from dbpipe.catalog.sql.dictionary import column_metadata

TYPES = {"long": "BIGINT", "short": "SMALLINT", "int": "INTEGER", "float": "FLOAT", "double": "DOUBLE"}
TYPES |= {"boolean": "BOOLEAN", "char": "VARCHAR"}
KEYS = {
    "DiaObject": {"diaObjectId", "ra", "raErr", "dec", "decErr", "ra_dec_Cov", "nDiaSources", "g_psfFluxMean"},
    "DiaSource": {"diaSourceId", "diaObjectId", "visit", "ra", "dec", "psfFlux", "psfFluxErr", "snr", "band"},
    "DiaForcedSource": {"diaObjectId", "visit", "detector", "psfFlux", "psfFluxErr", "midpointMjdTai", "band"},
}


@pytest.mark.parametrize("view", KEYS)
def test_columns_are_those_of_the_apdb(survey, shared_data, view):
    """Every column is one of LSST's, with its type, and with its unit and UCD where LSST gives one."""
    with open(shared_data.parent / "apdb_columns.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    apdb = {row["column"]: row for row in rows if row["table"] == view}
    # LSST's own tables differ in UCDs of the same column: that of DiaSource will do
    ucds = {(row["column"], row["ucd"]) for row in rows if row["table"] in (view, "DiaSource")}
    metadata = column_metadata(survey, view)
    for name, kind, *_ in survey.execute(f"DESCRIBE {view}").fetchall():
        assert kind == TYPES[apdb[name]["datatype"]], name
        assert metadata[name].get("unit", "") == apdb[name]["unit"] or not apdb[name]["unit"], name
        assert (name, metadata[name].get("ucd", "")) in ucds, name
        assert metadata[name]["description"], name
    assert KEYS[view] <= set(metadata)


def one(survey, columns, dia_object_id):
    (row,) = survey.execute(
        f"SELECT {columns} FROM DiaObject WHERE diaObjectId = $id", {"id": dia_object_id}
    ).fetchall()
    return row


def test_statistics_of_an_object_are_those_of_its_detections(survey):
    """Mean, scatter, extremes and number are those of the detected epochs of the band."""
    fluxes = np.array(hand_made.FLUXES[hand_made.VARIABLE]["r"])
    names = "Mean MeanErr Sigma Ndata Min Max ErrMean MaxSlope".split()
    row = one(survey, ", ".join(f"r_psfFlux{name}" for name in names), hand_made.VARIABLE)
    expected = (fluxes.mean(), hand_made.ERROR / 2, fluxes.std(ddof=1), 4, -3000, 3000, 100, 5800)
    assert row == pytest.approx(expected, rel=1e-5)
    assert one(survey, "g_psfFluxNdata, u_psfFluxNdata, u_psfFluxMean", hand_made.VARIABLE) == (3, 0, None)
    mean = one(survey, "r_scienceFluxMean, r_scienceFluxMeanErr", hand_made.VARIABLE)
    assert mean == pytest.approx((10_000 + fluxes.mean(), 50), rel=1e-5)


def test_the_forced_mean_has_every_epoch_in_it(survey):
    """Epochs without a detection count in fpFluxMean, not in psfFluxMean."""
    fluxes = np.array(hand_made.FLUXES[hand_made.SUPERNOVA]["r"])
    row = one(survey, "r_fpFluxMean, r_fpFluxMeanErr, r_psfFluxMean, r_psfFluxNdata", hand_made.SUPERNOVA)
    assert row == pytest.approx((fluxes.mean(), 50, fluxes[2:].mean(), 2), rel=1e-5)


def test_means_are_weighted_with_the_errors(survey):
    """An epoch of twice the error counts a quarter."""
    survey.execute("BEGIN")
    try:
        survey.execute(f"UPDATE dia_source SET psf_flux_err_njy = 200 WHERE dia_source_id = {10500 + 1}")
        (mean,) = one(survey, "r_psfFluxMean", hand_made.SUPERNOVA)
    finally:
        survey.execute("ROLLBACK")
    assert mean == pytest.approx((2000 / 4 + 5000) / 1.25)


def test_sources_name_their_object(survey):
    """A linked source has its object's id, a part of a track none, and no source is lost or doubled by it."""
    rows = dict(survey.execute("SELECT diaSourceId, diaObjectId FROM DiaSource").fetchall())
    assert rows[10501] == hand_made.SUPERNOVA and rows[9001] is None
    assert survey.execute("SELECT count(*) FROM DiaSource").fetchall() == [(len(rows),)]
    assert survey.execute("SELECT count(*) FROM dia_source").fetchall() == [(len(rows),)]


def test_forced_sources_keep_every_row(survey):
    """There is one row for each forced measurement."""
    assert survey.execute("SELECT count(*), count(DISTINCT (diaObjectId, visit)) FROM DiaForcedSource").fetchall() == [
        (35, 35)
    ]
