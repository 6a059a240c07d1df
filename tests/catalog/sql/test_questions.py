"""Text from outside: one SELECT is answered, and nothing else happens, whatever the text is."""

import hashlib
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dbpipe
from dbpipe.catalog.sql.questions import check_condition, check_new_name, check_select, find_relation
from dbpipe.catalog.store.connection import confine, memory
from dbpipe.catalog.work.offer import find_where
from dbpipe.errors import ConfigError
from dbpipe.publish.write import export
from dbpipe.survey import Survey

CANARY = "the-secret-of-somebody-else"
READING = (
    *("read_text", "read_csv", "read_blob", "read_parquet", "read_json", "parquet_scan", "glob", "sniff_csv", "query"),
    *("parquet_metadata", "read_duckdb", "enable_logging", "checkpoint", "query_table", "arrow_scan", "getenv"),
)
WORDS = (
    *("DELETE FROM band", "UPDATE band SET band = 'x'", "INSERT INTO band VALUES ('x')", "DROP TABLE visit"),
    *("CHECKPOINT", "PRAGMA database_list", "SET threads = 1", "SET enable_external_access = true", "LOAD httpfs"),
    *("RESET ALL", "USE memory", "DETACH survey", "BEGIN", "COMMIT", "ROLLBACK", "CALL force_checkpoint()", "VACUUM"),
    *("CREATE OR REPLACE VIEW visit_quality AS SELECT 1", "ALTER TABLE band ADD COLUMN x INTEGER", "TRUNCATE band"),
    *("EXPLAIN ANALYZE DELETE FROM band", "PREPARE p AS DELETE FROM band", "EXECUTE p", "INSTALL httpfs"),
    *("SELECT 1", "FROM band", "1 = 1", "band", "visit", "true", "x AS (DELETE FROM band RETURNING *)"),
)
GLUE = (" ", "; ", " UNION ALL ", ") OR (", " -- ", " /* ", " */ ", "\n", ", ", " WITH ", "(", ")", "\0")
REPEATED = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a survey and, beside it, files of somebody else."""
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(scope="module")
def reading(place):
    """The survey, open for reading."""
    with dbpipe.open(place / "s") as survey:
        yield survey


@pytest.fixture(scope="module")
def writing(tmp_path_factory):
    """A survey of the same kind, open for writing."""
    with Survey.open(make_place(tmp_path_factory.mktemp("other")) / "s", read_only=False) as survey:
        yield survey


def make_place(place):
    """Make a survey with a visit, and files whose text nobody should see."""
    with Survey.init(place / "s") as survey:
        survey.connection.execute("INSERT INTO band VALUES ('g'), ('r')")
        survey.connection.execute("INSERT INTO visit VALUES (1, 'r', 'x', 1, 30, NULL, 20260101)")
    for name in ("victim.csv", "victim.txt", "victim.json"):
        (place / name).write_text(f"a\n{CANARY}\n")
    with memory() as other:
        other.execute(f"COPY (SELECT '{CANARY}' AS a) TO '{place / 'victim.parquet'}'")
        other.execute(f"ATTACH '{place / 'victim.duckdb'}' AS v; CREATE TABLE v.t AS SELECT '{CANARY}' AS a")
    return place


def state(place):
    """Every file of a folder and what is in it."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def texts(place):
    """Texts made of what is dangerous, of what is usual, and of names."""
    victim = st.sampled_from([f"'{path}'" for path in sorted(place.glob("victim.*"))])
    survey = st.sampled_from([f"'{place / 's' / name}'" for name in ("survey.duckdb", "survey.toml", "new.csv")])
    reading, word = st.sampled_from(READING), st.sampled_from(WORDS)
    of_file = st.one_of(
        st.builds("COPY band TO {}".format, st.one_of(victim, survey)),
        st.builds("COPY band FROM {}".format, victim),
        st.builds("ATTACH {} AS x".format, st.one_of(victim, survey)),
        st.builds("EXPORT DATABASE {}".format, st.one_of(victim, survey)),
        st.builds("SELECT * FROM {}".format, st.one_of(victim, survey)),
        st.builds("SELECT * FROM {}({})".format, reading, st.one_of(victim, survey)),
        st.builds("SELECT {}({})".format, reading, victim),
    )
    glue = st.sampled_from(
        [" ", "; ", " UNION ALL ", ") OR (", " -- ", " /* ", " */ ", "\n", ", ", " WITH ", "(", ")", "\0"]
    )
    piece = st.one_of(word, of_file, glue, st.text(max_size=3))
    wrap = st.sampled_from(["{}", "SELECT * FROM ({}) AS q", "WITH q AS ({}) FROM q", "SELECT ({})", "visit IN ({})"])
    return st.builds(lambda form, pieces: form.replace("{}", "".join(pieces)), wrap, st.lists(piece, max_size=5))


