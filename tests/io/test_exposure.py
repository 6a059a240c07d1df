"""Exposures on disk."""

import hashlib
import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from dbpipe.errors import DataError
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.io.exposure import Exposure, read_exposure, wcs_from_text, wcs_to_text

METADATA = {
    "NJYPERE": 1 / 3,
    "BAND": "r",
    "NOTE": "it's " + "long " * 40 + "text",
    "N_STAR": 12,
    "OK": True,
    "TINY": 1.2345678901234567e-300,
}


def make_wcs(*, seed=5):
    """Return a TAN-SIP WCS whose numbers use every bit of a double."""
    rng = np.random.default_rng(seed)
    cards = {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "CRPIX1": 512 + rng.normal(), "CRPIX2": rng.normal(),
             "CRVAL1": 360 * rng.random(), "CRVAL2": rng.normal(), "CD1_1": -5e-5 * rng.random(), "RADESYS": "ICRS",
             "CD1_2": 1e-6 * rng.normal(), "CD2_1": 1e-6 * rng.normal(), "CD2_2": 5e-5 * rng.random(),
             "CUNIT1": "deg", "CUNIT2": "deg"}  # fmt: skip
    for letters in ("A", "B", "AP", "BP"):
        cards[f"{letters}_ORDER"] = 3
        for i in range(4):
            cards |= {f"{letters}_{i}_{j}": 1e-7 * rng.normal() / 10 ** (i + j) for j in range(4 - i)}
    header = fits.Header()
    for key, value in cards.items():
        text = repr(value) if isinstance(value, str) else repr(float(value)).upper()
        header.append(fits.Card.fromstring(f"{key:<8}= {text}".ljust(80)))
    return WCS(header)


