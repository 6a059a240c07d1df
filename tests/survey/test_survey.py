"""A survey from the outside: from Python and from the command line."""

import json
import os
import subprocess
import sys

import make_fits
import pytest

import dbpipe
from dbpipe import cli
from dbpipe.declared import flatten
from dbpipe.errors import ConfigError
from dbpipe.runner import order
from dbpipe.survey import Survey
from dbpipe.survey.discover import NOT_FITS
from dbpipe.survey.settings import document

REFCAT = "star,RA_ICRS,DE_ICRS,rmag\n1,53.0,-27.4,18.5\n2,53.001,-27.401,19.5\n"


@pytest.fixture
def raw(tmp_path):
    """A folder with two exposures, a text file and a README."""
    folder = tmp_path / "raw"
    folder.mkdir()
    make_fits.write_eimage(folder, name="lsst_e_1234_f2_R22_S11_E000.fits.gz")
    make_fits.write_eimage(folder, name="lsst_e_1235_f2_R22_S11_E000.fits", OBSID=1235)
    (folder / "broken.fits").write_text("this is text")
    (folder / "README").write_text("about")
    return folder


def run_command(monkeypatch, capsys, *arguments):
    """Run the command line in this process and return (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def test_ingest_judges_every_file_once(tmp_path, raw):
    """Good files are used, others refused with the reason; a second ingest has nothing to do; files stay in place."""
    with Survey.init(tmp_path / "s") as survey:
        summary, left_alone = survey.ingest([raw], n_worker=1)
        assert (summary.n_done, summary.n_failed, left_alone.counts) == (2, 1, {NOT_FITS: 1})
        assert survey.ingest([raw], n_worker=1)[0].n_unit == 0
        assert survey.sql("SELECT visit, path FROM raw ORDER BY visit").fetchall() == [
            (1234, str(raw / "lsst_e_1234_f2_R22_S11_E000.fits.gz")),
            (1235, str(raw / "lsst_e_1235_f2_R22_S11_E000.fits")),
        ]
        assert [finding for finding in survey.check() if finding.n_row] == []
        assert survey.sql("SELECT count(*) FROM run WHERE finished_at IS NOT NULL").fetchall() == [(2,)]


def test_a_second_file_of_the_same_exposure_is_left_out(tmp_path, raw):
    """The first file of a visit and detector stays; a copy is skipped, and another image refused, on record."""
    with Survey.init(tmp_path / "s") as survey:
        survey.ingest([raw], n_worker=1)
        make_fits.write_eimage(raw, name="lsst_e_1234_f2_R22_S11_E001.fits")
        assert survey.ingest([raw], n_worker=1)[0].n_skipped == 1
        make_fits.write_eimage(raw, name="lsst_e_1234_f2_R22_S11_E002.fits", image=make_fits.sky_image(seed=2))
        assert survey.ingest([raw], n_worker=1)[0].n_failed == 1
        assert survey.sql("SELECT count(*) FROM raw WHERE visit = 1234").fetchall() == [(1,)]


def test_a_survey_is_made_once(tmp_path):
    """init refuses to overwrite a survey, and open refuses what is none."""
    Survey.init(tmp_path / "s").close()
    with pytest.raises(ConfigError, match="is a survey already"):
        Survey.init(tmp_path / "s")
    with pytest.raises(ConfigError, match="dbpipe init"):
        dbpipe.open(tmp_path)
    with dbpipe.open(tmp_path / "s") as survey:
        assert survey.sql("SELECT 1 + $n AS two", n=1).fetchall() == [(2,)]
        assert survey.settings.as_dict() == {name: flatten(section()) for name, section in order.sections().items()}


def test_an_unknown_setting_is_an_error(tmp_path):
    """A misspelt setting never passes silently."""
    Survey.init(tmp_path / "s").close()
    with open(tmp_path / "s" / "survey.toml", "a") as file:
        file.write("[detekt]\n")
    with dbpipe.open(tmp_path / "s") as survey, pytest.raises(ConfigError, match="did you mean detect"):
        _ = survey.settings


def test_every_setting_is_documented():
    """Each setting of each stage has a text."""
    silent = [f"{item.section}.{item.name}" for item in document(order.sections()) if not item.text]
    assert silent == []


def test_a_reference_catalog_takes_the_place_of_the_old_one(tmp_path):
    """Reading a catalog twice leaves one copy; a mapping names its columns."""
    (tmp_path / "stars.csv").write_text(REFCAT)
    mapping = {"id": "star", "ra": "RA_ICRS", "dec": "DE_ICRS", "magnitudes": {"r": "rmag"}}
    with Survey.init(tmp_path / "s") as survey:
        assert survey.set_reference_catalog(tmp_path / "stars.csv", mapping=mapping) == (2, 2)
        assert survey.set_reference_catalog(tmp_path / "stars.csv", mapping=mapping) == (2, 2)
        assert survey.sql("SELECT count(*) FROM reference_star").fetchall() == [(2,)]


def test_garbage_is_found_and_deleted(tmp_path):
    """A file that no row names is deleted by gc, and by nothing else."""
    with Survey.init(tmp_path / "s") as survey:
        path = survey.root / "files" / "calexp" / ".tmp-1-calexp.fits"
        path.parent.mkdir(parents=True)
        path.touch()
        assert survey.delete_garbage() == ["files/calexp/.tmp-1-calexp.fits"]
        assert not path.exists() and survey.find_garbage() == []


def test_the_command_line_from_init_to_check(tmp_path, raw, monkeypatch, capsys):
    """A survey can be made, filled, asked and checked with commands; verdicts and rows are printed."""
    s = tmp_path / "s"
    (tmp_path / "stars.csv").write_text(REFCAT)
    command = (monkeypatch, capsys)
    assert run_command(*command, "init", s)[0] == 0
    code, out, _ = run_command(*command, "ingest", s, raw, "--workers", 1)
    assert code == 0 and "used" in out and "refused" in out and "2 raw images" in out
    mapping = ("--map", "ra=RA_ICRS", "--map", "dec=DE_ICRS", "--map", "id=star", "--map", "magnitudes.r=rmag")
    assert (
        "2 reference stars with 2 magnitudes (r 2)"
        in run_command(*command, "refcat", s, tmp_path / "stars.csv", *mapping)[1]
    )
    code, out, _ = run_command(*command, "status", s)
    assert code == 0 and "calibrate" in out and "broken.fits" in out
    assert run_command(*command, "status", s, "--timing")[0] == 0
    assert (
        run_command(*command, "sql", s, "SELECT visit FROM visit ORDER BY visit", "--csv")[1] == "visit\n1234\n1235\n"
    )
    out = run_command(*command, "sql", s, "SELECT visit, NULL AS x FROM visit ORDER BY visit", "--json")[1]
    assert [json.loads(line) for line in out.splitlines()][0] == {"visit": 1234, "x": None}
    assert "Healthy" in run_command(*command, "check", s)[1]
    (raw / "lsst_e_1235_f2_R22_S11_E000.fits").unlink()
    code, out, _ = run_command(*command, "check", s)
    assert code == 1 and "files.raw" in out and "is not there" in out


def test_checks_of_ones_own(tmp_path, monkeypatch, capsys):
    """A new check is written as an example; a warning leaves the exit code, a rule or a mistake makes it 1."""
    s = tmp_path / "s"
    Survey.init(s).close()
    command = (monkeypatch, capsys)
    code, out, _ = run_command(*command, "check", s, "--new", "mine")
    path = s / "checks" / "mine.sql"
    assert code == 0 and "mine.sql" in out and path.is_file()
    assert run_command(*command, "check", s)[0] == 0
    path.write_text("-- name: mine\n-- warning\n-- Bands are missing.\nSELECT 'x' AS band\n")
    code, out, _ = run_command(*command, "check", s)
    assert code == 0 and "Healthy" in out and "Bands are missing." in out and "band = x" in out
    assert run_command(*command, "check", s, "--strict")[0] == 1
    path.write_text("-- Bands are missing.\nSELECT 'x' AS band\n")
    code, out, _ = run_command(*command, "check", s)
    assert code == 1 and "broken rule" in out and "Healthy" not in out
    path.write_text("SELECT nonsense")
    code, out, _ = run_command(*command, "check", s)
    assert code == 1 and "cannot be asked" in out and "nonsense" in out
    path.rename(s / "elsewhere.sql")
    with open(s / "survey.toml", "a") as file:
        file.write('[check]\nfolder = "."\n')
    text = (s / "survey.toml").read_text().replace("[check]\n#", "#", 1)
    (s / "survey.toml").write_text(text)
    assert "elsewhere.sql" in run_command(*command, "check", s)[1]


def test_mistakes_are_one_line_without_a_traceback(tmp_path, monkeypatch, capsys):
    """Wrong SQL, no survey, a wrong stage: one message on standard error and exit code 1."""
    Survey.init(tmp_path / "s").close()
    command = (monkeypatch, capsys)
    for arguments, message in (
        (("status", tmp_path), "is not a survey"),
        (("sql", tmp_path / "s", "SELECT nonsense"), "nonsense"),
        (("run", tmp_path / "s", "--to", "nowhere"), "the stages are ingest, calibrate, skymap"),
        (("run", tmp_path / "s", "--where", "color = 'r'"), "no stage has the columns"),
        (("ingest", tmp_path / "s", tmp_path / "nothing"), "nothing is not there"),
        (("refcat", tmp_path / "s"), "either a catalog file or"),
        (("schema", "nothing"), "no table nothing"),
    ):
        code, _, err = run_command(*command, *arguments)
        assert code == 1 and err.startswith("dbpipe: ") and message in err and "Traceback" not in err


def test_schema_and_config_explain_themselves(monkeypatch, capsys):
    """Every column of a table and every setting is printed with its meaning, without any survey."""
    _, out, _ = run_command(monkeypatch, capsys, "schema", "raw")
    assert "gain_e_per_adu" in out and "[electron/adu] gain" in out
    _, out, _ = run_command(monkeypatch, capsys, "config")
    assert "calibrate" in out and "detect" in out


@pytest.mark.parametrize(
    "name", "init ingest refcat run template status check gc sql explain schema config export simulate demo".split()
)
def test_every_command_teaches(name, monkeypatch, capsys):
    """The help of each command has a paragraph and an example that can be typed."""
    code, out, _ = run_command(monkeypatch, capsys, name, "--help")
    assert code == 0 and f"dbpipe {name}" in out and len(out) > 400


def test_a_busy_survey_exits_75(tmp_path):
    """While one process works on a survey, another is told so in one line, with the exit code for trying later."""
    with Survey.init(tmp_path / "s"):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-m", "dbpipe", "run", str(tmp_path / "s")],
            env=environment,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 75
    assert f"process {os.getpid()}" in done.stderr and done.stderr.count("\n") == 1
