"""Results do not move without the version of their stage."""

import json

import pytest
from stage_results import ANSWERS, RECORD, measure, versions

TOLERANCE = 0.003
"""Libraries of different versions round differently; what changes results on purpose changes them by more."""


def first_change(record, numbers, now):
    """Return what is wrong with the first stage whose numbers are not those of the record, or None."""
    for stage, recorded in record.items():
        moved = [
            f"{name} {recorded['numbers'].get(name)} -> {value}"
            for name, value in numbers[stage].items()
            if value != pytest.approx(recorded["numbers"].get(name), rel=TOLERANCE)
        ]
        if moved and now[stage] == recorded["version"]:
            return f"bump the version of {stage}: {', '.join(moved)}"
        if moved:
            return f"the results of {stage} are new: record them with python tests/helpers/stage_results.py"
    return None


@pytest.mark.slow
def test_results_are_those_of_the_versions(tmp_path):
    """On one small sky every stage gives the numbers that are on record for its version."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert list(record) == list(ANSWERS)
    assert first_change(record, measure(tmp_path), versions()) is None


def test_the_record_is_of_the_versions_of_today():
    """A stage with a new version has its results on record again."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert {stage: recorded["version"] for stage, recorded in record.items()} == versions()


def test_a_change_without_a_new_version_is_named():
    """The first stage whose results moved is the one to bump; those behind it move because it did."""
    record = {"calibrate": {"version": 1, "numbers": {"n": 3}}, "detect": {"version": 1, "numbers": {"n": 5}}}
    same, moved = {"calibrate": {"n": 3}, "detect": {"n": 5}}, {"calibrate": {"n": 4}, "detect": {"n": 6}}
    old, new = {"calibrate": 1, "detect": 1}, {"calibrate": 2, "detect": 1}
    assert first_change(record, same, old) is None
    assert first_change(record, moved, old).startswith("bump the version of calibrate: n 3 -> 4")
    assert first_change(record, same | {"detect": {"n": 6}}, old).startswith("bump the version of detect")
    assert "record them" in first_change(record, moved, new)
