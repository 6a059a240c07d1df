"""An export folder has things of its user beside those of dbpipe: every byte of theirs stays."""

import json
import os
import shutil
from contextlib import chdir, suppress
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
import synthetic_sources
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dbpipe.catalog import migrations
from dbpipe.catalog.views import apply_views
from dbpipe.errors import ConfigError, DbpipeError
from dbpipe.publish import tree as module
from dbpipe.publish.tree import export_tree


@pytest.fixture(scope="module")
def connection():
    """A catalog with two nights of a few sources."""
    with duckdb.connect() as catalog:
        migrations.migrate(catalog)
        synthetic_sources.prepare(catalog)
        apply_views(catalog)
        synthetic_sources.add_visits(catalog, range(1, 5), per_visit=20)
        yield catalog


def change_a_night(connection):
    """Give one source another flux, so that one file of two is written anew by the next export."""
    connection.execute(
        "UPDATE dia_source SET psf_flux_njy = psf_flux_njy + 1 "
        "WHERE dia_source_id = (SELECT min(dia_source_id) FROM dia_source)"
    )


def rows(out):
    """Return how many sources readers of an export see."""
    files = f"{out}/current/dia_source/by_night/*/*.parquet"
    return duckdb.sql(f"SELECT count(*) FROM read_parquet('{files}')").fetchall()[0][0]


def trees(out):
    """Return the names of the trees, and of whatever else is beside them."""
    return sorted(path.name for path in (Path(out) / "trees").iterdir())


@pytest.mark.parametrize("name", ["lake", "./lake", "a b/lake", "link", "../here/lake", "lake [1]*?", "l'ake,x"])
def test_a_folder_is_meant_from_where_the_user_is(connection, tmp_path, name):
    """A relative name, a link, and any letters do as well as an absolute name, also while DuckDB looks elsewhere."""
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "real").mkdir()
    (here / "link").symlink_to(tmp_path / "real")
    connection.execute(f"SET file_search_path = '{tmp_path}'")
    with chdir(here):
        for _ in range(3):
            export_tree(connection, name, ["night"])
            change_a_night(connection)
        lake = Path(name).resolve()
    connection.execute("RESET file_search_path")
    assert trees(lake) == ["000002", "000003"]
    found = (lake / "current").rglob("*.parquet")
    assert sum(pq.read_metadata(path).num_rows for path in found) == 80
    assert {p.name for p in here.iterdir()} <= {"link", "lake", "a b", "lake [1]*?", "l'ake,x"}


def test_trees_of_the_user_are_not_trees(connection, tmp_path):
    """Folders with any name beside the trees are neither deleted nor counted, whatever they say of themselves."""
    mine = {
        "2024/notes.txt": "mine",
        "000007/notes.txt": "mine",
        "000500/manifest.json": '{"dbpipe": 1}',
        "999999/manifest.json": "not even JSON",
        ".tmp-1/notes.txt": "mine",
        "tree/manifest.json": '{"dbpipe": "0.1", "layouts": [], "parts": {}}',
    }
    for name, text in mine.items():
        (tmp_path / "trees" / name).parent.mkdir(parents=True)
        (tmp_path / "trees" / name).write_text(text)
    for _ in range(9):  # past the number that is taken
        export_tree(connection, tmp_path, ["night"])
        change_a_night(connection)
    assert {name: (tmp_path / "trees" / name).read_text() for name in mine} == mine
    assert {"000009", "000010"} < set(trees(tmp_path)) and rows(tmp_path) == 80


def test_a_copy_of_a_tree_is_the_users(connection, tmp_path):
    """Who copies a tree under another number keeps the copy."""
    export_tree(connection, tmp_path, ["night"])
    shutil.copytree(tmp_path / "trees/000001", tmp_path / "trees/000042")
    for _ in range(3):
        change_a_night(connection)
        export_tree(connection, tmp_path, [])
    assert trees(tmp_path) == ["000003", "000004", "000042"]
    assert len(list((tmp_path / "trees/000042").rglob("*.parquet"))) == 2


