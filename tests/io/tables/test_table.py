"""Tables from outside: exact, with their gaps, or refused with what was found."""

import os

import numpy as np
import pyarrow.parquet
import pytest
from astropy import units
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from dbpipe.errors import ConfigError
from dbpipe.io.tables.table import read_table

ROWS = {"name": ["a", "b c"], "ra": [53.01, None], "id": [2**60 + 1, None]}


def read_text(folder, text, encoding="utf-8"):
    """Write text to a file and read it as a table."""
    path = folder / "a.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_table(path)[0].to_pydict()


@pytest.mark.parametrize(
    "text",
    [
        "name,ra,id\na,53.01,1152921504606846977\nb c,,\n",
        "name,ra,id\r\na,53.01,1152921504606846977\r\nb c,,\r\n",
        "name,ra,id\ra,53.01,1152921504606846977\rb c,,\r",
        "\ufeffname,ra,id\na,53.01,1152921504606846977\nb c,,\n",
        "# a comment\n#\n\nname,ra,id\n# in the middle\na,53.01,1152921504606846977\nb c,,\n\n# end\n",
        "# name,ra,id\na,53.01,1152921504606846977\n",
        "#name ra id\n a 53.01   1152921504606846977\n",
        "name;ra;id\na;53.01;1152921504606846977\nb c;;\n",
        "name\tra\tid\na\t53.01\t1152921504606846977\nb c\t\t\n",
        "name|ra|id\na|53.01|1152921504606846977\nb c|null|NaN\n",
        "  name   ra  id\n a  53.01 1152921504606846977 \n'b' nan --\n".replace("'b'", '"b c"'),
        '"name","ra","id"\n"a","53.01","1152921504606846977"\n"b c","",""\n',
        "name, ra, id\na, +53.01, 1152921504606846977\nb c, NA, N/A\n",
        "#RESOURCE=yCat\n\nname\tra\tid\n\tdeg\t\n----\t---\t---\na\t53.01\t1152921504606846977\nb c\t  \t\n\n#END\n",
    ],
)
def test_text_is_read_however_it_is_written(tmp_path, text):
    """Any separator, end of line and comment gives the same rows, ids to the last digit, gaps as gaps."""
    assert read_text(tmp_path, text) in ({k: v[:1] for k, v in ROWS.items()}, ROWS)


@pytest.mark.parametrize(("form", "bits"), [("I", 16), ("J", 32), ("K", 64)])
def test_unsigned_numbers_of_fits_have_gaps(tmp_path, form, bits):
    """TNULL is the number that is stored, before the offset that makes it unsigned; the others keep all digits."""
    given = np.array([0, 7, 2**bits - 1], f"u{bits // 8}")
    column = fits.Column("id", form, null=-(2 ** (bits - 1)), bzero=2 ** (bits - 1), array=given)
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "a.fits")
    assert read_table(tmp_path / "a.fits")[0].to_pydict() == {"id": [None, 7, 2**bits - 1]}


def test_truth_values_have_gaps(tmp_path):
    """A column of true and false stays one where some are missing, as in what dbpipe itself writes."""
    text = "a,b,c\nTrue,true,\n,nan,\nFalse,FALSE,\n"
    assert read_text(tmp_path, text) == {"a": [True, None, False], "b": [True, None, False], "c": [None] * 3}


def test_units_of_vizier_are_found(tmp_path):
    """The line under the names holds units, if a line of dashes follows."""
    path = tmp_path / "a.tsv"
    path.write_text("ra\tdec\tr\nrad\trad\tmag\n---\t---\t---\n1\t2\t3\n")
    assert read_table(path)[1] == {"ra": "rad", "dec": "rad", "r": "mag"}


def test_text_is_not_taken_for_less_than_it_is(tmp_path):
    """Leading zeros and too many digits stay text, and a line within quotes is no comment."""
    text = 'a,b,c,d,e,f\n007,99999999999999999999999,"x\n# y",true,2026-01-01T00:00:00,18446744073709551615\n'
    found = {name: values[0] for name, values in read_text(tmp_path, text).items()}
    assert found["e"].year == 2026
    assert (found["a"], found["b"], found["c"]) == ("007", "9" * 23, "x\n# y")
    assert found["d"] is True and found["f"] == 2**64 - 1


def test_utf16_is_read(tmp_path):
    """A file of a spreadsheet that says that it is UTF-16 is."""
    assert read_text(tmp_path, "name,ra\né,1.5\n", "utf-16") == {"name": ["é"], "ra": [1.5]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "it is empty"),
        (b"# nothing\n", "comments only"),
        (b"name,ra\nVel\xe9,1\n", "byte 0xe9 in line 2 is not utf-8; save it as UTF-8"),
        (b"ra,dec,ra\n1,2,3\n", "more than one column is called ra"),
        (b"1,2,3\n4,5,6\n", "no names of columns: '1,2,3'"),
        (b'name,ra\n"a,1\n', "quotation mark is never closed"),
        (b"ra,dec\n1\n", "Expected 2 columns, got 1"),
        (b"ra,dec\n1,2,3\n", "Expected 2 columns, got 3"),
    ],
)
def test_text_that_is_no_table_is_refused(tmp_path, text, message):
    """The message says what was found, and where."""
    with pytest.raises(ConfigError, match=message):
        read_text(tmp_path, text)


def test_a_table_without_rows_has_columns(tmp_path):
    """A header alone is a table."""
    assert read_text(tmp_path, "ra,dec\n") == {"ra": [], "dec": []}


