"""Dataclasses as tables, and as flat names."""

from dataclasses import dataclass, field

import pytest

from dbpipe.declared import flat_paths, flatten, group, unflatten, value_at
from dbpipe.ranges import Ranged


@dataclass(frozen=True)
class Inner(Ranged):
    """A table."""

    width_pix: int = 3
    edges: tuple[float, ...] = (1.0, 2.0)


@dataclass(frozen=True)
class Outer(Ranged):
    """A section."""

    sigma: float = 5.0
    plain: Inner = group(Inner)
    renamed: Inner = group(Inner, prefix="old_", edges="the_edges")
    names: dict[str, float] = field(default_factory=dict)


def test_every_value_has_one_flat_name():
    """A table's name goes before that of its field, unless results on record know another one."""
    assert set(flat_paths(Outer)) == {"sigma", "names", "plain_width_pix", "plain_edges", "old_width_pix", "the_edges"}
    assert value_at(Outer(), flat_paths(Outer)["the_edges"]) == (1.0, 2.0)


@pytest.mark.parametrize("change", [{}, {"old_width_pix": 9}, {"the_edges": [4.0]}, {"names": {"r": 0.1}}])
def test_a_record_comes_back(change):
    """What JSON has kept makes the same settings again, lists being tuples."""
    made = unflatten(Outer, flatten(Outer()) | change)
    kept = {name: list(value) if isinstance(value, tuple) else value for name, value in flatten(made).items()}
    assert kept == {"sigma": 5.0, "names": {}, "plain_width_pix": 3, "plain_edges": [1.0, 2.0],
                    "old_width_pix": 3, "the_edges": [1.0, 2.0]} | change  # fmt: skip
