"""Nothing leads out of a folder, and only what was made here is deleted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbpipe.disk.places import find_below, find_files, remove_made

PIECES = st.sampled_from(["a", "b", "..", ".", "", "out", "in", "/", "\0", "c.txt", "~", "*"])


@settings(max_examples=200, deadline=None)
@given(pieces=st.lists(PIECES, max_size=5))
def test_a_name_stays_in_its_folder(tmp_path_factory, pieces):
    """Of names made of dots, slashes and links, only those without any lead somewhere, and that is inside."""
    root = tmp_path_factory.getbasetemp() / "places"
    (root / "a" / "b").mkdir(parents=True, exist_ok=True)
    for name, target in (("out", ".."), ("in", "a")):
        if not (root / name).is_symlink():
            (root / name).symlink_to(target)
    found = find_below(root, "/".join(pieces))
    plain = bool(pieces) and pieces[0] not in ("out", "in") and not {"..", ".", "", "/", "\0"} & set(pieces)
    assert found == ((root.resolve() / "/".join(pieces)) if plain else None)


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"]])
def test_a_name_that_is_no_text_is_none(tmp_path, name):
    """Tables and manifests can hold anything."""
    assert find_below(tmp_path, name) is None


def test_what_was_not_made_here_is_left_and_named(tmp_path):
    """Files of others, links and what is behind them stay; empty folders go, and so does the whole if it is ours."""
    victim, tree = tmp_path / "victim", tmp_path / "tree"
    (victim / "empty").mkdir(parents=True)
    (victim / "ours").write_text("not ours")
    (tree / "deep" / "er").mkdir(parents=True)
    for name in ("ours", "deep/ours", "deep/er/notes"):
        (tree / name).touch()
    (tree / "link").symlink_to(victim)
    (tree / "deep" / "ours2").symlink_to(victim / "ours")

    def is_ours(relative, state):
        return "ours" in relative

    assert remove_made(tree, is_ours) == ["deep/er/notes", "deep/ours2", "link"]
    assert [path for path, _ in find_files(victim)] == ["ours"] and (victim / "empty").is_dir()
    assert not (tree / "ours").exists() and not (tree / "deep" / "ours").exists()
    assert remove_made(tree / "link", is_ours) == [] and (victim / "ours").exists()
    (tree / "link").unlink()
    assert remove_made(tree, lambda *_: True) == ["deep/ours2"]
    (tree / "deep" / "ours2").unlink()
    assert remove_made(tree, lambda *_: True) == [] and not tree.exists()
