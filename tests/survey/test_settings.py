"""Settings say no to what they do not know, and explain themselves."""

import tomllib
import typing
from dataclasses import dataclass, field, is_dataclass
from typing import Annotated, Literal

import pytest

from dbpipe.declared import build, group
from dbpipe.errors import ConfigError
from dbpipe.io.raw.instrument import Instrument
from dbpipe.ranges import Range, Ranged
from dbpipe.runner.order import sections
from dbpipe.survey.settings import default_text, document, read_settings


@dataclass(frozen=True)
class Edge(Ranged):
    """What is left out."""

    width_pix: Annotated[float, Range(at_least=0.0, at_most=9.0)] = 1.0
    """How wide [pix]."""
    side: Literal["all", "top"] = "all"
    """Where."""


@dataclass(frozen=True)
class KernelConfig(Ranged):
    """Settings of a kernel."""

    order: Annotated[int, Range(at_least=0, at_most=4)] = 2
    """Degree of the spatial variation."""
    width: Annotated[float, Range(above=0.0)] = 1.5
    """Width [pix].

    More than one line.
    """
    side: Literal["auto", "science"] = "auto"
    """Which side."""
    sigmas: tuple[Annotated[float, Range(above=0.0, at_most=10.0)], ...] = (0.7, 1.5)
    """Widths [pix]."""
    limit: Annotated[float, Range(at_least=0.0)] | None = None
    """Largest value, if any."""
    names: dict[str, str] = field(default_factory=dict)
    """Band -> column."""
    fast: bool = True
    """Be quick."""
    edge: Edge = group(Edge, width_pix="edge_pix")


SECTIONS = {"kernel": KernelConfig}


def read(tmp_path, text):
    """Read settings from a text."""
    path = tmp_path / "survey.toml"
    path.write_text(text)
    return read_settings(path, SECTIONS)


