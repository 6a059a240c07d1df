"""Reference catalogs of any make."""

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from astropy.table import MaskedColumn, Table
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dbpipe.errors import ConfigError
from dbpipe.io.tables.columns import RefcatColumns
from dbpipe.io.tables.refcat import find_columns, read_refcat
from dbpipe.sky.healpix import hpx29

STARS = {"id": [5000000001, 5000000002, 5000000003], "ra": [10.0, 359.9999, 0.25], "dec": [-5.0, 89.0, 0.0],
         "r": [15.5, 16.5, 17.5], "r_err": [0.01, 0.02, 0.03]}  # fmt: skip


def write_csv(folder, text):
    """Write text as a CSV file and return its path."""
    path = folder / "stars.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "fits", "ecsv", "vot"])
def test_same_stars_from_every_format(tmp_path, kind):
    """The format is told from the content: each file gives the same rows, ids to the last digit."""
    path, table = tmp_path / "stars.dat", Table(STARS)
    if kind.startswith("csv"):
        table.write(path, format="ascii.csv")
        if kind.endswith("gz"):
            path.write_bytes(gzip.compress(path.read_bytes()))
    elif kind == "parquet":
        pyarrow.parquet.write_table(pa.table(STARS), path)
    else:
        table.write(path, format={"fits": "fits", "ecsv": "ascii.ecsv", "vot": "votable"}[kind])
    stars, magnitudes = read_refcat(path)
    assert stars["original_id"].to_pylist() == ["5000000001", "5000000002", "5000000003"]
    assert stars["reference_id"].to_pylist() == [1, 2, 3]
    np.testing.assert_array_equal(stars["ra"].to_numpy(), STARS["ra"])
    np.testing.assert_array_equal(stars["hpx29"].to_numpy(), hpx29(STARS["ra"], STARS["dec"]))
    assert stars["epoch_mjd_tai"].null_count == stars["pm_ra_mas_per_yr"].null_count == 3
    assert magnitudes["band"].to_pylist() == ["r"] * 3
    assert magnitudes["magnitude_ab"].to_pylist() == STARS["r"]
    assert magnitudes["magnitude_err"].to_pylist() == STARS["r_err"]


def test_columns_are_those_of_the_schema(tmp_path):
    """Names and types are what the tables of the catalog want."""
    stars, magnitudes = read_refcat(write_csv(tmp_path, "RA,Dec,V\n1,2,3\n"))
    assert stars.column_names == ["reference_id", "original_id", "ra", "dec", "epoch_mjd_tai", "pm_ra_mas_per_yr",
                                  "pm_dec_mas_per_yr", "hpx29"]  # fmt: skip
    assert [str(t) for t in stars.schema.types] == ["int64", "string"] + ["double"] * 5 + ["int64"]
    assert magnitudes.column_names == ["reference_id", "band", "magnitude_ab", "magnitude_err"]
    assert [str(t) for t in magnitudes.schema.types] == ["int64", "string", "double", "double"]


def test_rows_without_a_position_are_dropped(tmp_path):
    """A star that is nowhere is left out; the numbers of the others stay those of the file."""
    text = "ra,dec,r\n10,20,15\n,20,15\n10,nan,15\n11,21,16\n"
    stars, magnitudes = read_refcat(write_csv(tmp_path, text))
    assert stars["reference_id"].to_pylist() == [1, 4]
    assert magnitudes["reference_id"].to_pylist() == [1, 4]


def test_codes_for_missing_are_missing(tmp_path):
    """99, -9999, an empty cell and NaN are no magnitudes; an error of zero or less is unknown."""
    text = "ra,dec,g,r,r_err\n1,1,99.0,15,0.0\n1,2,-9999,,0.1\n1,3,20,nan,0.1\n1,4,21,16,0.2\n"
    _, magnitudes = read_refcat(write_csv(tmp_path, text))
    rows = sorted((m["band"], m["reference_id"], m["magnitude_err"]) for m in magnitudes.to_pylist())
    assert rows == [("g", 3, None), ("g", 4, None), ("r", 1, None), ("r", 4, 0.2)]


