"""Named planes in a file: the same in, the same out, the same bytes."""

import numpy as np
import pytest

from dbpipe.errors import DataError
from dbpipe.io.planes import Planes, read_planes, read_window
from dbpipe.sky.wcs import pixel_to_sky, tan_wcs


@pytest.fixture
def product():
    """An image with all kinds of planes, one of them a stack of bit planes and one of another size."""
    rng = np.random.default_rng(1)
    arrays = {
        "IMAGE": rng.normal(size=(30, 40)).astype(np.float32),
        "MASK": rng.integers(0, 2**16, (30, 40)).astype(np.uint16),
        "USED": rng.integers(-(2**31), 2**31, (2, 30, 40)).astype(np.int32),
        "NOISE": rng.normal(size=(5, 5)).astype(np.float32),
    }
    wcs = tan_wcs(150.0, 2.0, crpix=(20, 15), cd=np.diag([-5e-5, 5e-5]))
    return Planes(arrays, wcs, {"X0": -12, "BUNIT": "nJy", "PSFFWHM": 4.85})


def test_planes_come_back_as_they_were(tmp_path, product):
    """Values, types, metadata and WCS survive the file."""
    product.write(tmp_path / "a.fits")
    back = read_planes(tmp_path / "a.fits", list(product.arrays))
    for name, array in product.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
        assert back.arrays[name].dtype == array.dtype and back.arrays[name].dtype.isnative
    assert {key: back.metadata[key] for key in product.metadata} == product.metadata
    np.testing.assert_allclose(pixel_to_sky(back.wcs, 3.0, 4.0), pixel_to_sky(product.wcs, 3.0, 4.0), atol=1e-12)


def test_the_same_planes_are_the_same_bytes(tmp_path, product):
    """Writing twice gives one content: no date, no version."""
    for name in "ab":
        product.write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_window_is_a_part_of_every_plane(tmp_path, product):
    """A window cuts the last two axes, of images and of stacks of them."""
    product.write(tmp_path / "a.fits")
    window = (slice(5, 12), slice(30, 40))
    part = read_window(tmp_path / "a.fits", ["IMAGE", "MASK", "USED"], window)
    for name, array in part.items():
        np.testing.assert_array_equal(array, product.arrays[name][..., *window])
        assert array.dtype == product.arrays[name].dtype


def test_what_cannot_be_read_is_an_error_of_the_unit(tmp_path, product):
    """A missing file, a missing plane and a file that is none are DataErrors that name the file."""
    product.write(tmp_path / "a.fits")
    (tmp_path / "text.fits").write_text("no image")
    for name, plane in (("none.fits", "IMAGE"), ("a.fits", "VARIANCE"), ("text.fits", "IMAGE")):
        with pytest.raises(DataError) as error:
            read_planes(tmp_path / name, [plane])
        assert name in error.value.numbers["path"]
