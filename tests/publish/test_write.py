"""Views for analysts, and what leaves the database."""

import csv

import duckdb
import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from astropy.io import registry
from astropy.table import Table

from dbpipe.catalog.sql.dictionary import column_metadata
from dbpipe.catalog.sql.queries import directory
from dbpipe.catalog.views import apply_views
from dbpipe.disk.ledger import LEDGER
from dbpipe.errors import ConfigError
from dbpipe.publish.votable import vo_unit
from dbpipe.publish.write import export


@pytest.fixture
def connection():
    """A database with the schema, the views, and three DIASources of visit 1: clean, faint and flagged."""
    with duckdb.connect() as database:
        for path in sorted(directory("migrations").glob("*.sql")):
            database.execute(path.read_text())
        apply_views(database)
        database.execute("INSERT INTO band VALUES ('r')")
        database.execute("INSERT INTO detector VALUES (0, 'a'), (1, 'b')")
        database.execute(
            "INSERT INTO visit VALUES (1, 'r', 'x', 61000.5, 30, NULL, 20260101), (2, 'r', 'x', 61001, 30, 1.2, 1)"
        )
        for number, (score, flagged) in enumerate([(9.5, False), (4.2, False), (-20.0, True)]):
            insert_source(database, number, score, flagged)
        database.execute("INSERT INTO diffim_input VALUES (1, 0, 2, 0, 0.75), (1, 0, 2, 1, 0.25), (1, 1, 2, 1, 1.0)")
        yield database


