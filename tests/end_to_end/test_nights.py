"""Nights that come one after the other, killed again and again: nothing is lost, nothing is there twice."""

import os
import random
import shutil
import signal
import subprocess
import sys

import pytest
import small_survey

import dbpipe
from dbpipe.survey import Survey

N_KILL = 50
LOTS = (5, 6, 7, 8)
"""How many frames are there after each night: a first lot that makes templates, then a frame a night."""
LONGEST_S = 12.0


@pytest.fixture(scope="module")
def frames(small_sky):
    """Raw frames, red ones first, so that the first lot has a template."""
    return sorted((small_sky / "raw").iterdir(), key=lambda path: ("_f2_" not in path.name, path.name))


def start_survey(small_sky, root):
    """Make a survey with a reference catalog and no frame."""
    with Survey.init(root) as survey:
        survey.set_reference_catalog(small_sky / "refcat.csv")


def nightly(root, incoming):
    """Start the command that cron starts."""
    arguments = ["run", str(root), "--ingest", str(incoming), "--settle", "0", "--workers", "2", "--quiet"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "dbpipe", *arguments]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def arrive(frames, incoming):
    """Yield the number of each night when its frames have arrived, the same files in every survey."""
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir()
    for number, n_frame in enumerate(LOTS, 1):
        for path in frames[:n_frame]:
            if not (incoming / path.name).exists():
                shutil.copy2(path, incoming)
        yield number


@pytest.mark.slow
def test_nights_killed_fifty_times_end_like_nights_in_peace(small_sky, frames, tmp_path):
    """After 50 SIGKILLs at random moments of four nights the tables, ids included, are those of nights in peace."""
    incoming, peace, war = tmp_path / "incoming", tmp_path / "peace", tmp_path / "war"
    start_survey(small_sky, peace)
    for _ in arrive(frames, incoming):
        assert nightly(peace, incoming).wait() == 0
    start_survey(small_sky, war)
    moments, n_kill = random.Random(11), 0
    for number in arrive(frames, incoming):
        while n_kill < N_KILL * number // len(LOTS):
            n_kill += kill(nightly(war, incoming), after_s=moments.uniform(0.5, LONGEST_S))
        assert nightly(war, incoming).wait() == 0
    assert small_survey.differing(small_survey.content(peace), small_survey.content(war)) == []
    with dbpipe.open(war) as survey:
        assert survey.sql("SELECT count(*) > 100 FROM dia_forced_source").fetchall() == [(True,)]
        assert [finding for finding in survey.check(check_hash=True) if finding.n_row] == []
        assert set(survey.count_due().values()) == {0}


def kill(process, *, after_s):
    """Kill a run some time after its start, or return when it has ended by itself; returns 1."""
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    return 1