def test_what_a_user_puts_into_a_tree_stays_and_is_named(connection, tmp_path):
    """A file that is added, one that is changed and a link outlive their tree; a changed one is not passed on."""
    victim = tmp_path / "victim"
    (victim / "by_night").mkdir(parents=True)
    (victim / "by_night" / "dia_source.parquet").write_text("thesis")
    out = tmp_path / "lake"
    export_tree(connection, out, ["night"])
    tree = out / "trees/000001"
    (tree / "notes.txt").write_text("mine")
    changed = sorted(tree.rglob("*.parquet"))[0]
    changed.write_text("mine, too")
    (tree / "dia_source" / "link").symlink_to(victim)
    left = []
    for _ in range(3):
        change_a_night(connection)
        left += export_tree(connection, out, []).left
        assert rows(out) == 80
    kept = {f"trees/000001/{name}" for name in ("notes.txt", changed.relative_to(tree).as_posix(), "dia_source/link")}
    assert set(left) == kept and len(left) == len(kept)
    assert (tree / "notes.txt").read_text() == "mine" and changed.read_text() == "mine, too"
    assert (victim / "by_night" / "dia_source.parquet").read_text() == "thesis"


def link_tree(out, victim):
    shutil.rmtree(out / "trees")
    (out / "trees").symlink_to(victim)


def folder_as_current(out, victim):
    (out / "current").unlink()
    shutil.copytree(victim, out / "current")


def current_elsewhere(out, victim):
    (out / "current").unlink()
    (out / "current").symlink_to(victim)


def tree_elsewhere(out, victim):
    (out / "trees/000001").rename(out / "trees/elsewhere")
    (out / "trees/000001").symlink_to(victim)


def own_lock(out, victim):
    (out / "export.lock").write_text("thesis")


@pytest.mark.parametrize("spoil", [link_tree, folder_as_current, current_elsewhere, tree_elsewhere, own_lock])
def test_what_is_not_as_dbpipe_left_it_is_refused(connection, tmp_path, spoil):
    """If a link or a file of the user has the place of one of dbpipe, the export says so and nothing changes."""
    out, victim = tmp_path / "lake", tmp_path / "victim"
    (victim / "000001").mkdir(parents=True)
    (victim / "000001" / "manifest.json").write_text('{"dbpipe": "0.1", "layouts": [], "parts": {}}')
    export_tree(connection, out, ["night"])
    spoil(out, victim)
    before = snapshot(tmp_path)
    with pytest.raises(ConfigError, match="dbpipe"):
        export_tree(connection, out, [])
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("path", ["../../victim.txt", "/etc/passwd", "dia_source/by_night/../../../x.parquet", "x", ""])
@pytest.mark.parametrize("place", ["parts", "files"])
def test_a_hostile_manifest_is_none(connection, tmp_path, path, place):
    """A manifest that names anything but files of a tree makes its folder nobody's."""
    (tmp_path / "victim.txt").write_text("thesis")
    out = tmp_path / "lake"
    export_tree(connection, out, ["night"])
    text = json.loads((out / "trees/000001/manifest.json").read_text())
    text[place][path] = [6, "x"] if place == "parts" else [6, (tmp_path / "victim.txt").stat().st_mtime_ns]
    (out / "trees/000001/manifest.json").write_text(json.dumps(text))
    with pytest.raises(ConfigError, match="not a link to a tree that dbpipe made"):
        export_tree(connection, out, [])
    assert (tmp_path / "victim.txt").read_text() == "thesis"


def test_a_tree_of_an_older_version_is_taken_over(connection, tmp_path):
    """A manifest without a list of files: what has not changed is linked, and the tree goes when its time has come."""
    export_tree(connection, tmp_path, ["night", "hats"])
    path = tmp_path / "trees/000001/manifest.json"
    text = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in text.items() if name not in ("files", "tree")}))
    assert export_tree(connection, tmp_path, []).n_written == 0
    assert export_tree(connection, tmp_path, []).left == []
    assert trees(tmp_path) == ["000002", "000003"]