def insert_source(database, number, score, flagged):
    columns = database.execute("DESCRIBE dia_source").fetchall()
    row = {name: 0 for name, *_ in columns}
    row |= {"dia_source_id": (1 << 55) + number, "visit": 1, "band": "r", "score": score, "snr": abs(score)}
    row |= {"ra": 10.0 + number, "psf_flux_njy": 100 * score, "psf_flux_err_njy": 100, "is_primary": abs(score) >= 5}
    row |= {"is_negative": score < 0, "flag_dipole": flagged, "aperture_flux_njy": None}
    names = ", ".join(row)
    database.execute(f"INSERT INTO dia_source ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))


def test_apdb_view_has_the_names_types_and_units_of_the_apdb(connection, shared_data):
    """Every column of DiaSource is a column of LSST's, with its type and unit, and none of its keys is missing."""
    with open(shared_data.parent / "apdb_columns.csv", newline="") as file:
        apdb = {row["column"]: row for row in csv.DictReader(file) if row["table"] == "DiaSource"}
    types = {"long": "BIGINT", "short": "SMALLINT", "int": "INTEGER", "float": "FLOAT", "double": "DOUBLE"}
    types |= {"boolean": "BOOLEAN", "char": "VARCHAR"}
    metadata = column_metadata(connection, "DiaSource")
    for name, kind, *_ in connection.execute("DESCRIBE DiaSource").fetchall():
        assert kind == types[apdb[name]["datatype"]], name
        assert metadata[name].get("unit", "") == apdb[name]["unit"], name
        assert metadata[name].get("ucd", "") == apdb[name]["ucd"], name
        assert metadata[name]["description"], name
    assert {"diaSourceId", "visit", "ra", "dec", "psfFlux", "psfFluxErr", "snr", "midpointMjdTai", "band"} <= set(
        metadata
    )


def test_clean_sources_are_primary_and_without_flag(connection):
    """Of a clean, a faint and a flagged source, the clean one is left."""
    assert connection.execute("SELECT score FROM dia_source_clean").fetchall() == [(9.5,)]


def test_every_flag_speaks_against_a_clean_source(connection):
    """A flag that is added to dia_source must be in the view too; fewer template inputs and motion are no defects."""
    flags = [name for name, *_ in connection.execute("DESCRIBE dia_source").fetchall() if name.startswith("flag_")]
    flags = [name for name in flags if name not in ("flag_template_rejected", "flag_trail")]
    for flag in flags:
        connection.execute(f"UPDATE dia_source SET {flag} = true WHERE score = 9.5")
        assert connection.execute("SELECT count(*) FROM dia_source_clean").fetchone() == (0,), flag
        connection.execute(f"UPDATE dia_source SET {flag} = false WHERE score = 9.5")


def test_template_weights_add_to_one(connection):
    """The shares of the detectors of a visit are summed, and averaged over the images of the visit."""
    assert connection.execute("SELECT * FROM template_table").fetchall() == [(1, 2, 1.0)]


def test_visit_quality_is_the_mean_of_its_detectors(connection):
    """Seeing and zero point are averaged, astrometric errors in quadrature."""
    columns = connection.execute("DESCRIBE calexp").fetchall()
    for detector, fwhm, rms in ((0, 4.0, 0.003), (1, 5.0, 0.004)):
        row = {name: [0.0] * 4 if kind.endswith("[4]") else 0 for name, kind, *_ in columns}
        row |= {"visit": 1, "detector": detector, "psf_fwhm_pix": fwhm, "zero_point_mag": 30, "astrom_rms_arcsec": rms}
        database_row = f"INSERT INTO calexp ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        connection.execute(database_row, list(row.values()))
    query = "SELECT visit, n_detector, seeing_fwhm_px, zero_point, astrom_rms_arcsec FROM visit_quality"
    assert connection.execute(query).fetchall() == [(1, 2, 4.5, 30.0, pytest.approx(0.005 / 2**0.5))]


def test_views_can_be_applied_again_and_every_column_of_theirs_is_explained(connection):
    """Applying the views twice changes nothing, and each of their columns has a description."""
    apply_views(connection)
    views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    assert {"DiaSource", "dia_source_clean", "template_table", "visit_quality"} <= {name for (name,) in views}
    for (view,) in views:
        missing = [name for name, known in column_metadata(connection, view).items() if "description" not in known]
        assert not missing, (view, missing)


def test_parquet_carries_units_and_meanings(connection, tmp_path):
    """A Parquet file says what each column is, and holds 64-bit ids exactly."""
    path, n_row = export(connection, tmp_path, table="DiaSource", where="snr > 5", order_by="snr")
    assert (path, n_row) == (tmp_path / "DiaSource.parquet", 2)
    table = pq.read_table(path)
    assert table.column("diaSourceId").to_pylist() == [1 << 55, (1 << 55) + 2]
    assert table.schema.field("psfFlux").metadata[b"unit"] == b"nJy"
    assert table.schema.field("ra").metadata[b"ucd"] == b"pos.eq.ra"
    assert b"dbpipe.columns" in table.schema.metadata
    assert sorted(p.name for p in tmp_path.iterdir()) == [LEDGER, "DiaSource.parquet"]


@pytest.mark.parametrize(
    "where", ["snr > 5", "DiaSource.snr > 5 -- bright", "EXISTS (FROM visit AS v WHERE v.visit = DiaSource.visit)"]
)
def test_a_condition_may_name_the_table(connection, tmp_path, where):
    """A condition is on columns, bare or with the name of their table, and may hold a query of another table."""
    asked = f"SELECT count(*) FROM DiaSource WHERE {where}"
    assert export(connection, tmp_path, table="DiaSource", where=where)[1] == connection.sql(asked).fetchall()[0][0]


def test_a_view_passes_the_comments_of_its_table_on(connection, tmp_path):
    """Columns that a view takes over unchanged keep unit and meaning; the chosen columns come in the chosen order."""
    path, _ = export(connection, tmp_path / "a.parquet", table="dia_source_clean", columns=["snr", "RA"])
    schema = pq.read_schema(path)
    assert schema.names == ["snr", "ra"]
    assert schema.field("ra").metadata[b"unit"] == b"deg"


def test_ecsv_is_read_by_astropy(connection, tmp_path):
    """astropy reads values, units and gaps of an exported ECSV file."""
    path, _ = export(connection, tmp_path / "a.ecsv", table="dia_source", order_by="dia_source_id")
    table = Table.read(path)
    assert table["psf_flux_njy"].unit == "nJy"
    np.testing.assert_allclose(table["psf_flux_njy"], [950, 420, -2000])
    assert table["dia_source_id"][0] == 1 << 55
    assert table["aperture_flux_njy"].mask.all()
    assert table["band"][0] == "r" and not table["is_primary"][1]


def test_csv_is_plain(connection, tmp_path):
    """A CSV file has one header line and reads back as it was."""
    path, _ = export(connection, tmp_path / "a.csv", table="template_table")
    table = pyarrow.csv.read_csv(path)
    assert table.to_pylist() == [{"visit": 1, "template_visit": 2, "weight": 1.0}]


@pytest.mark.parametrize("table", ["unit", "calexp", "raw"])
def test_empty_tables_and_odd_types_can_be_written(connection, tmp_path, table):
    """Tables without rows, with enums, lists and JSON can be written as Parquet and ECSV."""
    for suffix in ("parquet", "ecsv"):
        assert export(connection, tmp_path / f"{table}.{suffix}", table=table)[1] == 0
    names = [row[0] for row in connection.execute(f"DESCRIBE {table}").fetchall()]
    assert pq.read_schema(tmp_path / f"{table}.parquet").names == names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out": "a.parquet", "table": "no_such"}, "no table or view"),
        ({"out": "a.parquet", "table": "visit", "columns": ["x"]}, "has no column"),
        ({"out": "a.xyz", "table": "visit"}, "cannot write"),
    ],
)
def test_mistakes_are_named(connection, tmp_path, arguments, message):
    """A wrong table, column or kind of file is the user's mistake, and nothing is written."""
    with pytest.raises(ConfigError, match=message):
        export(connection, tmp_path / arguments.pop("out"), **arguments)
    assert not list(tmp_path.iterdir())


