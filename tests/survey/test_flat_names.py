"""Settings have moved into tables of their own, and what was computed with them is as good as ever."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dbpipe.catalog.work.offer import _task
from dbpipe.declared import flat_paths, flatten, unflatten
from dbpipe.errors import ConfigError
from dbpipe.runner.order import BY_NAME, sections
from dbpipe.survey.settings import read_settings

RECORDED = json.loads((Path(__file__).parent / "flat_settings.json").read_text())
"""Section -> its defaults by flat name and, of a stage, the fingerprint of a unit with key 1 and version 1, as they
were when no section had tables in it."""
CHANGED = {
    "kernel_degree": [4, 2],
    "max_kernel_size_pix": 41,
    "convolve": "science",
    "trail_snr": 9.0,
    "seed_sigma": 5.5,
    "psf_size_pix": 31,
    "min_tracklet_sources": 4,
    "snr": [2.5, 30.0],
    "min_input": 5,
    "color_terms": {"r": 0.1},
}
MOVED = [
    (section, flat, way) for section, cls in sections().items() for flat, way in flat_paths(cls).items() if len(way) > 1
]


@pytest.mark.parametrize("section", RECORDED)
def test_flat_settings_are_those_on_record(section):
    """Every setting has the name and the default that fingerprints and runs on record know."""
    assert json.loads(json.dumps(flatten(sections()[section]()))) == RECORDED[section]["settings"]


@pytest.mark.parametrize("section", [name for name, known in RECORDED.items() if "fingerprint" in known])
def test_fingerprints_are_those_on_record(section):
    """An upgrade of dbpipe finds every unit made, as long as the version of its stage and its settings stay."""
    stage = BY_NAME[section]
    task = _task(replace(stage, version=1), dict.fromkeys(stage.key, 1), flatten(stage.config()))
    assert task.fingerprint == RECORDED[section]["fingerprint"]


@pytest.mark.parametrize("section", RECORDED)
def test_a_record_gives_its_settings_back(section):
    """What a run has on record makes the same settings again, and a change of one stays a change of that one."""
    cls, known = sections()[section], RECORDED[section]["settings"]
    for name, value in known.items():
        record = known | {name: CHANGED.get(name, not value if isinstance(value, bool) else value)}
        assert json.loads(json.dumps(flatten(unflatten(cls, record)))) == record


@pytest.mark.parametrize(("section", "flat", "way"), MOVED)
def test_a_key_that_has_moved_is_told_where_to(tmp_path, section, flat, way):
    """A survey.toml of an older dbpipe is refused with the place where its setting now stands."""
    path = tmp_path / "survey.toml"
    path.write_text(f"[{section}]\n{flat} = 1\n")
    *tables, last = way
    with pytest.raises(ConfigError) as refusal:
        read_settings(path, sections())
    assert str(refusal.value) == f"{path} [{section}] {flat} is now [{'.'.join([section, *tables])}] {last}"
