"""Which image of a file is the exposure."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from make_fits import header, sky_image

from dbpipe.errors import DataError
from dbpipe.io.raw.image import read_raw
from dbpipe.io.raw.instrument import load_instrument

PHOSIM = load_instrument("phosim-eimage")


def write(path, *parts, primary=None):
    """Write images, (name, seed), behind a primary HDU that is empty or an image."""
    hdus = [fits.PrimaryHDU() if primary is None else fits.PrimaryHDU(sky_image(seed=primary), header())]
    hdus += [fits.ImageHDU(sky_image(seed=seed), header(), name=name) for name, seed in parts]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.fits"


@pytest.mark.parametrize(
    "parts",
    [[("WHT", 2), ("SCI", 1)],
     [("SCI", 1), ("ERR", 2), ("DQ", 3)], [("", 1), ("BPM_1", 2)], [("weight map", 2), ("CCD1", 1)],
     [("EXT1", 2), ("IMAGE", 1)], [("Mask", 2), ("VAR", 3), ("CHIP", 1)], [("", 1)]],
)  # fmt: skip
def test_maps_that_go_with_an_image_are_not_taken_for_it(path, parts):
    """Whatever the order, the image is used, and every other one is told."""
    raw = read_raw(write(path, *parts), PHOSIM)
    np.testing.assert_array_equal(raw.image, sky_image(seed=1))
    assert len(raw.notes) == len(parts) - 1
    for name, seed in parts:
        assert seed == 1 or any(name.upper() in note.split("left out")[0] for note in raw.notes)


def test_the_primary_image_goes_before_unnamed_ones(path):
    """What is in the first place is the image; the rest is told."""
    raw = read_raw(write(path, ("", 2), ("", 3), primary=1), PHOSIM)
    np.testing.assert_array_equal(raw.image, sky_image(seed=1))
    assert len(raw.notes) == 2


@pytest.mark.parametrize("parts", [[("CCD1", 1), ("CCD2", 2)], [("", 1), ("", 2)], [("SCI", 1), ("SCI", 2)]])
def test_images_of_equal_standing_are_refused_until_one_is_named(path, parts):
    """Two chips are not one, and the verdict names both; the description's hdu decides."""
    write(path, *parts)
    with pytest.raises(DataError, match="several images") as caught:
        read_raw(path, PHOSIM)
    assert [text[0] for text in caught.value.numbers["hdus"]] == ["1", "2"] and "hdu" in caught.value.numbers["needed"]
    raw = read_raw(path, replace(PHOSIM, hdu=2))
    np.testing.assert_array_equal(raw.image, sky_image(seed=2))
    assert raw.notes == ()


def test_a_name_in_the_description_means_one_image(path):
    """Upper and lower case are the same, a second image of the name is told, and a wrong name shows the right ones."""
    write(path, ("SCI", 1), ("SCI", 2), ("WHT", 3))
    assert len(read_raw(path, replace(PHOSIM, hdu="sci")).notes) == 1
    np.testing.assert_array_equal(read_raw(path, replace(PHOSIM, hdu="WHT")).image, sky_image(seed=3))
    with pytest.raises(DataError, match="in HDU SCY") as caught:
        read_raw(path, replace(PHOSIM, hdu="SCY"))
    assert caught.value.numbers["similar"] == ["SCI"]


def test_only_maps_are_no_image(path):
    """A weight map alone is refused, and can be asked for."""
    with pytest.raises(DataError, match="only images that go with another"):
        read_raw(write(path, ("WEIGHT", 1)), PHOSIM)


def test_axes_of_one_pixel_are_left_out(path):
    """A cube of one plane is an image, its third axis and what the WCS says of it no matter; a real cube is none."""
    more = {"CTYPE3": "FREQ", "CRVAL3": 1.4e9, "CRPIX3": 1.0, "CDELT3": 1e6, "CD3_3": 1e6, "WCSAXES": 3}
    fits.PrimaryHDU(sky_image()[None], header(**more)).writeto(path)
    raw = read_raw(path, PHOSIM)
    np.testing.assert_array_equal(raw.image, sky_image())
    assert raw.wcs.naxis == 2
    fits.PrimaryHDU(np.stack([sky_image()] * 2), header()).writeto(path, overwrite=True)
    with pytest.raises(DataError, match="no two-dimensional image") as caught:
        read_raw(path, PHOSIM)
    assert "64 x 48 x 2" in caught.value.numbers["hdus"][0]


@pytest.mark.parametrize(("inherit", "is_fine"), [(True, True), (None, True), (False, False)])
def test_the_primary_header_goes_on_unless_it_is_disowned(path, inherit, is_fine):
    """INHERIT = F means what it says."""
    primary = fits.PrimaryHDU(header=fits.Header([("EXPTIME", 30.0)]))
    fits.HDUList([primary, fits.ImageHDU(sky_image(), header(EXPTIME=None, INHERIT=inherit))]).writeto(path)
    if is_fine:
        assert read_raw(path, PHOSIM).exposure_s == 30.0
    else:
        with pytest.raises(DataError, match="EXPTIME is missing"):
            read_raw(path, PHOSIM)


def test_bytes_behind_the_last_part_are_told(path):
    """Padding of tapes is nothing; anything else is."""
    write(path, primary=1)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(2880))
    assert read_raw(path, PHOSIM).notes == ()
    path.write_bytes(whole + b"trailer")
    assert read_raw(path, PHOSIM).notes == ("7 bytes after the last HDU were not read",)
