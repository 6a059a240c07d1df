"""Every number that a user may set has a range, and is held to it."""

import dataclasses
import math
import typing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dbpipe.errors import ConfigError
from dbpipe.imaging.settings import KernelSettings, RejectionLimits
from dbpipe.io.raw.instrument import DetectorRule, Instrument, Quantity
from dbpipe.ranges import Range, Ranged, describe_range
from dbpipe.runner.order import sections
from dbpipe.stages.contracts.inject import Places, Strengths
from dbpipe.survey.settings import tables

DESCRIPTIONS = (Quantity, DetectorRule, Instrument)
COUPLED = ("keep_score", "primary_score", "grow_sigma", "seed_sigma", "snr", "dense_snr", "galaxy_fraction",
           "bright_star_fraction", "star_fraction", "degree")  # fmt: skip
"""Settings that a rule ties to another one: alone, not every value in their range is accepted."""


def ranged_fields():
    """Return (section name, class, field name, (kind, range)) of every plain number of the settings."""
    return [
        (table, cls, name, (hint.__origin__, hint.__metadata__[0]))
        for table, cls in tables(sections())
        for name, hint in typing.get_type_hints(cls, include_extras=True).items()
        if typing.get_origin(hint) is typing.Annotated
    ]


def bare_numbers(hint):
    """Return whether a number without a range is somewhere in a type hint."""
    if typing.get_origin(hint) is typing.Annotated:
        return False
    return hint in (int, float) or any(bare_numbers(kind) for kind in typing.get_args(hint))


FIELDS = ranged_fields()


def test_no_number_is_without_a_range():
    """A number in a section of the settings, or in an instrument description, says what it may be."""
    bare = [
        f"{cls.__name__}.{name}"
        for cls in (*(cls for _, cls in tables(sections())), *DESCRIPTIONS)
        for name, hint in typing.get_type_hints(cls, include_extras=True).items()
        if bare_numbers(hint) or not issubclass(cls, Ranged)
    ]
    assert bare == []


def test_defaults_are_in_range():
    """What is not said is allowed, and in the words of the range nothing is left out."""
    for section, cls, name, (_, allowed) in FIELDS:
        assert getattr(cls(), name) in allowed, (section, name)
        assert describe_range(typing.get_type_hints(cls, include_extras=True)[name]) not in ("", "finite")


@settings(deadline=None)
@given(st.sampled_from(FIELDS), st.one_of(st.floats(), st.integers(), st.sampled_from([0, -1, 1e308, 2**70])))
def test_a_value_is_accepted_if_it_is_in_range_and_only_then(field, value):
    """Whatever number is set, the section takes it or names the field, the value, the range and the default."""
    section, cls, name, (kind, allowed) = field
    value = float(value) if kind is float else value
    if kind is int and isinstance(value, float):
        with pytest.raises(ConfigError, match=f"^{name} = .*: must be a whole number"):
            cls(**{name: value})
    elif value in allowed:
        try:
            assert getattr(cls(**{name: value}), name) == value
        except ConfigError:
            assert name in COUPLED
    else:
        with pytest.raises(ConfigError, match=f"^{name} = .*: must be .*the default is"):
            cls(**{name: value})


@settings(deadline=None)
@given(st.sampled_from(FIELDS), st.data())
def test_any_value_inside_is_accepted(field, data):
    """Between the ends of its range a number is taken as it is."""
    section, cls, name, (kind, allowed) = field
    low = allowed.at_least if allowed.at_least is not None else allowed.above
    strategy = st.integers(int(low), int(allowed.at_most)) if kind is int else st.floats(low, allowed.at_most)
    value = data.draw(strategy.filter(lambda v: v in allowed))
    try:
        assert getattr(cls(**{name: value}), name) == value
    except ConfigError:
        assert name in COUPLED


@settings(deadline=None)
@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_description_takes_no_number_that_is_none(value):
    """Gain, noise and saturation are finite and not negative, wherever a description gives them."""
    if math.isfinite(value) and 0.0 <= value <= 1e12:
        assert Quantity("electron", value=value).value == value
    else:
        with pytest.raises(ConfigError, match="^value = .*: must be a number, 0 to 1e"):
            Quantity("electron", value=value)


def test_rules_between_settings_are_kept():
    """Two settings that contradict each other are refused by name."""
    with pytest.raises(ConfigError, match="keep_score = 6.0: must be at most primary_score = 5.0"):
        sections()["detect"](keep_score=6.0)
    with pytest.raises(ConfigError, match="grow_sigma = 5.0: must be at most seed_sigma"):
        RejectionLimits(grow_sigma=5.0)
    with pytest.raises(ConfigError, match="star_fraction = 1.5: must be at most 1"):
        Places(galaxy_fraction=0.5, bright_star_fraction=0.5, star_fraction=0.5)
    with pytest.raises(ConfigError, match="dense_snr = "):
        Strengths(dense_snr=(8.0, 3.0))
    with pytest.raises(ConfigError, match="degree has 4 entries"):
        KernelSettings(degree=(6, 4, 2, 1))


def test_ranges_hold_in_lists_tables_and_alternatives():
    """An item of a list is named by its place, one of a table by its key, and None stays None."""

    @dataclasses.dataclass(frozen=True)
    class Section(Ranged):
        widths: tuple[typing.Annotated[float, Range(above=0.0)], ...] = (1.0,)
        terms: dict[str, typing.Annotated[float, Range(at_most=5.0)]] = dataclasses.field(default_factory=dict)
        epoch: str | typing.Annotated[float, Range(at_least=1800.0)] | None = None

    assert Section(epoch="column").epoch == "column" and Section().epoch is None
    for values, message in (
        ({"widths": (1.0, -1.0)}, r"widths\[1\] = -1.0"),
        ({"terms": {"r": 6.0}}, "terms.r = 6.0"),
        ({"terms": {"r": math.nan}}, "terms.r = nan"),
        ({"epoch": 20.0}, "epoch = 20.0: must be a number, at least 1800"),
    ):
        with pytest.raises(ConfigError, match=message):
            Section(**values)