def fits_table(path):
    """A FITS table with every kind of column and what FITS has for missing."""
    columns = [
        fits.Column("name", "4A", array=["a", ""]),
        fits.Column("x", "D", array=[1.5, np.nan], unit="deg"),
        fits.Column("n", "K", array=[2**60 + 1, -99], null=-99),
        fits.Column("byte", "B", array=[255, 7], null=7),
        fits.Column("unsigned", "K", bzero=2**63, array=np.array([2**64 - 1, 5], np.uint64)),
        fits.Column("short", "I", bzero=2**15, array=np.array([2**16 - 1, 5], np.uint16)),
        fits.Column("pair", "2E", array=[[1, 2], [3, np.nan]]),
        fits.Column("grid", "4J", dim="(2,2)", array=[[[1, 2], [3, 4]], [[5, 6], [7, 8]]]),
        fits.Column("list", "PJ()", array=np.array([np.array([1, 2]), np.array([3])], dtype=object)),
        fits.Column("ok", "L", array=[True, False]),
        fits.Column("oks", "2L", array=[[True, False], [False, True]]),
        fits.Column("words", "6A", dim="(3,2)", array=[["abc", "d"], ["", "e"]]),
        fits.Column("z", "C", array=[1 + 2j, 0]),
    ]
    return fits.BinTableHDU.from_columns(columns, name="STARS")


FITS_ROWS = {
    "name": ["a", None], "x": [1.5, None], "n": [2**60 + 1, None], "byte": [255, None], "unsigned": [2**64 - 1, 5],
    "short": [2**16 - 1, 5], "pair": [[1, 2], [3, None]], "grid": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
    "list": [[1, 2], [3]], "ok": [True, None], "oks": [[True, False], [False, True]],
    "words": [["abc", "d"], [None, "e"]], "z": [[1, 2], [0, 0]],
}  # fmt: skip


def test_every_column_of_a_fits_table_is_seen(tmp_path):
    """Whatever their type and shape, the columns are there, and what FITS calls undefined is missing."""
    path, table = tmp_path / "a.fits", fits_table(tmp_path)
    table.writeto(path)
    content = bytearray(path.read_bytes())
    with fits.open(path) as hdus:  # a truth value that is neither T nor F is undefined
        start = hdus[1].fileinfo()["datLoc"]
        before = sum(c.dtype.itemsize for c in hdus[1].columns.columns[:9])
        content[start + hdus[1].header["NAXIS1"] + before] = 0
    path.write_bytes(content)
    found, units = read_table(path)
    found = found.to_pydict()
    assert set(found) == set(FITS_ROWS) and units == {"x": "deg"}
    for name, expected in FITS_ROWS.items():
        assert found[name] == expected, name


def test_one_of_several_tables_is_named_not_guessed(tmp_path):
    """A file with two tables is refused with their names; number and name choose one."""
    path = tmp_path / "a.fits"
    other = fits.BinTableHDU(Table({"a": [1]}), name="OTHER")
    fits.HDUList([fits.PrimaryHDU(), other, fits_table(tmp_path)]).writeto(path)
    with pytest.raises(ConfigError, match=r"holds 2 tables \(1 OTHER, 2 STARS\): say which, as in FILE\[1\]"):
        read_table(path)
    assert read_table(f"{path}[2]")[0].num_rows == 2
    assert read_table(f"{path}[other]")[0].to_pydict() == {"a": [1]}
    with pytest.raises(ConfigError, match=r"no one table \[x\]"):
        read_table(f"{path}[x]")
    fits.PrimaryHDU(np.zeros((2, 2))).writeto(tmp_path / "image.fits")
    with pytest.raises(ConfigError, match="holds no table"):
        read_table(tmp_path / "image.fits")


@pytest.mark.parametrize("format", ["votable", "ascii.ecsv", "fits", "parquet"])
def test_masked_values_are_missing(tmp_path, format):
    """Numbers, truth values and text that astropy masks are NULL."""
    mask = [False, True]
    table = Table({
        "n": MaskedColumn([2**62 + 1, 5], mask=mask),
        "x": MaskedColumn([1.5, 2], mask=mask),
        "t": MaskedColumn(["é" if format != "fits" else "e", "b"], mask=mask),
        "ok": MaskedColumn([True, True], mask=mask if format != "fits" else [False, False]),
    })  # fmt: skip
    table.write(tmp_path / "a.dat", format=format)
    found = read_table(tmp_path / "a.dat")[0].to_pydict()
    assert list(found) == ["n", "x", "t", "ok"]
    assert found["n"] == [2**62 + 1, None] and found["x"] == [1.5, None] and found["t"][1] is None
    assert found["ok"] == [True, None if format != "fits" else True]


def test_units_that_astropy_writes_into_parquet_are_found(tmp_path):
    """They stand in the footer of the table, and a damaged footer is refused, not ignored."""
    path = tmp_path / "a.parquet"
    Table({"ra": [1.0] * units.rad, "pmra": [2.0] * units.arcsec / units.yr, "n": [1]}).write(path)
    assert read_table(path)[1] == {"ra": "rad", "pmra": "arcsec / yr"}
    damaged = pyarrow.parquet.read_table(path).replace_schema_metadata({"table_meta_yaml": "- [ra"})
    pyarrow.parquet.write_table(damaged, path)
    with pytest.raises(ConfigError, match="what astropy has written about its columns is damaged"):
        read_table(path)


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "folder"])
def test_only_regular_files_are_read(tmp_path, name):
    """Nothing waits for a pipe or reads a device without end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="no regular file but a"):
        read_table(tmp_path / name)
