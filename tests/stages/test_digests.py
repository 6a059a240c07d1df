"""Nothing that a stage reaches changes unseen: its version is bumped, or somebody says that results are the same."""

import ast
import json

import pytest
import stage_digests

HOW = """{stage} reaches code or SQL that has changed: {names}.
Would the same inputs give other results? Then bump its version and run: python tests/helpers/stage_digests.py
Else say so: python tests/helpers/stage_digests.py --same "why they are the same\""""


def test_what_a_stage_reaches_is_on_record():
    """Code and SQL of every stage are those of the record, which has today's versions."""
    record, today = json.loads(stage_digests.RECORD.read_text(encoding="utf-8")), stage_digests.now()
    wanting = stage_digests.changed(record, today)
    assert not wanting, "\n".join(HOW.format(stage=stage, names=", ".join(names)) for stage, names in wanting.items())
    versions = {stage: known["version"] for stage, known in record.items()}
    assert versions == {stage: known["version"] for stage, known in today.items()}, "run stage_digests.py"


def test_words_and_types_do_not_count():
    """Comments, docstrings, annotations and layout leave the text of code as it is; a number does not."""
    code = 'def f(x: int, y=2) -> int:\n    "Words."\n    # more\n    return x + (\n        y)\n'
    same, other = "def f(x, y=2):\n    return x + y\n", "def f(x, y=3):\n    return x + y\n"
    text = [stage_digests.plain(ast.parse(each).body) for each in (code, same, other)]
    assert text[0] == text[1] != text[2]


@pytest.mark.parametrize(
    ("stage", "file"),
    [
        ("detect", "dbpipe/imaging/sources/minimize"),
        ("detect", "dbpipe/imaging/psf/spline"),
        ("warp", "dbpipe/imaging/resample"),
        ("calibrate", "dbpipe/sky/astrometry/tansip"),
        ("associate", "dbpipe/sky/linking/grouping"),
        ("template", "dbpipe/imaging/stack/depth"),
        ("ingest", "dbpipe/io/raw/times"),
        ("forced", "sql"),
    ],
)
def test_what_is_far_below_is_reached(stage, file):
    """A stage reaches what it calls through others, in other rooms and through faces, and its SQL."""
    assert file in stage_digests.digests(stage_digests.BY_NAME[stage])


def test_a_change_without_a_version_is_named():
    """What differs at the same version is named by stage and file; with a new version it is nobody's business."""
    record = {"warp": {"version": 1, "files": {"a": "0", "b": "1"}}}
    assert stage_digests.changed(record, {"warp": {"version": 1, "files": {"a": "2", "b": "1"}}}) == {"warp": ["a"]}
    assert stage_digests.changed(record, {"warp": {"version": 2, "files": {"a": "2", "b": "1"}}}) == {}
