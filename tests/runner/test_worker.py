"""A unit reads the survey's own files and nothing else."""

import multiprocessing

import pyarrow as pa
import pytest
import toy_stages

from dbpipe.runner import worker
from dbpipe.runner.worker import work
from dbpipe.stage import Stage

READ = []
RAW = {"reads_raw": True}


def read(unit, inputs, config):
    """Note what a stage would read."""
    READ.append(unit["path"])
    raise ZeroDivisionError


def stage(**more):
    """A stage that reads its unit's path."""
    return Stage("toy", key=("n",), version=1, writes=(), run=read, config=toy_stages.ToyConfig, **more)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A survey, the current folder, with a link that leads out of it."""
    (tmp_path / "s" / "files" / "calexp").mkdir(parents=True)
    (tmp_path / "secret.fits").touch()
    (tmp_path / "s" / "files" / "calexp" / "link.fits").symlink_to(tmp_path / "secret.fits")
    monkeypatch.chdir(tmp_path / "s")
    READ.clear()


@pytest.mark.parametrize("path", ["/dev/zero", "../secret.fits", "files/calexp/link.fits", "files/../x", 7, None, ""])
@pytest.mark.parametrize("place", ["path", "calexp_path", "input"])
def test_a_hostile_path_is_a_verdict_and_is_not_read(here, path, place):
    """A path in the work row or an input that leads out of the survey fails the unit, which names it."""
    unit = {"n": 1, "path": "files/calexp/a.fits"} | ({place: path} if place != "input" else {})
    inputs = {"warps": pa.table({"path": ["files/calexp/a.fits", path]})} if place == "input" and path != 7 else {}
    if place == "input" and path == 7:
        inputs = {"warps": pa.table({"path": [7]})}
    done = work(stage(), unit, inputs, None, "0")
    assert done.status == "failed" and "not one of the survey's own" in done.reason and done.numbers == {"path": path}
    assert READ == []


def test_own_files_and_raw_ones_are_read(here):
    """A product below files/ is read, there or not; a raw file lies anywhere."""
    for path, more in (("files/calexp/a.fits", {}), ("/data/raw.fits", RAW)):
        done = work(stage(**more), {"n": 1, "path": path}, {}, None, "0")
        assert done.reason.startswith("ZeroDivisionError")
    assert READ == ["files/calexp/a.fits", "/data/raw.fits"]
    done = work(stage(**RAW), {"n": 1, "path": "/data/raw.fits", "other_path": "/data/raw.fits"}, {}, None, "0")
    assert done.status == "failed"


@pytest.mark.parametrize("n_answer", [0, 1])
def test_a_worker_whose_parent_does_not_listen_any_more_ends_in_silence(tmp_path, capfd, n_answer):
    """A parent that dies while a worker starts, or before it takes an answer, leaves no traceback behind."""
    spawn = multiprocessing.get_context("spawn")
    (leash, held), (calls, served) = spawn.Pipe(), spawn.Pipe()
    if n_answer:
        calls.send((len, "four"))
    calls.close()
    process = spawn.Process(target=worker.serve, args=(str(tmp_path), held, served))
    process.start()
    process.join(60.0)
    leash.close()
    assert process.exitcode == 0 and capfd.readouterr().err == ""
