"""Instrument descriptions."""

import pytest

from dbpipe.errors import ConfigError
from dbpipe.io.raw.instrument import instrument_names, load_instrument

MINIMAL = """
name = "mine"
pixel_unit = "adu"
bleed = "columns"
exposure_keyword = "EXPTIME"
gain = { keyword = "GAIN", unit = "electron/adu" }
read_noise = { value = 5, unit = "electron" }
saturation = { value = 60000, unit = "adu" }
[[time]]
keywords = ["DATE-OBS"]
format = "isot"
scale = "utc"
refers_to = "start"
[visit]
keyword = "OBSNUM"
[band]
keywords = ["FILTER"]
[detector]
value = 0
"""


def write(folder, text):
    """Write a description and return its path."""
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_every_shipped_description_can_be_loaded():
    """All descriptions that come with dbpipe are valid and carry their own name and hash."""
    for name in instrument_names():
        instrument = load_instrument(name)
        assert instrument.name == name
        assert len(instrument.sha256) == 64


def test_lsst_sensors_have_their_camera_numbers():
    """R22_S11, the center of the LSST camera, is detector 94, and no sensor is named twice."""
    names = load_instrument("phosim-eimage").detector.names
    assert names.index("R22_S11") == 94
    assert len(names) == len(set(names)) == 189


def test_minimal_description_needs_no_python(tmp_path):
    """A new camera is a short TOML file; whole numbers stand for numbers."""
    instrument = load_instrument(write(tmp_path, MINIMAL))
    assert instrument.saturation.value == 60000.0
    assert instrument.time[0].keywords == ("DATE-OBS",)
    assert instrument.site_longitude_deg is None


def test_unknown_name_names_the_nearest():
    """A mistyped instrument is answered with the one that was meant."""
    with pytest.raises(ConfigError, match="did you mean phosim-eimage"):
        load_instrument("phosim_eimage")


def test_missing_file_is_named(tmp_path):
    """A path that is not there is an error of the settings."""
    with pytest.raises(ConfigError, match="no instrument description"):
        load_instrument(tmp_path / "nothing.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('bleed = "columns"', 'bled = "columns"', "unknown key bled; did you mean bleed"),
        ('keyword = "OBSNUM"', 'keyward = "OBSNUM"', r"\[visit\]: unknown key keyward; did you mean keyword"),
        ('keyword = "OBSNUM"', "", "exactly one of keyword, group, format"),
        ('keyword = "OBSNUM"', 'group = "visit"', "filename.pattern does not have"),
        ('keyword = "OBSNUM"', 'format = "{night}{run}"', "uses the group 'night'"),
        ('bleed = "columns"', 'bleed = "up"', "one of rows, columns, both, none"),
        ('name = "mine"', "", "missing name"),
        ('name = "mine"', "name = 7", "name = 7: expected text in quotes"),
        ("value = 0\n", "value = 300\n", "0 to 255"),
        ('value = 5, unit = "electron"', 'value = 5, unit = "electron/adu"', "read_noise must be in electron or adu"),
        ('value = 5, unit = "electron"', 'value = 5, keyword = "RN", unit = "adu"', "exactly one of value, keyword"),
        (
            'value = 5, unit = "electron"',
            'value = true, unit = "adu"',
            r"\[read_noise\] value = true: expected a number",
        ),
        ('value = 5, unit = "electron"', "value = 5", "missing unit"),
        ('format = "isot"', 'format = "date+time"', "needs 2 keyword"),
        ('scale = "utc"', 'scale = "local"', "one of utc, tai"),
        ('keywords = ["FILTER"]', 'keywords = "FILTER"', "expected a list"),
        ("[detector]", "[filename]\npattern = '('\n[detector]", "not a regular expression"),
        ("[detector]", "[filename]\npattern = 'a'\nsame_as = { run = 'RUN' }\n[detector]", "names the group 'run'"),
        ("[band]", "[band", "not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, message):
    """Whatever is wrong in a description, the message says where and what was expected."""
    assert old in MINIMAL
    with pytest.raises(ConfigError, match=message):
        load_instrument(write(tmp_path, MINIMAL.replace(old, new, 1)))
