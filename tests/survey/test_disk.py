"""What disks do to a survey: damaged, full, read-only, of an older schema. One clear line, and nothing is lost."""

import contextlib
import os
import shutil
import subprocess
import sys

import make_fits
import pytest

import dbpipe
from dbpipe import cli
from dbpipe.catalog import migrations
from dbpipe.catalog.store import connection as catalog_connection
from dbpipe.errors import DiskError
from dbpipe.survey import CATALOG, SNAPSHOT, Survey

BLOCK_BYTE = 262_144
"""DuckDB's; each has a checksum."""


@pytest.fixture
def root(tmp_path):
    """A survey with a thousand bands, published and closed."""
    with Survey.init(tmp_path / "s") as survey:
        survey.connection.execute("INSERT INTO band SELECT 'b' || i FROM range(1000) AS r(i)")
        survey.publish()
    return tmp_path / "s"


def command(monkeypatch, capsys, *arguments):
    """Run the command line in this process and return (exit code, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    return ended.value.code or 0, captured.out, captured.err


def damage(path):
    """Overwrite part of every block but the first."""
    with open(path, "r+b") as file:
        for offset in range(3 * 4096 + BLOCK_BYTE // 2, path.stat().st_size, BLOCK_BYTE):
            file.seek(offset)
            file.write(b"damaged" * 100)


def cut(path):
    """Leave half of a file."""
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("spoil", [damage, cut])
def test_a_damaged_catalog_is_named_and_the_last_snapshot_answers(root, spoil, monkeypatch, capsys):
    """Writing is refused in one line that says what is left; readers get what was published, and are told so."""
    spoil(root / CATALOG)
    code, _, err = command(monkeypatch, capsys, "run", root)
    assert code == 1 and err.count("\n") == 1
    assert "survey.duckdb cannot be opened" in err and "what was published last can still be read" in err
    code, out, err = command(monkeypatch, capsys, "sql", root, "SELECT count(*) AS n FROM band", "--csv")
    assert (code, out) == (0, "n\n1000\n")
    assert err.startswith("dbpipe: this is the survey as of ") and "cannot be opened" in err
    code, _, err = command(monkeypatch, capsys, "check", root)  # looks at the catalog itself
    assert code == 1 and "survey.duckdb cannot be opened" in err


def test_the_snapshot_can_take_the_place_of_a_damaged_catalog(root):
    """Copied to the place of the catalog, it is one; and can be published again."""
    damage(root / CATALOG)
    shutil.copyfile(root / SNAPSHOT, root / CATALOG)
    with Survey.open(root, read_only=False) as survey:
        assert survey.count("band") == 1000
        survey.publish()
    with dbpipe.open(root) as survey:
        assert survey.count("band") == 1000 and survey.as_of is not None


def test_an_interrupted_migration_is_done_again(root, monkeypatch):
    """A migration that stops in the middle leaves the schema and rows of before; the next opening does it."""
    half = migrations.Migration(
        len(migrations.read_migrations()) + 1, "more", "CREATE TABLE more (x INTEGER); SELECT y;"
    )
    known = migrations.read_migrations()
    monkeypatch.setattr(migrations, "read_migrations", lambda folder=None: [*known, half])
    with pytest.raises(dbpipe.errors.CatalogError, match=r"migration 00\d\d \(more\) failed"):
        Survey.open(root, read_only=False)
    whole = migrations.Migration(half.version, "more", "CREATE TABLE more (x INTEGER);")
    monkeypatch.setattr(migrations, "read_migrations", lambda folder=None: [*known, whole])
    with Survey.open(root, read_only=False) as survey:
        assert survey.count("more") == 0 and survey.count("band") == 1000


KILLED = """
import os, sys
from dbpipe.catalog import migrations
from dbpipe.survey import Survey
known = migrations.read_migrations()
text = "CREATE TABLE more AS SELECT i FROM range(100000) AS r(i); ALTER TABLE visit ADD COLUMN more INTEGER;"
last = migrations.Migration(len(known) + 1, "more", text)
migrations.read_migrations = lambda folder=None: [*known, last]
start = migrations.transaction
class Kill(Exception): pass
import contextlib
@contextlib.contextmanager
def killed(connection):
    with start(connection):
        yield
        os.kill(os.getpid(), 9)
