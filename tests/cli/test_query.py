"""Asking a survey: tables on the screen, files, names of the cookbook, and what is said of mistakes."""

import json
import sys

import hand_made
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

import dbpipe
from dbpipe import cli
from dbpipe.cli.terminal.console import print_answer
from dbpipe.errors import ConfigError
from dbpipe.survey import Survey


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A survey on disk with the rows made by hand."""
    root = tmp_path_factory.mktemp("survey") / "s"
    with Survey.init(root) as survey:
        hand_made.fill(survey.connection)
    return root


@pytest.fixture
def run(monkeypatch, capsys, root):
    """Return a function that runs a command on the survey and gives (exit code, stdout, stderr)."""

    def run_command(name, *arguments):
        monkeypatch.setattr(sys, "argv", ["dbpipe", name, str(root), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run_command


def test_numbers_are_in_line(capsys):
    """Decimal points stand under each other, whole numbers end together, text begins together, NULL is a dot."""
    print_answer(["x", "n", "name", "mjd"], [(1.5, 7, "a", 60000.123456789), (-100.25, 12345, "bc", None)])
    lines = capsys.readouterr().out.splitlines()
    first, second = (line for line in lines if "1.5" in line or "100.25" in line)
    assert first.index(".") == second.index(".")
    assert first.index("7 ") == second.index("5 ", second.index("1234")) and first.index("a") == second.index("bc")
    assert "60000.1234568" in first and "·" in second


def test_what_is_left_out_is_said(run):
    """A table that is cut says how many rows are missing; one that is whole says nothing."""
    code, out, _ = run("sql", "SELECT * FROM range(7)", "--limit", 5)
    assert code == 0 and "2 more of 7 rows are left out" in out
    assert "left out" not in run("sql", "SELECT * FROM range(7)", "--limit", 7)[1]


def test_a_wide_answer_is_printed_row_by_row(capsys, monkeypatch):
    """On a terminal too narrow for it, every value of every column is still there, whole."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    names = [f"a_rather_long_name_{k}" for k in range(6)]
    print_answer(names, [tuple(range(6)), ("x" * 30,) * 6])
    out = capsys.readouterr().out
    assert all(name in out for name in names) and out.count("x" * 30) == 6 and "row 2" in out


def test_answers_are_files_of_any_common_kind(root, run, tmp_path):
    """The same rows come out of Parquet, CSV, JSON and ECSV, with 64-bit ids whole and units where there is a place."""
    query = "SELECT dia_source_id + (1::BIGINT << 60) AS id, ra, psf_flux_njy, x_err, band FROM dia_source ORDER BY id"
    for ending in ("parquet", "csv", "json", "jsonl", "ecsv", "vot"):
        code, out, _ = run("sql", query, "--out", tmp_path / f"a.{ending}")
        assert code == 0 and "21 rows" in out
    expected = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert len(expected) == 21 and expected[0]["id"] > 1 << 60
    assert json.loads((tmp_path / "a.json").read_text()) == expected
    assert [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()] == expected
    assert list(pd.read_csv(tmp_path / "a.csv")["id"]) == [row["id"] for row in expected]
    table = Table.read(tmp_path / "a.ecsv")
    assert table["psf_flux_njy"].unit == "nJy" and list(table["id"]) == [row["id"] for row in expected]
    table = Table.read(tmp_path / "a.vot")
    assert str(table["psf_flux_njy"].unit) == "nJy" and list(table["id"]) == [row["id"] for row in expected]
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.field("ra").metadata[b"unit"] == b"deg" and not schema.field("id").metadata
    assert run("sql", query, "--out", tmp_path / "a.xyz")[0] == 1 and not (tmp_path / "a.xyz").exists()


def test_units_come_through_macros(root, tmp_path):
    """A column of a table macro has the unit of the table behind it."""
    with dbpipe.open(root) as survey:
        survey.write(tmp_path / "a.parquet", "SELECT * FROM light_curve_of($id)", id=hand_made.VARIABLE)
    assert pq.read_schema(tmp_path / "a.parquet").field("total_flux_njy").metadata[b"unit"] == b"nJy"