def test_units_of_the_file_count(tmp_path):
    """Radians become degrees, arcsec/yr become mas/yr; negative right ascensions are folded."""
    table = Table(
        {"coord_ra": [-0.1, 0.2], "coord_dec": [0.1, 0.2], "pmra": [0.5, 1.0], "pmdec": [0.1, 0.2], "r": [1, 2]}
    )
    for name, unit in {"coord_ra": "rad", "coord_dec": "rad", "pmra": "arcsec/yr", "pmdec": "arcsec/yr"}.items():
        table[name].unit = unit
    table.write(tmp_path / "a.fits")
    stars, _ = read_refcat(tmp_path / "a.fits", {"epoch": 2016.0})
    np.testing.assert_allclose(stars["ra"].to_numpy(), np.degrees([2 * np.pi - 0.1, 0.2]), rtol=1e-12)
    np.testing.assert_allclose(stars["pm_ra_mas_per_yr"].to_numpy(), [500.0, 1000.0])
    table["coord_ra"].unit = "mag"
    table.write(tmp_path / "b.fits")
    with pytest.raises(ConfigError, match="coord_ra is in mag"):
        read_refcat(tmp_path / "b.fits")


@pytest.mark.parametrize("epoch", [2016.0, 57388.5])
def test_epoch_is_a_year_or_an_mjd(tmp_path, epoch):
    """J2016.0 and its MJD are the same moment to a minute; a column works like a number."""
    text = f"ra,dec,r,when\n1,2,3,{epoch}\n"
    for asked in (epoch, str(epoch), "when"):
        stars, _ = read_refcat(write_csv(tmp_path, text), {"epoch": asked})
        assert stars["epoch_mjd_tai"][0].as_py() == pytest.approx(57388.5, abs=1e-3)
    with pytest.raises(ConfigError, match="neither a year"):
        read_refcat(write_csv(tmp_path, text), {"epoch": 5.0})


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("id ra dec u g r i z y", {"magnitudes": {b: b for b in "ugrizy"}}),
        ("RA_ICRS DE_ICRS Gmag", {"ra": "RA_ICRS", "dec": "DE_ICRS", "magnitudes": {"G": "Gmag"}}),
        ("ra dec Gmag e_Gmag", {"magnitudes": {"G": "Gmag"}, "magnitude_errors": {"G": "e_Gmag"}}),
        ("RAJ2000 DEJ2000 gmag rmag Rmag", {"dec": "DEJ2000", "magnitudes": {"g": "gmag", "r": "rmag", "R": "Rmag"}}),
        ("ra_deg dec_deg MAG_I mag_r", {"ra": "ra_deg", "magnitudes": {"I": "MAG_I", "r": "mag_r"}}),
        ("ra dec x y r", {"magnitudes": {"r": "r"}}),
        ("source_id ra dec pmra pmdec ref_epoch phot_g_mean_mag phot_bp_mean_mag phot_rp_mean_mag",
         {"pm_ra": "pmra", "epoch": "ref_epoch",
          "magnitudes": {"G": "phot_g_mean_mag", "BP": "phot_bp_mean_mag", "RP": "phot_rp_mean_mag"}}),
        ("objID raMean decMean gMeanPSFMag gMeanPSFMagErr epochMean",
         {"ra": "raMean", "epoch": "epochMean", "magnitudes": {"g": "gMeanPSFMag"},
          "magnitude_errors": {"g": "gMeanPSFMagErr"}}),
        ("id coord_ra coord_dec pm_ra pm_dec epoch g_psfMag",
         {"pm_ra": "pm_ra", "pm_dec": "pm_dec", "epoch": "epoch", "magnitudes": {"g": "g_psfMag"}}),
        ("RA_ICRS DE_ICRS pmRA pmDE Epoch RPmag", {"pm_ra": "pmRA", "pm_dec": "pmDE", "epoch": "Epoch"}),
    ],
)  # fmt: skip
def test_usual_names_are_recognized(names, expected):
    """Common spellings need no mapping; r and R are two filters; x and y are pixels."""
    found = find_columns(names.split())
    assert {key: getattr(found, key) for key in expected} == expected