def answer(ask, *arguments, **keywords):
    """Return what is said, be it an answer or a refusal; every other error is a fault."""
    try:
        return str(ask(*arguments, **keywords))
    except ConfigError as error:
        assert "\n" not in str(error).strip()
        return str(error)


def answer_later(survey, text):
    """Fetch from a relation: what DuckDB says then is its own error."""
    try:
        return answer(lambda: survey.sql(text).fetchall())
    except duckdb.Error as error:
        return str(error)


@REPEATED
@given(data=st.data())
def test_no_text_changes_a_byte_or_reads_a_file(place, reading, data, tmp_path_factory):
    """Asked as query, table, condition or column, of a reader, any text is answered or refused in one line."""
    before, text = state(place), data.draw(texts(place))
    out = tmp_path_factory.getbasetemp() / "out.parquet"
    said = [
        answer_later(reading, text),
        answer(reading.fetch, text),
        answer(reading.fetch_head, text, limit=3),
        answer(reading.write, out, text),
        answer(reading.count, text),
        answer(reading.lend, text, place / "victim.csv"),
        answer(reading.export, out, tables=["visit"], where=text),
        answer(reading.export, out, tables=[text]),
        answer(export, reading.connection, out, table="visit", columns=[text]),
        answer(export, reading.connection, out, table="visit", order_by=text),
    ]
    assert not any(CANARY in each for each in said)
    assert state(place) == before


@REPEATED
@given(data=st.data())
def test_no_text_harms_a_writer(writing, data):
    """On the connection that can write, a text changes no row, reads no file, and the next statement works."""
    place = writing.root.parent
    text, others = data.draw(texts(place)), {name: of for name, of in state(place).items() if "victim" in name}
    rows = writing.connection.sql("SELECT * FROM visit").to_arrow_table()
    said = [
        answer(writing.fetch, text),
        answer(find_where, writing.connection, rows, text),
        answer_later(writing, text),
    ]
    assert not any(CANARY in each for each in said)
    assert writing.connection.execute("SELECT list(band ORDER BY band) FROM band").fetchall() == [(["g", "r"],)]
    assert writing.connection.execute("SELECT visit, band FROM visit").fetchall() == [(1, "r")]
    writing.connection.execute("BEGIN; UPDATE visit SET exposure_s = 30; COMMIT")
    assert {name: of for name, of in state(place).items() if "victim" in name} == others


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("DELETE FROM band", "not one SELECT but DELETE"),
        ("SELECT 1; DELETE FROM band", "SELECT and DELETE"),
        ("", "nothing"),
        ("COPY band TO 'x.csv'", "COPY"),
        ("FROM read_text('/etc/passwd')", "--with NAME=FILE"),
        ("FROM 'x.parquet'", "--with NAME=FILE"),
        ("FROM enable_logging()", "no table function enable_logging"),
        ("FROM cone_serch(1, 2, 3)", "did you mean cone_search"),
        ("SELECT write_log('x')", "write_log changes something"),
        ("PIVOT visit ON band USING count(*)", "a PIVOT needs its columns"),
        ("SELECT \0", "zero byte"),
        ("SELECT '\ud800'", "not text"),
    ],
)
def test_a_refusal_says_what_the_text_is(reading, text, why):
    """Each kind of text that is no question is named, with what to do instead where there is something."""
    with pytest.raises(ConfigError, match=why.replace("(", r"\(")):
        reading.fetch(text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT count(*) FROM visit; -- with a comment",
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) FROM r",
        "PIVOT visit ON band IN ('g', 'r') USING count(*)",
        "DESCRIBE visit",
        "SUMMARIZE band",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "explain analyze SELECT 1",
        "VALUES (1), (2)",
        "SELECT * EXCLUDE (band) FROM visit WHERE visit IN (FROM range(5)) QUALIFY row_number() OVER () = 1",
        "SELECT * FROM cone_search(53.0, -27.0, 60.0)",
        "SELECT list_transform([1, 2], lambda x: x + 1), unnest([1, 2])",
    ],
)
def test_what_analysts_ask_is_answered(reading, writing, text):
    """Every form of question that DuckDB has still works, also on the connection that can write."""
    for survey in (reading, writing):
        assert survey.fetch(text).num_columns > 0


