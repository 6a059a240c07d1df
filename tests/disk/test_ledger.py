"""Outputs are written where nothing else is, and replaced only if they are as dbpipe left them."""

import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbpipe.disk.ledger import LEDGER, adopt, check_output, write_output
from dbpipe.errors import ConfigError


def write(path, text):
    """Write an output."""
    return write_output(path, lambda beside: beside.write_text(text))


def test_what_dbpipe_made_is_made_anew(tmp_path):
    """Again and again, the same or other bytes; nothing but the file and its ledger is left."""
    path = tmp_path / "new" / "a.csv"
    for text in ("one", "one", "two"):
        write(path, text)
        assert path.read_text() == text
    assert sorted(p.name for p in path.parent.iterdir()) == [LEDGER, "a.csv"]


@pytest.mark.parametrize("moment", ["never ours", "changed since", "replaced since"])
def test_what_is_somebody_elses_stays(tmp_path, moment):
    """A file that dbpipe did not write, or not like this, is not replaced, until the user says that it may be."""
    path = tmp_path / "a.csv"
    if moment != "never ours":
        write(path, "ours")
    if moment == "replaced since":
        path.unlink()
    path.write_text("thesis")
    with pytest.raises(ConfigError, match=r"a\.csv is there and dbpipe did not make it.*another name"):
        write(path, "new")
    assert path.read_text() == "thesis"
    adopt(path)
    write(path, "new")
    assert path.read_text() == "new"


def test_only_regular_files_are_replaced(tmp_path):
    """A folder, a link to anywhere, a pipe and a device are refused before anything is written, even to overwrite."""
    victim = tmp_path / "victim"
    victim.write_text("thesis")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = sorted(p.name for p in tmp_path.iterdir())
    for path in [tmp_path / name for name in ("folder", "link", "dangling", "pipe")] + ["/dev/null"]:
        for attempt in (check_output, adopt, lambda path: write(path, "new")):
            with pytest.raises(ConfigError, match="is a folder|is a link|is not a regular file"):
                attempt(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == before and victim.read_text() == "thesis"


@pytest.mark.parametrize("name", ["file/a.csv", "x" * 300, "a\0b", LEDGER, "/proc/a.csv"])
def test_a_place_where_nothing_can_be_written_is_named(tmp_path, name):
    """Where the system says no to a name, the message is one line with it."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as error:
        write(tmp_path / name, "new")
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    "content", ["my own notes", "[]", '{"made_by_dbpipe": {"a.csv": [1]}}', "[" * 100_000, b"\xff"]
)
def test_a_list_of_somebody_else_is_not_overwritten(tmp_path, content):
    """A file that happens to be called like the ledger is respected."""
    (tmp_path / LEDGER).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = (tmp_path / LEDGER).read_bytes()
    (tmp_path / "a.csv").write_text("thesis")
    for name in ("a.csv", "b.csv"):
        with pytest.raises(ConfigError, match="is not a list that dbpipe made"):
            write(tmp_path / name, "new")
    assert (tmp_path / LEDGER).read_bytes() == before and not (tmp_path / "b.csv").exists()


def test_a_write_that_fails_leaves_everything_as_it_was(tmp_path):
    """The file of before stays, and is still known."""
    path = tmp_path / "a.csv"
    write(path, "old")

    def fail(beside):
        beside.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_output(path, fail)
    assert path.read_text() == "old" and len(list(tmp_path.iterdir())) == 2
    write(path, "new")


@pytest.mark.parametrize("n_done", range(4))
def test_a_kill_at_any_step_leaves_a_file_that_is_known(tmp_path, monkeypatch, n_done):
    """Stopped before any of its steps, the output is the old or the new one, and the next command can replace it."""
    path, steps = tmp_path / "a.csv", iter(range(10))
    write(path, "old")
    replace = os.replace

    def stop(*names):
        if next(steps) == n_done:
            raise KeyboardInterrupt
        replace(*names)

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(os, "replace", stop)
        write(path, "new")
    assert path.read_text() == ("new" if n_done >= 2 else "old")
    write(path, "newer")
    assert path.read_text() == "newer"


WRITER = """
import sys
from dbpipe.disk.ledger import write_output
for k in range(20):
    write_output(f"{sys.argv[1]}/{sys.argv[2]}{k}.csv", lambda path: path.write_text("x"))
"""


def test_two_writers_know_of_each_other(tmp_path):
    """Two processes that write into one folder at the same time both have all their files in the ledger."""
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    writers = [subprocess.Popen([*command, name], env=environment) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    known = json.loads((tmp_path / LEDGER).read_text())["made_by_dbpipe"]
    assert known.keys() == {f"{name}{k}.csv" for name in "ab" for k in range(20)}


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["ours", "theirs", "delete", "link", "fail"]), st.sampled_from("ab"), st.sampled_from("xy")
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(actions=ACTIONS)
def test_bytes_of_others_are_never_lost(tmp_path_factory, actions):
    """Whatever a user and dbpipe do to two names in turn, what the user wrote last is there until the user takes it."""
    folder = tmp_path_factory.mktemp("outputs")
    theirs = {}
    for action, name, text in actions:
        path = folder / name
        if action == "ours":
            with suppress(ConfigError):
                write(path, f"made by dbpipe {text}")
        elif action == "fail":
            with suppress(ConfigError, ZeroDivisionError):
                write_output(path, lambda beside: 1 / 0)
        else:
            path.unlink(missing_ok=True)
            theirs.pop(name, None)
            if action == "theirs":
                theirs[name] = f"by hand {text}"
                path.write_text(theirs[name])
            elif action == "link":
                (folder / "victim").write_text("thesis")
                path.symlink_to(folder / "victim")
        assert all((folder / name).read_text() == content for name, content in theirs.items())
        assert not (folder / "victim").exists() or (folder / "victim").read_text() == "thesis"
    assert not list(folder.glob(".tmp-*"))