def test_json_has_no_nan(run):
    """What JSON has no word for is null; an empty answer is an empty list."""
    out = run("sql", "SELECT 'nan'::DOUBLE AS a, [1.5, 'inf'::DOUBLE] AS b", "--format", "json")[1]
    assert json.loads(out) == [{"a": None, "b": [1.5, None]}]
    assert json.loads(run("sql", "SELECT 1 AS a WHERE false", "--format", "json")[1]) == []


def test_the_cookbook_is_listed_and_run(run, tmp_path):
    """Names and questions are listed, the text of one is shown, and one is run with parameters and a file beside it."""
    code, out, _ = run("sql", "--cookbook")
    assert code == 0 and "image_pairs" in out and "lensed quasar" in out and "radius_arcsec=2" in out
    assert "separation_arcsec" in run("sql", "--cookbook", "--named", "image_pairs")[1]
    out = run("sql", "--named", "image_pairs", "--set", "max_arcsec=2", "--csv")[1]
    assert len(out.splitlines()) == 2
    ra, dec = hand_made.place_of(hand_made.VARIABLE)
    (tmp_path / "mine.csv").write_text(f"name,ra,dec\nquasar,{ra},{dec}\n")
    out = run("sql", "--named", "crossmatch", "--with", f"targets={tmp_path / 'mine.csv'}", "--json")[1]
    assert json.loads(out)["dia_object_id"] == hand_made.VARIABLE and json.loads(out)["name"] == "quasar"


def test_a_value_is_never_taken_for_sql(run):
    """Text that looks like SQL is compared as text; a number is a number."""
    text = "r' OR 'a' = 'a"
    assert run("sql", "SELECT visit FROM visit WHERE band = $b", "--set", f"b={text}", "--csv")[1] == "visit\n"
    assert run("sql", "SELECT visit FROM visit WHERE visit = $v", "--set", "v=101", "--csv")[1] == "visit\n101\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("SELECT psf_flux FROM dia_source",), "did you mean psf_flux_njy?"),
        (("SELECT * FROM diasorce",), "did you mean DiaSource?"),
        (("SELECT night FROM dia_source",), "has it"),
        (("SELECT ab_magn(1)",), "did you mean ab_mag?"),
        (("SELECT * FORM visit",), 'syntax error at or near "visit" (line 1: SELECT * FORM visit)'),
        (("SELECT $a",), "needs a value for $a: --set NAME=VALUE"),
        (("DELETE FROM dia_source",), "only questions are answered"),
        (("SELECT CAST('x' || i AS INT) FROM range(9) AS t (i)",), "Could not convert string 'x0'"),
        (("--named", "arround"), "did you mean around?"),
        (("--named", "around", "--set", "ra=1"), "around needs $dec"),
        (("--named", "around", "--set", "ra"), "write NAME=VALUE"),
        ((), "give either a query or --named"),
        (("SELECT 1", "--with", "a b=/dev/null"), "cannot be the name of a table"),
    ],
)
def test_mistakes_are_one_line_that_helps(run, arguments, message):
    """What DuckDB refuses is said in one line, with the name that was probably meant."""
    code, _, err = run("sql", *arguments)
    assert code == 1 and message in err and err.count("\n") == 1 and err.startswith("dbpipe: ")


def test_nothing_is_changed_by_a_question(root):
    """Every answer can be had from a survey that nobody may write to, macros included."""
    with dbpipe.open(root) as survey:
        assert survey.named("around", ra=hand_made.RA, dec=hand_made.DEC).num_rows > 0
        assert survey.sql("SELECT count(*) FROM resolve_object(1)").fetchall() == [(1,)]
        with pytest.raises(ConfigError, match="only questions are answered"):
            survey.sql("CREATE TABLE a (b INTEGER)")


def test_an_explanation_is_readable(run, root):
    """Every section has its title, the inputs are a table, and the way to the light curve is shown."""
    code, out, _ = run("explain", 10501)
    titles = ("Detection", "Object", "Difference image", "Template", "Calibrated exposure", "Raw file", "Code and set")
    assert code == 0 and all(title in out for title in titles)
    assert "keep_score = 4.0" in out and "61043.2000000" in out and max(map(len, out.splitlines())) < 140
    assert "/raw/105.fits" in out and "0.75" in out and "--set dia_object_id=1" in out
    assert "Object: none" not in out and "light_curve" not in run("explain", 9001)[1]
    code, _, err = run("explain", 12)
    assert code == 1 and err.count("\n") == 1 and "no DIASource 12" in err
    with dbpipe.open(root) as survey, pytest.raises(ConfigError, match="no DIASource 12"):
        survey.explain(12)