def test_mapping_takes_precedence():
    """What the user names is used, whatever else there is."""
    found = find_columns(["ra", "dec", "RAJ2000", "mag"], {"ra": "RAJ2000", "magnitudes": {"rp": "mag"}})
    assert (found.ra, found.dec, found.magnitudes) == ("RAJ2000", "dec", {"rp": "mag"})
    assert find_columns(["ra", "dec", "mag"], RefcatColumns(magnitudes={"R": "mag"})).magnitudes == {"R": "mag"}


@pytest.mark.parametrize(
    ("names", "mapping", "message"),
    [
        ("alpha dec r", {}, r"no column for ra was recognized.*columns: alpha, dec, r.*ra = \"NAME\""),
        ("ra raj2000 dec r", {}, "several columns could be ra: ra, raj2000"),
        ("ra dec r rmag", {}, "several columns could be the magnitude in r: r, rmag"),
        ("ra dec mag_instr", {}, "no magnitude column was recognized .columns: ra, dec, mag_instr"),
        ("ra dec x y mag", {}, "no magnitude column was recognized"),
        ("ra dec rmag", {"magnitudes": {"r": "r_mag"}}, "no column 'r_mag'; did you mean rmag"),
        ("ra dec r", {"decc": "dec"}, "unknown key 'decc'; did you mean dec"),
        ("ra dec r", {"magnitude_errors": {"g": "r"}}, "band g, which has no magnitude"),
    ],
)
def test_what_is_missing_or_ambiguous_is_named(names, mapping, message):
    """Rather than guess, the message lists the columns and what to write."""
    with pytest.raises(ConfigError, match=message):
        find_columns(names.split(), mapping)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ra,dec,r\n", "no row has a position"),
        ("ra,dec,r\n1,95,3\n", "must be in degrees"),
        ("ra,dec,r\n15:30:00:7,5,3\n", "column ra is not a number and no angle: '15:30:00:7' in row 1"),
        ("ra,dec,r\n10,5,bright\n", "column r is not a number: 'bright'"),
        ("ra;dec;r\n53,01;-27,44;18\n", "column ra is not a number.*decimal points are points"),
        ("ra,dec,r\n1,2\n3\n", "cannot be read as a table"),
        ("", "cannot be read as a table"),
        ("SIMPLE  = rubbish", "cannot be read as a table"),
        ("PAR1 rubbish", "cannot be read as a table"),
        ("a\0b", "cannot be read as a table"),
    ],
)
def test_bad_catalogs_are_refused(tmp_path, text, message):
    """An empty or damaged table is an error of the settings with its reason."""
    with pytest.raises(ConfigError, match=message):
        read_refcat(write_csv(tmp_path, text))


IDS = [2**60 + 1, None, 2**63 - 1, 5853498713190525696]


@pytest.mark.parametrize("kind", ["csv", "parquet", "fits", "ecsv", "vot"])
@settings(deadline=None, max_examples=10, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    ids=st.lists(st.none() | st.sampled_from([i for i in IDS if i]) | st.integers(1, 2**63 - 1), min_size=1, max_size=6)
)
@example(ids=IDS)
def test_ids_are_exact_and_a_missing_one_is_missing(tmp_path, kind, ids):
    """Ids of any size keep all digits in every format; a gap is NULL, not 0, and no text."""
    number = np.arange(len(ids))
    path = tmp_path / "stars.dat"
    if kind == "parquet":
        columns = {"id": pa.array(ids, pa.int64()), "ra": 10.0 + number, "dec": 20.0 + number, "r": 15.0 + number}
        pyarrow.parquet.write_table(pa.table(columns), path)
    else:
        column = MaskedColumn([i or 0 for i in ids], mask=[i is None for i in ids], dtype=np.int64)
        table = Table({"id": column, "ra": 10.0 + number, "dec": 20.0 + number, "r": 15.0 + number})
        kinds = {"csv": "ascii.csv", "fits": "fits", "ecsv": "ascii.ecsv", "vot": "votable"}
        table.write(path, format=kinds[kind], overwrite=True)
    stars, _ = read_refcat(path)
    assert stars["original_id"].to_pylist() == [None if i is None else str(i) for i in ids]