def make_exposure(*, shape=(33, 47), seed=1, psf=True):
    """Return an exposure of random numbers."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=shape).astype(np.float32)
    mask = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    model = PsfModel(rng.random((3, 5, 5)), shape, 1) if psf else None
    return Exposure(image, image**2, mask, make_wcs(), model, dict(METADATA))


def test_everything_comes_back_bit_for_bit(tmp_path):
    """Pixels, mask bits, PSF, metadata and sky positions are the same after writing and reading."""
    exposure = make_exposure()
    exposure.write(tmp_path / "a.fits")
    back = read_exposure(tmp_path / "a.fits")
    for name in ("image", "variance", "mask"):
        plane = getattr(back, name)
        np.testing.assert_array_equal(plane, getattr(exposure, name))
        assert plane.dtype == getattr(exposure, name).dtype
        assert plane.dtype.isnative and plane.flags.writeable
    assert back.metadata == METADATA
    assert {k: type(v) for k, v in back.metadata.items()} == {k: type(v) for k, v in METADATA.items()}
    np.testing.assert_array_equal(back.psf.basis, exposure.psf.basis)
    assert (back.psf.degree, back.psf.shape) == (1, (33, 47))
    x = np.random.default_rng(2).uniform(0, 40, (50, 2))
    np.testing.assert_array_equal(back.wcs.all_pix2world(x, 0), exposure.wcs.all_pix2world(x, 0))
    assert back.wcs.array_shape == (33, 47)


def test_not_a_number_is_written_as_it_is(tmp_path):
    """The file holds what it was given: NaN and infinity survive."""
    exposure = make_exposure(psf=False)
    exposure.image[0, :2] = [np.nan, np.inf]
    exposure.write(tmp_path / "a.fits")
    back = read_exposure(tmp_path / "a.fits", planes=("image",))
    np.testing.assert_array_equal(back.image, exposure.image)
    assert back.variance is None and back.mask is None and back.psf is None


def test_same_exposure_same_bytes(tmp_path):
    """Nothing in the file depends on when or where it was written."""
    for name in ("a.fits", "b.fits"):
        make_exposure().write(tmp_path / name)
        time.sleep(0.01)
    hashes = {hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("a.fits", "b.fits")}
    assert len(hashes) == 1


def test_file_is_standard_fits(tmp_path):
    """astropy, which knows nothing of dbpipe, finds valid HDUs with the same pixels."""
    exposure = make_exposure()
    exposure.write(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", memmap=False) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "IMAGE", "VARIANCE", "MASK", "PSF"]
        np.testing.assert_array_equal(hdus["IMAGE"].data, exposure.image)
        np.testing.assert_array_equal(hdus["MASK"].data, exposure.mask)
        assert hdus["MASK"].header["MP_SATUR"] == 2
        x = [[3.0, 4.0]]
        np.testing.assert_array_equal(WCS(hdus["MASK"].header).all_pix2world(x, 0), exposure.wcs.all_pix2world(x, 0))
    assert (tmp_path / "a.fits").stat().st_size % 2880 == 0
    with fits.open(tmp_path / "a.fits", memmap=True) as hdus:
        np.testing.assert_array_equal(hdus["IMAGE"].section[3:5, 7:9], exposure.image[3:5, 7:9])  # mapped


def test_wcs_text_is_exact():
    """A WCS that went through text gives the same sky, bit for bit, and the same text again."""
    x = np.random.default_rng(2).uniform(0, 1000, (200, 2))
    for seed in range(20):
        wcs = make_wcs(seed=seed)
        back = wcs_from_text(wcs_to_text(wcs))
        np.testing.assert_array_equal(back.all_pix2world(x, 0), wcs.all_pix2world(x, 0))
        np.testing.assert_array_equal(back.sip.ap, wcs.sip.ap)
        assert wcs_to_text(back) == wcs_to_text(wcs)


def test_wcs_text_keeps_other_ways_to_write_a_wcs():
    """CDELT with PC and the PV terms of a projection are kept; a SIP without its suffix gets it."""
    cards = {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "CRPIX1": 9.5, "CRPIX2": 7.25, "CRVAL1": 10.1, "CRVAL2": -70.3,
             "CDELT1": -1e-4, "CDELT2": 1e-4, "PC1_1": 0.8, "PC1_2": -0.6, "PC2_1": 0.6, "PC2_2": 0.8,
             "PV2_1": 1.0, "PV2_3": 40.0}  # fmt: skip
    wcs, x = WCS(fits.Header(cards)), [[100.0, 300.0]]
    np.testing.assert_allclose(wcs_from_text(wcs_to_text(wcs)).all_pix2world(x, 0), wcs.all_pix2world(x, 0), rtol=1e-14)
    plain = make_wcs()
    plain.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    assert "'RA---TAN-SIP'" in wcs_to_text(plain)


def test_wcs_that_text_would_change_is_refused():
    """TPV terms hide inside wcslib: rather than lose them, writing says no."""
    cards = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "CRVAL1": 10.1, "CRVAL2": -70.3, "CDELT1": -1e-4,
             "CDELT2": 1e-4, "PV1_1": 1.0, "PV1_4": 1e-4, "PV2_1": 1.0}  # fmt: skip
    with pytest.raises(ValueError, match="TPV"):
        wcs_to_text(WCS(fits.Header(cards)))


@pytest.mark.parametrize(
    "metadata",
    [{"lower": 1}, {"TOO_LONG_A": 1}, {"NAXIS": 2}, {"BAD": float("nan")}, {"BAD": float("inf")}, {"BAD": None}],
)
def test_metadata_that_fits_cannot_hold_is_refused(tmp_path, metadata):
    """Keywords and numbers that would be lost or damaged in a header are a mistake of the caller."""
    e = make_exposure()
    with pytest.raises(ValueError, match="cannot"):
        Exposure(e.image, e.variance, e.mask, e.wcs, None, metadata).write(tmp_path / "a.fits")


def test_planes_of_different_shape_are_refused(tmp_path):
    """Image, variance and mask describe the same pixels."""
    e = make_exposure()
    with pytest.raises(ValueError, match="variance has shape"):
        Exposure(e.image, e.variance[1:], e.mask, e.wcs).write(tmp_path / "a.fits")


def test_damaged_exposure_is_a_verdict(tmp_path):
    """A product that was cut, emptied or deleted is refused with its path; an exposure is never half read."""
    path = tmp_path / "a.fits"
    make_exposure().write(path)
    good = path.read_bytes()
    for content in (good[: len(good) // 2], good[:5000], good[:100], b"", b"text" * 1000):
        path.write_bytes(content)
        with pytest.raises(DataError, match="exposure cannot be read") as caught:
            read_exposure(path)
        assert caught.value.numbers["path"] == str(path)
    path.unlink()
    with pytest.raises(DataError, match="exposure cannot be read"):
        read_exposure(path)