def test_macros_are_in_the_schema(monkeypatch, capsys):
    """`dbpipe schema` knows the macros with their parameters, all or one."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", "schema", "cone_search"])
    with pytest.raises(SystemExit):
        cli.main()
    out = capsys.readouterr().out
    assert (
        "cone_search(ra_deg, dec_deg, radius_arcsec)" in out and "nearest first" in out and "dia_source_id" not in out
    )


QUERY = "SELECT unnest([1152921504606846977, NULL, 9223372036854775807]) AS id"
EXACT = [2**60 + 1, None, 2**63 - 1]


@pytest.mark.parametrize(
    "asked",
    [
        lambda survey: survey.sql(QUERY).df(),
        lambda survey: survey.sql(QUERY).limit(3).to_df(),
        lambda survey: survey.sql(QUERY).filter("true").select("id").fetchdf(),
        lambda survey: survey.sql(QUERY).to_arrow_table().to_pandas(),
        lambda survey: survey.sql(QUERY).to_arrow_reader().read_all().to_pandas(),
        lambda survey: pa.table(survey.sql(QUERY).limit(3).arrow()).to_pandas(),
        lambda survey: pa.table(survey.sql(QUERY)).to_pandas(),
        lambda survey: survey.fetch(QUERY).to_pandas(),
        lambda survey: survey.fetch_head(QUERY, limit=5)[0].to_pandas(),
        lambda survey: survey.sql(f"SELECT id, id AS ID FROM ({QUERY})").df()[["ID_1"]].rename(columns={"ID_1": "id"}),
        lambda survey: (
            survey.fetch(f"SELECT 0.5 AS id, id FROM ({QUERY})").to_pandas()[["id_1"]].set_axis(["id"], axis=1)
        ),
    ],
)
def test_ids_with_gaps_are_exact_in_pandas(root, asked):
    """However an answer gets to pandas, ids beyond 2^53 keep their digits and gaps are gaps."""
    with dbpipe.open(root) as survey:
        ids = asked(survey)["id"]
    assert ids.dtype == "Int64"
    assert [None if value is pd.NA else int(value) for value in ids] == EXACT


def test_an_answer_is_a_relation_but_for_its_data_frame(root):
    """Everything that DuckDB's relations can, an answer can; numbers without gaps are plain ones in pandas."""
    with dbpipe.open(root) as survey:
        answer = survey.sql("SELECT range AS n, 1.5 AS x, sum(range) OVER () AS s, 'a' AS t FROM range(3)")
        assert answer.columns == ["n", "x", "s", "t"] and len(answer) == 3
        assert answer.fetchall()[2][:2] == (2, pytest.approx(1.5))
        assert [str(kind) for kind in answer.df().dtypes][:3] == ["int64", "float64", "int64"]
        assert answer.join(answer.set_alias("other"), "n").order("n").df()["n"].tolist() == [0, 1, 2]


def test_a_fits_table_is_lent(run, tmp_path):
    """`--with` shows a query the rows of a FITS table, ids to the last digit and what is missing as NULL."""
    Table({"id": [2**60 + 1, 5], "ra": [53.01, float("nan")]}).write(tmp_path / "mine.fits")
    query = "SELECT id, ra FROM mine ORDER BY id DESC"
    code, out, _ = run("sql", query, "--with", f"mine={tmp_path}/mine.fits", "--json")
    assert code == 0
    assert [json.loads(line) for line in out.splitlines()] == [{"id": 2**60 + 1, "ra": 53.01}, {"id": 5, "ra": None}]


def test_an_answer_has_the_units_of_bare_columns(root, tmp_path):
    """What is computed has no unit, whatever it is called; what is renamed keeps its own."""
    with dbpipe.open(root) as survey:
        survey.write(
            tmp_path / "a.parquet", "SELECT ra AS x, psf_flux_njy / 1000 AS psf_flux_njy FROM dia_source_clean"
        )
    known = {field.name: (field.metadata or {}).get(b"unit") for field in pq.read_schema(tmp_path / "a.parquet")}
    assert known == {"x": b"deg", "psf_flux_njy": None}
