"""What commands write, and where they refuse to."""

import os
from importlib.resources import files
from pathlib import Path

import pytest

from dbpipe.cli.app import app
from dbpipe.cli.commands import demo
from dbpipe.disk.ledger import LEDGER
from dbpipe.errors import ConfigError
from dbpipe.simulate import write_survey
from dbpipe.survey import CATALOG, Survey, opening
from dbpipe.survey.opening import INSTRUMENT, SETTINGS

SMALL = {"n_visit": 1, "bands": ("r",), "size_pix": 64}


def dbpipe(*arguments):
    """Run a command in this process; returns nothing, raises what it raises."""
    app([str(argument) for argument in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """An empty survey."""
    folder = tmp_path_factory.mktemp("survey") / "s"
    Survey.init(folder).close()
    return folder


@pytest.mark.parametrize("suffix", ["parquet", "csv", "ecsv", "vot"])
def test_export_and_answers_replace_only_their_own(root, tmp_path, suffix):
    """A file of the user is refused with one line, and replaced if that is asked for; one of dbpipe is made anew."""
    path = tmp_path / f"rows.{suffix}"
    commands = ("export", root, path, "--table", "band"), ("sql", root, "SELECT * FROM band", "--out", path)
    for command in commands:
        path.write_text("thesis")
        with pytest.raises(ConfigError, match="did not make it.*--overwrite"):
            dbpipe(*command)
        assert path.read_text() == "thesis"
        dbpipe(*command, "--overwrite")
        dbpipe(*command)
        assert path.read_text(errors="replace") != "thesis"
    assert sorted(p.name for p in tmp_path.iterdir()) == [LEDGER, path.name]


def test_no_table_is_written_if_one_cannot_be(root, tmp_path):
    """All files of an export are looked at before the first one is written."""
    (tmp_path / "visit.parquet").write_text("thesis")
    with pytest.raises(ConfigError, match=r"visit\.parquet is there"):
        dbpipe("export", root, tmp_path, "--table", "band", "--table", "visit")
    assert [p.name for p in tmp_path.iterdir()] == ["visit.parquet"]


@pytest.mark.parametrize("name", ["a.png", "a", "a.pdf", "a.svg", "a.docx", "folder.png", "file/a.png"])
def test_a_picture_is_refused_before_the_work(root, tmp_path, name):
    """A plot has a name that can be drawn to, free or dbpipe's own; no traceback for any other."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    bad = name in ("a.docx", "folder.png", "file/a.png")
    command = "template", root, "--plot", tmp_path / name
    if bad:
        with pytest.raises(ConfigError):
            dbpipe(*command)
        return
    dbpipe(*command)
    path = tmp_path / (name if "." in name else f"{name}.png")
    path.write_text("thesis")
    with pytest.raises(ConfigError, match="did not make it"):
        dbpipe(*command)
    dbpipe(*command, "--overwrite")
    assert path.read_text() == "thesis"  # nothing to draw yet


def test_a_simulation_replaces_only_simulations(tmp_path):
    """The same command again gives the same files; a raw frame, a catalog or a truth of the user is in the way."""
    paths = write_survey(tmp_path, **SMALL)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.f*") if path.is_file()}
    assert write_survey(tmp_path, **SMALL) == paths
    assert {path: path.read_bytes() for path in before} == before
    (tmp_path / "notes.txt").write_text("mine")
    for name in ("raw/night1.fits", "raw/deep/night1.fits", "truth/thesis.parquet", "refcat.csv", paths[0]):
        theirs = tmp_path / name
        old = theirs.read_bytes() if theirs.exists() else None
        theirs.parent.mkdir(exist_ok=True)
        theirs.write_text("thesis")
        with pytest.raises(ConfigError, match="was not simulated"):
            write_survey(tmp_path, **SMALL)
        assert theirs.read_text() == "thesis"
        theirs.unlink() if old is None else theirs.write_bytes(old)
    write_survey(tmp_path, **SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("make", [lambda out: write_survey(out, **SMALL), demo.run, Survey.init])
@pytest.mark.parametrize("kind", ["file", "dangling"])
def test_a_folder_that_cannot_be_is_one_line(tmp_path, make, kind):
    """Where a folder is wanted and a file or a broken link is, the message names it."""
    out = tmp_path / "out"
    out.touch() if kind == "file" else out.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="out"):
        make(out)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_survey_keeps_the_settings_that_it_finds(tmp_path, capsys):
    """Settings and description of the user stay as they are, and are named; those of an interrupted init are not."""
    mine = (Path(str(files("dbpipe"))) / "instruments" / "nickel.toml").read_text() + "# mine\n"
    (tmp_path / INSTRUMENT).write_text(mine)
    (tmp_path / SETTINGS).write_text("[detect]\n")
    dbpipe("init", tmp_path)
    assert (tmp_path / INSTRUMENT).read_text() == mine and (tmp_path / SETTINGS).read_text() == "[detect]\n"
    said = capsys.readouterr().out
    assert said.count("was there and is kept as it is") == 2 and "instrument.toml" in said
    with pytest.raises(ConfigError, match="is a survey already"):
        dbpipe("init", tmp_path)
    with pytest.raises(ConfigError, match="is a survey already"):
        dbpipe("simulate", tmp_path, "--catalog", "1e4")


@pytest.mark.parametrize("name", ["files", "published", "dbpipe.log", "survey.lock", f"{CATALOG}.wal", CATALOG])
def test_a_survey_is_not_made_over_something_else(tmp_path, name):
    """What has the name of something of a survey stays, and there is no survey."""
    (tmp_path / name).write_text("thesis")
    with pytest.raises(ConfigError):
        Survey.init(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "thesis"


def test_an_interrupted_init_is_done_again(tmp_path, monkeypatch):
    """Stopped before the catalog is in its place, the next one makes it, with another instrument if wanted."""
    from dbpipe.survey import opening

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(opening, "replace_file", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        Survey.init(tmp_path)
    assert not (tmp_path / CATALOG).exists()
    with Survey.init(tmp_path, instrument="nickel") as survey:
        assert survey.kept == [] and "nickel" in (tmp_path / INSTRUMENT).read_text().lower()


def test_gc_leaves_what_is_not_a_product(root, capsys):
    """Garbage has the name of a product; notes, links and folders of a user are listed and stay."""
    folder = root / "files" / "calexp"
    folder.mkdir(parents=True)
    garbage = ["calexp-1-0-0123abcd.fits", ".tmp-77-calexp-1-0-0123abcd.fits"]
    mine = [
        "notes.txt",
        "calexp-1-0.fits",
        "warp-1-0-0123abcd.fits",
        ".tmp-77-notes.fits",
        "a/calexp-1-0-0123abcd.fits",
    ]
    for name in garbage + mine:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("thesis")
    (folder / "calexp-2-0-0123abcd.fits").symlink_to(folder / "notes.txt")
    (root / "files" / "warp").symlink_to(folder)
    links = ["files/calexp/calexp-2-0-0123abcd.fits", "files/warp"]
    for option in (["--dry-run"], []):
        dbpipe("gc", root, *option)
        said = capsys.readouterr().out
        assert all(f"files/calexp/{name}\n" in said for name in garbage + mine) and "2 files " in said
        assert all(f"not made by dbpipe: {name}\n" in said for name in links)
    assert sorted(p for p in os.listdir(folder)) == sorted([*mine[:4], "a", "calexp-2-0-0123abcd.fits"])
    assert (folder / mine[4]).read_text() == "thesis"


def test_an_init_that_is_killed_leaves_no_survey(tmp_path, monkeypatch):
    """A survey is there with all its tables, or not at all; what was being made is gone after the next init."""

    def die(*_):
        raise KeyboardInterrupt

    root = tmp_path / "s"
    with monkeypatch.context() as patch:
        patch.setattr(opening, "replace_file", die)
        patch.setattr("pathlib.Path.unlink", lambda *_, **__: None)  # as if the process were gone
        with pytest.raises(KeyboardInterrupt):
            Survey.init(root)
    assert not (root / CATALOG).exists() and len(list(root.glob(f".tmp-*{CATALOG}"))) == 1
    with Survey.init(root) as survey:
        assert not opening.is_outdated(survey.connection)
    assert list(root.glob(".tmp-*")) == []