def test_ids_are_text_as_they_stand(tmp_path):
    """Leading zeros, names and signs stay; blanks around them, and words for nothing, do not."""
    text = 'id,ra,dec,r\n007,10,20,15\n HD 1 ,10,20,15\nnan,10,20,15\n"",10,20,15\n12345678901234567890123,1,20,15\n'
    stars, _ = read_refcat(write_csv(tmp_path, text))
    assert stars["original_id"].to_pylist() == ["007", "HD 1", None, None, "12345678901234567890123"]
    Table({"id": np.array([b"a1", b""]), "ra": [10.0, 11.0], "dec": [20.0, 21.0], "r": [1, 2]}).write(
        tmp_path / "b.fits"
    )
    assert read_refcat(tmp_path / "b.fits")[0]["original_id"].to_pylist() == ["a1", None]


def test_ids_that_have_lost_digits_are_refused(tmp_path):
    """An id in floating point beyond 2^53 is not that of the star; without ids the catalog is taken."""
    path = tmp_path / "a.parquet"
    stars = {"id": [5.853498713190525e18, None], "ra": [10.0, 11.0], "dec": [20.0, 21.0], "r": [15.0, 16.0]}
    pyarrow.parquet.write_table(pa.table(stars), path)
    with pytest.raises(ConfigError, match="column id is floating point.*5.8535e.18.*id=none"):
        read_refcat(path)
    assert read_refcat(path, {"id": "none"})[0]["original_id"].to_pylist() == ["1", "2"]
    pyarrow.parquet.write_table(pa.table(stars | {"id": [5.0, None]}), path)
    assert read_refcat(path)[0]["original_id"].to_pylist() == ["5", None]
    single = {"id": pa.array([2.0**24, 2.0**24 + 1], pa.float32())}  # one number twice
    pyarrow.parquet.write_table(pa.table(stars | single), path)
    with pytest.raises(ConfigError, match="floating point of 32 bits"):
        read_refcat(path)


def test_an_id_that_is_no_number_is_missing(tmp_path):
    """Infinity in a column of ids is none."""
    stars = {"id": [7.0, np.inf], "ra": [10.0, 11.0], "dec": [20.0, 21.0], "r": [15.0, 16.0]}
    Table(stars).write(tmp_path / "a.fits")
    assert read_refcat(tmp_path / "a.fits")[0]["original_id"].to_pylist() == ["7", None]


@pytest.mark.parametrize(
    ("ra", "dec", "units"),
    [
        ("15:30:00", "-27:26:24", {}),
        ("15 30 00", "-27 26 24.0", {}),
        ("15h30m00s", "-27d26m24s", {}),
        ("232d30m", "-27d26m24s", {}),
        ("15.5", "-27.44", {"ra": "h"}),
        ("15.5", "-27.44", {"ra": "hourangle", "dec": "deg"}),
        ("15:30:00", "-27:26:24", {"ra": '"h:m:s"', "dec": '"d:m:s"'}),
        ("232:30:00", "-27:26:24", {"ra": "deg", "dec": "deg"}),
        (str(np.radians(232.5)), str(np.radians(-27.44)), {"ra": "radian", "dec": "rad"}),
        ("837000", "-98784", {"ra": "arcsec", "dec": "arcsec"}),
    ],
)
def test_angles_are_understood(tmp_path, ra, dec, units):
    """In sixties, where right ascension is in hours, and in any unit that the file or the user names."""

    def is_here(stars):
        np.testing.assert_allclose([stars["ra"][0].as_py(), stars["dec"][0].as_py()], [232.5, -27.44], atol=1e-9)

    lines = ["ra\tdec\tr", f"{units.get('ra', '')}\t{units.get('dec', '')}\tmag", "--\t--\t--", f"{ra}\t{dec}\t18"]
    is_here(read_refcat(write_csv(tmp_path, "\n".join(lines)))[0])
    if units:
        given = {f"{name}_unit": unit for name, unit in units.items()}
        is_here(read_refcat(write_csv(tmp_path, f"ra,dec,r\n{ra},{dec},18\n"), given)[0])