def test_values_come_with_their_type(tmp_path):
    """Whole numbers may stand for floats, lists become tuples, what is not said keeps its default."""
    text = '[kernel]\norder = 3\nwidth = 2\nsigmas = [1, 2.5, 3]\nlimit = 4\nnames = {r = "rmag"}\nside = "science"\n'
    kernel = read(tmp_path, text).kernel
    assert kernel == KernelConfig(3, 2.0, "science", (1.0, 2.5, 3.0), 4.0, {"r": "rmag"})
    assert isinstance(kernel.width, float) and isinstance(kernel.limit, float)
    assert read(tmp_path, "")["kernel"] == KernelConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[kernal]\norder = 2", r"unknown section \[kernal\]; did you mean kernel\?"),
        ("[kernel]\noder = 2", r"\[kernel\]: unknown key oder; did you mean order\?"),
        ("[kernel]\nzzz = 2", "known are: order, width"),
        ("[kernel]\norder = 2.5", "order = 2.5: expected a whole number, got float"),
        ("[kernel]\norder = true", "expected a whole number, got bool"),
        ('[kernel]\nwidth = "2"', "expected a number, got str"),
        ("[kernel]\nfast = 1", "expected true or false, got int"),
        ('[kernel]\nside = "both"', "expected one of auto, science"),
        ('[kernel]\nsigmas = [1, "a"]', "expected a number"),
        ("[kernel]\norder = -1", r"\[kernel\] order = -1: must be a whole number, 0 to 4 \(the default is 2\)"),
        ("[kernel]\norder = 9", "order = 9: must be a whole number, 0 to 4"),
        ("[kernel]\nwidth = nan", r"width = nan: must be a number, above 0 \(the default is 1.5\)"),
        ("[kernel]\nwidth = inf", "width = inf: must be a number"),
        (f"[kernel]\nwidth = 1{'0' * 400}", "width = inf: must be a number"),
        (f"[kernel]\norder = 1{'0' * 400}", "order = a whole number of about 401 digits: must be"),
        (f"[kernel]\norder = 1{'0' * 5000}", "is not valid TOML"),
        (f"[kernel]\norder = {'[' * 5000}", "is not valid TOML"),
        ("[kernel]\nsigmas = [1, 11]", r"sigmas\[1\] = 11.0: must be a number, above 0 and at most 10"),
        ("[kernel]\nlimit = -1", "limit = -1.0: must be a number, at least 0"),
        ("kernel = 2", "is a section"),
        ("[kernel]\nedge = 2", r"\[kernel.edge\] is a table; write \[kernel.edge\] on a line of its own"),
        ("[kernel]\nedge_pix = 2", r"\[kernel\] edge_pix is now \[kernel.edge\] width_pix"),
        ("[kernel]\nedge_side = 'top'", r"\[kernel\] edge_side is now \[kernel.edge\] side"),
        ("[kernel]\nedge_sides = 2", r"unknown key edge_sides; did you mean \[kernel.edge\] side\?"),
        ("[kernel]\nwidth_pixel = 2", r"unknown key width_pixel; did you mean \[kernel.edge\] width_pix\?"),
        ("[kernel.edge]\nwidth_pixel = 2", r"\[kernel.edge\]: unknown key width_pixel; did you mean width_pix\?"),
        ("[kernel.edge]\nside = 'left'", r"\[kernel.edge\] side = 'left': expected one of all, top"),
        ("[kernel.edge]\nwidth_pix = 10", r"\[kernel.edge\] width_pix = 10.0: must be a number, 0 to 9"),
        ("[kernel.egde]\nwidth_pix = 1", r"\[kernel\]: unknown key egde; did you mean edge\?"),
        ("[kernel", "is not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    """Every mistake says where it is, what was found and what was expected."""
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_no_survey(tmp_path):
    """Without settings there is no survey; the message says how to make one."""
    with pytest.raises(ConfigError, match="dbpipe init"):
        read_settings(tmp_path / "survey.toml", SECTIONS)


def test_the_default_file_explains_every_setting_and_changes_nothing(tmp_path):
    """The file that init writes holds the text of every setting, gives the defaults, and is right when uncommented."""
    text = default_text(SECTIONS, "Heading")
    assert "\n[kernel.edge]\n# What is left out.\n# How wide [pix].\n# width_pix = 1.0  # 0 to 9\n" in text
    assert "# Degree of the spatial variation.\n# order = 2  # 0 to 4\n" in text
    assert read(tmp_path, text)["kernel"] == KernelConfig()
    lines = [line.removeprefix("# ") if " = " in line and "(unset)" not in line else line for line in text.splitlines()]
    assert tomllib.loads("\n".join(lines))["kernel"]["sigmas"] == [0.7, 1.5]
    assert read(tmp_path, "\n".join(lines))["kernel"] == KernelConfig()


def test_settings_are_documented_from_their_source():
    """The text under each field of the dataclass is its documentation."""
    texts = {item.name: item.text for item in document(SECTIONS)}
    assert texts["width"] == "Width [pix].\n\nMore than one line."
    assert all(texts.values())


def tables_of(cls):
    """Return a dataclass and all that are tables in it."""
    kinds = typing.get_type_hints(cls).values()
    inner = {part for kind in kinds for part in (kind, *typing.get_args(kind)) if is_dataclass(part)}
    return {cls}.union(*map(tables_of, inner))


ALL_TABLES = sorted(set().union(*map(tables_of, (*sections().values(), Instrument))), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", ALL_TABLES, ids=lambda cls: cls.__name__)
def test_a_value_of_the_wrong_kind_is_refused_in_words(cls):
    """Whatever TOML can hold, in any place of any file of settings, is taken or refused with its name."""
    for name in typing.get_type_hints(cls):
        for value in (1, -1.5, "x", True, [], [1], ["x"], [[]], {}, {"r": 1}, {"r": "x"}, {"r": []}, {"r": {}}):
            try:
                build(cls, {name: value}, "file")
            except ConfigError as error:
                assert "file" in str(error)
