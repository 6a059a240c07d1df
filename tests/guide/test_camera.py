"""The page on cameras: what it shows is a description."""

import re

from dbpipe import guide
from dbpipe.io.raw.instrument import load_instrument
from dbpipe.survey.opening import instrument_text


def test_the_example_is_a_whole_description(tmp_path):
    """Whoever copies it has a camera."""
    (text,) = re.findall(r"```toml\n(.*?)```", guide.read_page("camera"), re.DOTALL)
    (tmp_path / "my_camera.toml").write_text(text, encoding="utf-8")
    made = load_instrument(tmp_path / "my_camera.toml")
    assert (made.name, made.band.rename, made.detector.value) == ("my-camera", {"Bessel R": "R"}, 0)


def test_a_description_that_comes_with_dbpipe_is_printed_with_its_comments():
    """It is what one starts from."""
    assert "# This file also teaches the format" in instrument_text("phosim-eimage")