def test_votable_is_read_by_astropy(connection, tmp_path):
    """astropy reads values, units, UCDs, 64-bit ids and gaps of an exported VOTable."""
    path, _ = export(connection, tmp_path / "a.vot", table="dia_source", order_by="dia_source_id")
    table = Table.read(path)
    assert table["psf_flux_njy"].unit == "nJy" and table["ixx_arcsec2"].unit == "arcsec**2"
    assert table["ra"].meta["ucd"] == "pos.eq.ra" and table["ra"].description
    np.testing.assert_allclose(table["psf_flux_njy"], [950, 420, -2000])
    assert table["dia_source_id"][0] == 1 << 55
    assert table["aperture_flux_njy"].mask.all() and list(table["band"]) == ["r", "r", "r"]


@pytest.mark.skipif(
    "parquet.votable" not in registry.get_formats(Table, "Read")["Format"], reason="this astropy reads no VOParquet"
)
@pytest.mark.filterwarnings("ignore:No table..len")  # astropy wants the longest text of each column in the footer
def test_parquet_says_in_votable_what_its_columns_are(connection, tmp_path):
    """astropy's reader of VOParquet finds units, UCDs and descriptions in the footer."""
    path, _ = export(connection, tmp_path, table="DiaSource", columns=["diaSourceId", "ra", "psfFlux", "ixx", "band"])
    table = Table.read(path, format="parquet.votable")
    assert table["psfFlux"].unit == "nJy" and table["ixx"].unit == "arcsec**2"
    assert table["ra"].meta["ucd"] == "pos.eq.ra" and table["ra"].description == "ICRS right ascension"
    assert table["diaSourceId"][0] >= 1 << 55


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("nJy", "nJy"), ("deg2", "deg**2"), ("pix", "pixel"), ("mas/mag", "mas/mag"), ("UTC", ""), ("deg**2", "deg**2")],
)
def test_units_are_written_as_the_virtual_observatory_does(unit, expected):
    """Powers have two stars, and a time scale is no unit."""
    assert vo_unit(unit) == expected
