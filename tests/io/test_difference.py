"""Difference images on disk."""

import numpy as np
import pytest

from dbpipe.errors import DataError
from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.io.difference import Difference, read_difference
from dbpipe.io.exposure import Exposure
from dbpipe.sky.wcs import pixel_to_sky, tan_wcs

SHAPE = (30, 40)


@pytest.fixture
def difference(tmp_path, monkeypatch):
    """A difference image whose science image lies beside it."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    images = rng.normal(size=(6, *SHAPE)).astype(np.float32)
    mask = rng.integers(0, 128, SHAPE).astype(np.uint16)
    wcs = tan_wcs(150.0, 2.0, crpix=(20, 15), cd=np.diag([-5e-5, 5e-5]))
    psf = PsfModel(np.full((1, 3, 3), 1 / 9), SHAPE, 0)
    Exposure(images[4], images[5], mask, wcs, psf).write("calexp.fits")
    field = KernelField(rng.random((1, 2, 5, 5)).astype(np.float32), 32)
    return Difference(*images[:2], mask, images[2], images[3], field, wcs, {"CALEXP": "calexp.fits"}, images[4], psf)


def test_a_difference_comes_back_with_its_science_image(difference):
    """All planes, the PSF field, the WCS, and image and PSF of the science side."""
    difference.write("d.fits")
    back = read_difference("d.fits")
    for name in ("difference", "variance", "mask", "score", "template", "science"):
        np.testing.assert_array_equal(getattr(back, name), getattr(difference, name))
    np.testing.assert_array_equal(back.psf_field.kernels, difference.psf_field.kernels)
    assert back.psf_field.block_pix == 32
    np.testing.assert_array_equal(back.science_psf.at(20, 15), difference.science_psf.at(20, 15))
    np.testing.assert_allclose(pixel_to_sky(back.wcs, 1, 2), pixel_to_sky(difference.wcs, 1, 2), atol=1e-12)


def test_without_its_science_image_it_cannot_be_read(difference):
    """The error of the unit names the file that is gone."""
    Difference(**(vars(difference) | {"metadata": {"CALEXP": "gone.fits"}})).write("d.fits")
    with pytest.raises(DataError) as error:
        read_difference("d.fits")
    assert "gone.fits" in error.value.numbers["path"]