migrations.transaction = killed
Survey.open(sys.argv[1], read_only=False)
"""


def test_a_migration_that_is_killed_leaves_the_survey_as_it_was(root):
    """SIGKILL between the statements of a migration and its COMMIT: the old schema, every row, and the survey opens."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(root)], env=environment())
    assert done.returncode == -9
    with Survey.open(root, read_only=False) as survey:
        assert survey.count("band") == 1000
        assert "more" not in survey.sql("SELECT * FROM visit").columns
        assert survey.sql("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'more'").fetchall() == [(0,)]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own; call the fixture's value to change how it is mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a file system of one's own cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def read_only(folder):
    """Make a mounted file system read-only for a while."""
    for option in ("ro", "rw"):
        subprocess.run(["mount", "-o", f"remount,{option}", str(folder)], check=True)
        if option == "ro":
            try:
                yield
            except BaseException:
                subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
                raise


def test_a_read_only_survey_can_be_read_and_says_that_it_cannot_be_written(root, small_disk, monkeypatch, capsys):
    """On a read-only disk all that reads works, from the catalog or the snapshot; a run is refused in one line."""
    shutil.copytree(root, small_disk / "s")
    root = small_disk / "s"
    with read_only(small_disk):
        assert command(monkeypatch, capsys, "sql", root, "SELECT 1 AS x", "--csv")[:2] == (0, "x\n1\n")
        assert command(monkeypatch, capsys, "status", root)[0] == 0
        assert command(monkeypatch, capsys, "check", root)[0] == 0
        code, _, err = command(monkeypatch, capsys, "run", root)
        assert code == 1 and "Read-only file system" in err and err.count("\n") == 1
        code, _, err = command(monkeypatch, capsys, "export", root, small_disk / "out")
        assert code == 1 and "Read-only file system" in err and err.count("\n") == 1


def test_an_older_schema_on_a_read_only_disk_is_named(tmp_path, small_disk, monkeypatch, capsys):
    """It cannot be brought up to date there, and says so; writable again, it is brought up to date by reading."""
    root = small_disk / "s"
    root.mkdir()
    (root / "survey.toml").touch()
    catalog_connection.create(root / CATALOG)
    with catalog_connection.connect(root / CATALOG) as catalog:
        migrations.migrate(catalog, migrations.read_migrations()[:9])
    with read_only(small_disk):
        code, _, err = command(monkeypatch, capsys, "sql", root, "SELECT 1")
        assert code == 1 and "schema" in err and "older" in err and err.count("\n") == 1
    assert command(monkeypatch, capsys, "sql", root, "SELECT count(*) AS n FROM streak", "--csv")[1] == "n\n0\n"


def test_a_full_disk_stops_a_run_and_nothing_is_lost(small_disk, tmp_path, monkeypatch, capsys):
    """With no byte left a run ends with one line; with room again it goes on, and every file is there once."""
    raw, root = tmp_path / "raw", small_disk / "s"
    raw.mkdir()
    for visit in range(1234, 1238):
        make_fits.write_eimage(raw, name=f"lsst_e_{visit}_f2_R22_S11_E000.fits", OBSID=visit)
    nightly = ("run", root, "--ingest", raw, "--settle", 0, "--to", "calibrate", "--workers", 1)
    with Survey.init(root) as survey:
        survey.ingest([raw / "lsst_e_1234_f2_R22_S11_E000.fits"], n_worker=1)
    fill(small_disk / "filler")
    code, _, err = command(monkeypatch, capsys, *nightly)
    assert code == 1 and err.count("\n") == 1 and "disk" in err and "committed before is kept" in err
    with dbpipe.open(root) as survey:
        assert survey.count("raw") >= 1
    (small_disk / "filler").unlink()
    assert command(monkeypatch, capsys, *nightly)[0] == 0
    with dbpipe.open(root, published=False) as survey:
        assert survey.sql("SELECT visit FROM raw ORDER BY visit").fetchall() == [(v,) for v in range(1234, 1238)]
        assert [finding for finding in survey.check() if finding.n_row] == []


def test_a_full_disk_at_the_publish_leaves_the_old_snapshot(root, small_disk, monkeypatch, capsys):
    """If the copy does not fit, readers keep the old one, and the next run makes a new one."""
    shutil.copytree(root, small_disk / "s")
    root = small_disk / "s"
    said = pytest.raises(DiskError, match="everything is done")  # by the publish, and again by closing
    with said, Survey.open(root, read_only=False) as survey:
        survey.connection.execute("INSERT INTO band VALUES ('new')")
        fill(small_disk / "filler", leave_byte=100_000)
        with pytest.raises(DiskError, match="everything is done"):
            survey.publish()
        with dbpipe.open(root) as reader:
            assert reader.count("band") == 1000
    (small_disk / "filler").unlink()
    with Survey.open(root, read_only=False) as survey:
        survey.publish()
    with dbpipe.open(root) as reader:
        assert reader.as_of is not None and reader.count("band") == 1001


def fill(path, *, leave_byte=0):
    """Fill a disk."""
    with open(path, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65_536))
    os.truncate(path, path.stat().st_size - leave_byte)
