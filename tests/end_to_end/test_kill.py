"""Kill a run again and again: what is there in the end is what an undisturbed run makes."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import small_survey

from dbpipe.survey import Survey

N_KILL = 10
PATIENCE_S = 60.0


def count_files(root):
    """Return how many whole products there are, committed or not."""
    return sum(not path.name.startswith(".") for path in root.glob("files/*/*"))


def wait_for_products(process, root, n_file):
    """Return when the survey is there with so many products; fail if the run ends before."""
    while not (root / "survey.duckdb").exists() or count_files(root) < n_file:
        assert process.poll() is None, "the run ended by itself"
        time.sleep(0.01)


def wait_until_gone(process_group):
    """Return when no process of the group is left."""
    give_up = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < give_up:
            os.killpg(process_group, 0)
            time.sleep(0.01)
    except ProcessLookupError:
        return
    pytest.fail("a worker outlived its parent")


@pytest.mark.slow
def test_a_run_that_is_killed_ten_times_ends_like_one_in_peace(small_sky, small_root, tmp_path):
    """SIGKILL at ten random moments from ingest to detect: the workers go too, and the resumed survey is the same."""
    root = tmp_path / "killed"
    script = [sys.executable, small_survey.__file__, str(small_sky), str(root), "2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    moments, n_file = random.Random(7), count_files(small_root)
    for n_kill in range(N_KILL):
        process = subprocess.Popen(script, env=environment, start_new_session=True)
        # one product of its own, at least: a process that is still starting has no run to kill
        least = min(max(n_file * n_kill // (N_KILL - 1), count_files(root) + 1), n_file)
        wait_for_products(process, root, least)
        time.sleep(moments.uniform(0.0, 0.5))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        wait_until_gone(process.pid)
    small_survey.process(small_sky, root, n_worker=2)
    with Survey.open(root, read_only=False) as survey:
        assert [finding for finding in survey.check(check_hash=True) if finding.n_row] == []
        assert survey.sql("SELECT count(*) FROM run WHERE finished_at IS NULL").fetchall()[0][0] >= N_KILL - 1
        survey.delete_garbage()
    assert count_files(root) == n_file
    assert small_survey.differing(small_survey.content(root), small_survey.content(small_root)) == []
    assert not any(summary.n_unit for summary in small_survey.process(small_sky, root, n_worker=2))
