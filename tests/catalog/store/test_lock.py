"""The lock of a survey: writers exclude each other, readers hold up nobody."""

import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dbpipe.catalog.store.lock import Lock
from dbpipe.errors import CatalogError, SurveyBusy


def test_a_second_writer_is_told_who_is_writing(tmp_path):
    """A busy survey says so in one line with the process number, to writers and readers."""
    code = (
        "import sys, time; from dbpipe.catalog.store.lock import Lock; lock = Lock(sys.argv[1]);"
        "print('held', flush=True); sys.stdin.read()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    path = tmp_path / "survey.lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        for shared in (False, True):
            with pytest.raises(SurveyBusy, match=f"is busy: held by process {holder.pid} ") as caught:
                Lock(path, shared=shared)
            assert "\n" not in str(caught.value)
        holder.kill()
    Lock(path).close()


def test_readers_share(tmp_path):
    """Many can copy at once; a writer waits until the last has gone."""
    path = tmp_path / "survey.lock"
    readers = [Lock(path, shared=True) for _ in range(2)]
    with pytest.raises(SurveyBusy, match=str(os.getpid())):
        Lock(path, patience_s=0.1)
    threading.Timer(0.3, lambda: [reader.close() for reader in readers]).start()
    Lock(path).close()


def test_a_writer_waits_for_a_reader_who_publishes_but_not_for_another_writer(tmp_path):
    """Who publishes for readers lets it go soon; another writer may take all night, and is reported at once."""
    path = tmp_path / "survey.lock"
    publishing = Lock(path, reader=True)
    threading.Timer(0.3, publishing.close).start()
    writer = Lock(path)
    started = time.monotonic()
    with pytest.raises(SurveyBusy):
        Lock(path)
    with pytest.raises(SurveyBusy):
        Lock(path, reader=True)
    assert time.monotonic() - started < 0.3
    writer.close()


def test_who_has_not_said_who_he_is_is_waited_for_a_moment(tmp_path):
    """Between taking the lock and writing down a name there is a moment in which nobody knows."""
    path = tmp_path / "survey.lock"
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.3, lambda: fcntl.flock(file, fcntl.LOCK_UN)).start()
        Lock(path).close()


@pytest.mark.parametrize("make", [lambda p: p.symlink_to(p.with_name("victim")), os.mkfifo, Path.mkdir])
def test_a_lock_file_is_a_file_of_its_own(tmp_path, make):
    """In a survey from elsewhere it may be a link, a pipe or a folder: refused in one line, nothing else is touched."""
    victim, path = tmp_path / "victim", tmp_path / "survey.lock"
    victim.write_text("mine")
    make(path)
    for shared in (False, True):
        with pytest.raises(CatalogError, match=r"survey\.lock"):
            Lock(path, shared=shared)
    assert victim.read_text() == "mine"