@pytest.mark.parametrize(
    "text",
    ["1=1; DELETE FROM band", "1=1;", "1=1) OR (1=1", "1=1 /*", "visit, band", "x FROM visit", "", "SELECT 1", "a AS b"]
    + ["DISTINCT visit", "1 UNION SELECT 2", "visit ORDER BY 1", "visit IN (FROM read_csv('x'))"]
    + ["visit = $x", "visit = ?", "$x"],
)
def test_a_condition_is_one(text):
    """More or less than one condition is refused, however the brackets and comments are set."""
    with memory() as catalog, pytest.raises(ConfigError, match="not one condition"):
        check_condition(catalog, text)


@pytest.mark.parametrize("text", ["band = 'r'", "(band = 'r') -- why", "visit IN (SELECT 1)", "a > 1 AND NOT b"])
def test_a_condition_may_be_any_one(text):
    """Brackets, comments and questions within are part of a condition."""
    with memory() as catalog:
        check_condition(catalog, text)


@pytest.mark.parametrize("words", [{"order_by": "$x"}, {"order_by": "visit + ?"}, {"where": "visit = $x"}])
def test_a_value_that_nobody_gives_is_asked_for(reading, tmp_path, words):
    """A parameter in a part of a statement, which does not parse by itself, is refused as in a whole one."""
    with pytest.raises(ConfigError, match=r"value for \$(x|1)|[Pp]arameter"):  # in the words of DuckDB's version
        export(reading.connection, tmp_path / "out.csv", table="visit", **words)


def test_a_name_is_one_that_is_there(place):
    """Names are found in any case of letters, quoted, and the nearest is named where there is none."""
    with dbpipe.open(place / "s") as survey:
        assert find_relation(survey.connection, "DIASOURCE") == '"main"."DiaSource"'
        assert survey.count("Visit") == 1
        with pytest.raises(ConfigError, match="did you mean visit"):
            survey.count("visits")
        for name in ("visit", "VISIT", "DiaSource"):
            with pytest.raises(ConfigError, match="itself: give the file another name"):
                survey.lend(name, place / "victim.csv")
        for name in ("select", "a b", "1a", ""):
            with pytest.raises(ConfigError, match="cannot be the name"):
                check_new_name(survey.connection, name)
        survey.lend("mine", place / "victim.csv")
        assert survey.count("mine") == 1 and CANARY in str(survey.fetch("FROM mine"))


def test_python_variables_are_not_tables():
    """SQL sees no table of the Python code around it."""
    mine = {"a": [1]}
    with memory() as catalog, pytest.raises(duckdb.Error, match="mine"):
        catalog.execute("FROM mine")
    assert mine


def test_a_confined_connection_stays_so(tmp_path):
    """Inside the folder it reads and writes, outside nothing, by no path, and it cannot be opened up again."""
    inside, outside = tmp_path / "in", tmp_path / "in2"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.csv").write_text("a\n1\n")
    (inside / "link").symlink_to(outside)
    linked = tmp_path / "linked"
    linked.symlink_to(inside)
    with memory() as catalog:
        catalog.execute(f"ATTACH '{inside / 'c.duckdb'}' AS c; USE c; CREATE TABLE t AS SELECT 1 AS a")
        confine(catalog, folders=[linked])
        for folder in (inside, linked):
            assert catalog.execute(f"FROM '{folder / 'a.csv'}'").fetchall() == [(1,)]
        catalog.execute(f"INSERT INTO t VALUES (2); CHECKPOINT; COPY t TO '{inside / 'b.csv'}'")
        for path in (
            outside / "a.csv",
            inside / ".." / "in2" / "a.csv",
            inside / "link" / "a.csv",
            inside / ".." / "i*2",
        ):
            for text in ("FROM '{}'", "COPY t TO '{}'", "ATTACH '{}' AS x"):
                with pytest.raises(duckdb.Error):
                    catalog.execute(text.format(path))
        for text in ("SET enable_external_access = true", "SET allowed_directories = ['/']", "RESET allowed_paths"):
            with pytest.raises(duckdb.Error):
                catalog.execute(text)
    assert sorted(path.name for path in outside.iterdir()) == ["a.csv"]
    assert Path(outside / "a.csv").read_text() == "a\n1\n"


def test_a_locked_connection_keeps_its_settings():
    """A reader's settings are not changed by a statement, even one that would pass for a question."""
    with memory() as catalog:
        confine(catalog, locked=True)
        for text in ("SET threads = 1", "SET lock_configuration = false", "SET file_search_path = '/'"):
            with pytest.raises(duckdb.Error, match="locked"):
                catalog.execute(text)
        with pytest.raises(ConfigError):
            check_select(catalog, "SET threads = 1")