def radians(tmp_path, n=30):
    """A catalog in radians that does not say so, around RA 53, Dec -27."""
    k = np.arange(n)
    return Table({"coord_ra": np.radians(53 + 0.1 * k), "coord_dec": np.radians(-27 - 0.1 * k), "r": np.full(n, 18.0)})


def test_positions_that_may_be_radians_are_not_guessed(tmp_path):
    """Without a unit, and without exposures to compare with, numbers below 2 pi are refused with what to say."""
    path = tmp_path / "a.csv"
    radians(tmp_path).write(path, format="ascii.csv")
    with pytest.raises(ConfigError, match="degrees or radians. Say --map ra_unit=rad or --map ra_unit=deg"):
        read_refcat(path)
    np.testing.assert_allclose(read_refcat(path, {"ra_unit": "rad"})[0]["ra"][0].as_py(), 53.0)
    np.testing.assert_allclose(read_refcat(path, {"ra_unit": "deg"})[0]["ra"][0].as_py(), np.radians(53.0))
    with pytest.raises(ConfigError, match="in radians some are: say --map ra_unit=rad"):
        read_refcat(path, fields=[(53.5, -27.5, 0.2)])


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)
@given(ra=st.floats(0.5, 359.0), dec=st.floats(-80, 80), unit=st.sampled_from(["deg", "rad", "hourangle"]))
@example(ra=3.0, dec=1.0, unit="deg")
@example(ra=1.5, dec=39.0, unit="hourangle")
def test_exposures_tell_the_unit(tmp_path, ra, dec, unit):
    """A catalog of the field of an exposure is taken in degrees, near (3, 1) too; in another unit it never is."""
    factor = {"deg": (1, 1), "rad": (np.pi / 180, np.pi / 180), "hourangle": (1 / 15, 1)}[unit]
    path = write_csv(tmp_path, f"ra,dec,r\n{ra * factor[0]!r},{dec * factor[1]!r},18\n")
    try:
        stars, _ = read_refcat(path, fields=[(ra, dec, 0.1)])
    except ConfigError as error:
        assert unit != "deg" and "without a unit" in str(error)
        return
    moved = (abs(ra - ra * factor[0]) * np.cos(np.radians(dec)), abs(dec - dec * factor[1]))
    assert unit == "deg" or max(moved) < 1.2 or stars["ra"][0].as_py() > 2 * np.pi


def test_missing_file_is_refused(tmp_path):
    """A catalog that is not there is named."""
    with pytest.raises(ConfigError, match="nothing.csv cannot be read"):
        read_refcat(tmp_path / "nothing.csv")


@pytest.mark.parametrize(
    ("name", "mapping", "n_star", "bands"),
    [
        ("sim_small/refcat.csv", None, 219, set("ugrizy")),
        ("saao_mb13475/refcat.csv", None, 1098, {"I"}),
        ("nickel_kalliope/derived/refcat_derived_kalliope.csv", {"magnitudes": {"R": "mag_instr"}}, 89, {"R"}),
        ("lco_template_gaia/sky_image_1_GaiaCat.ecsv", {"magnitudes": {"rp": "mag"}, "epoch": 2016.0}, 597, {"rp"}),
    ],
)
def test_real_catalogs_are_understood(shared_data, name, mapping, n_star, bands):
    """Every catalog at hand gives its stars."""
    stars, magnitudes = read_refcat(shared_data / name, mapping)
    assert stars.num_rows == n_star
    assert set(magnitudes["band"].to_pylist()) == bands