@pytest.mark.parametrize("moment", ["write_parts", "_turn", "_sync_tree", "_free_link"])
def test_what_a_kill_leaves_is_swept(connection, tmp_path, monkeypatch, moment):
    """Killed at any moment, an export leaves the old tree to readers and nothing behind once the next one is done."""
    export_tree(connection, tmp_path, ["night"])
    change_a_night(connection)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, moment, stop)
        patched.setattr(module.trees, "discard", lambda tree: [])  # a kill cleans nothing
        export_tree(connection, tmp_path, [])
    assert rows(tmp_path) == 80 and len(trees(tmp_path)) == 2
    if moment == "write_parts":
        (unfinished,) = (tmp_path / "trees").glob(".tmp-*")
        scratch = unfinished / "scratch-a_1" / "part_number=0"
        scratch.mkdir(parents=True)
        (scratch / "0b5a7c9e-1111-2222-3333-444455556666.parquet").touch()
        (unfinished / ".tmp-1-manifest.json").touch()
    export_tree(connection, tmp_path, [])
    assert trees(tmp_path) == ["000001", "000002"] and rows(tmp_path) == 80
    assert sorted(path.name for path in tmp_path.iterdir()) == ["current", "export.lock", "trees"]


def test_a_lost_link_costs_no_tree(connection, tmp_path):
    """Without ``current`` the newest trees are kept, and the next export makes it again."""
    export_tree(connection, tmp_path, ["night"])
    change_a_night(connection)
    export_tree(connection, tmp_path, ["night"])
    (tmp_path / "current").unlink()
    export_tree(connection, tmp_path, ["night"])
    assert trees(tmp_path) == ["000002", "000003"] and rows(tmp_path) == 80


def snapshot(folder):
    """Return path -> what is there, links not followed."""
    found = {}
    for root, names, files in os.walk(folder):
        for path in (Path(root) / name for name in names + files):
            found[str(path)] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


NAMES = ["trees", "current", "000001", "000002", "2024", ".tmp-1", ".tmp-current", "manifest.json", "export.lock",
         "dia_source", "by_night", "scratch-x", "notes.txt", "night=20260101"]  # fmt: skip
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4)
FOREIGN = st.lists(st.tuples(PATHS, st.sampled_from(["file", "link", "folder"])), max_size=5)
MOMENTS = ["export", "stop in write_parts", "stop in _turn", "stop in _sync_tree", "user"]
STEPS = st.lists(st.sampled_from(MOMENTS), min_size=2, max_size=5)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(foreign=FOREIGN, steps=STEPS)
def test_every_foreign_byte_stays(connection, tmp_path_factory, monkeypatch, foreign, steps):
    """Whatever lies in a folder, before or between exports that go on or are stopped, is there afterward."""
    place = tmp_path_factory.mktemp("foreign")
    out, victim = place / "lake", place / "victim"
    victim.mkdir()
    (victim / "000001").write_text("thesis")
    (victim / "manifest.json").write_text('{"dbpipe": "0.1", "layouts": [], "parts": {}}')
    theirs = snapshot(victim)
    if len(foreign) % 2:
        theirs |= add_foreign(out, victim, foreign)
    for step in steps:
        change_a_night(connection)
        if step == "user":
            theirs |= add_foreign(out, victim, foreign)
            continue
        with monkeypatch.context() as patched, suppress(DbpipeError, KeyboardInterrupt):  # a refusal is fine
            if step != "export":
                patched.setattr(module, step.split()[-1], stop)
            export_tree(connection, out, ["night"])
        found = snapshot(place)
        assert {path: found.get(path) for path in theirs} == theirs
    unfinished = [name for name in (trees(out) if (out / "trees").is_dir() else []) if name.startswith(".tmp-")]
    assert set(unfinished) <= {".tmp-1", ".tmp-current"}  # names that the user has there


def stop(*_, **__):
    raise KeyboardInterrupt


def add_foreign(out, victim, foreign):
    """Put files and links of a user where there is room, and return them."""
    made = {}
    for names, kind in foreign:
        path = out.joinpath(*names)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path) or path.parent.resolve() != path.parent:
                continue
            if kind == "file":
                path.write_text("mine")
                made[str(path)] = b"mine"
            elif kind == "link":
                path.symlink_to(victim)
                made[str(path)] = str(victim)
            else:
                path.mkdir()
    return made
