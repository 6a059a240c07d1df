"""Reading raw images."""

import gzip
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from make_fits import NAME, header, sky_image, write_eimage

from dbpipe.errors import DataError
from dbpipe.io.raw.image import read_raw
from dbpipe.io.raw.instrument import Quantity, load_instrument

PHOSIM = load_instrument("phosim-eimage")


def in_adu(gain, **changes):
    """Return the test instrument with pixels in ADU."""
    return replace(PHOSIM, pixel_unit="adu", gain=Quantity("electron/adu", value=gain), **changes)


def refusal(path, instrument=PHOSIM):
    """Read a file that must be refused and return the verdict."""
    with pytest.raises(DataError) as caught:
        read_raw(path, instrument)
    return caught.value


@pytest.mark.parametrize("name", [NAME, NAME + ".gz"])
def test_electrons_come_out_as_they_went_in(tmp_path, name):
    """Plain or compressed, an eimage keeps every value and its header facts."""
    raw = read_raw(write_eimage(tmp_path, name=name), PHOSIM)
    np.testing.assert_array_equal(raw.image, sky_image())
    assert raw.image.dtype == np.float32
    assert raw.image.dtype.isnative
    assert (raw.visit, raw.detector, raw.detector_name, raw.band) == (1234, 94, "R22_S11", "r")
    assert not raw.bad.any()
    assert raw.size_byte == (tmp_path / name).stat().st_size


def test_image_may_be_in_a_tile_compressed_extension(tmp_path):
    """An .fz file has the image in HDU 1; keywords that are only in the primary header still count."""
    whole = np.round(sky_image()).astype(np.int16)
    cards = header(EXPTIME=None)
    primary = fits.PrimaryHDU(header=fits.Header([("EXPTIME", 30.0)]))
    path = tmp_path / "lsst_e_1234_f2_R22_S11_E000.fits.fz"
    fits.HDUList([primary, fits.CompImageHDU(whole, cards, name="SCI")]).writeto(path)
    for hdu in (None, 1, "SCI"):
        raw = read_raw(path, replace(PHOSIM, hdu=hdu))
        np.testing.assert_array_equal(raw.image, whole)
        assert raw.exposure_s == 30.0
    assert "HDU OTHER" in refusal(path, replace(PHOSIM, hdu="OTHER")).message


def test_unsigned_integers_scale_with_the_gain(tmp_path):
    """16-bit ADU become electrons; the saturation level is compared before the scaling, so clipped pixels count."""
    image = np.round(sky_image()).astype(np.uint16)
    image[10, 20:23] = 65300
    image[11, 20] = 65299
    instrument = in_adu(1.9, saturation=Quantity("adu", value=65300.0))
    raw = read_raw(write_eimage(tmp_path, image=image), instrument)
    np.testing.assert_allclose(raw.image, 1.9 * image.astype(float), rtol=1e-6)
    assert raw.saturated.sum() == 3
    assert raw.saturated[10, 20:23].all()


def test_bad_pixels_are_masked_and_finite(tmp_path):
    """NaN, infinity, listed values and values below the limit are bad; the image has no NaN left to spread."""
    image = sky_image()
    image[0, :5] = np.nan
    image[1, :3] = [np.inf, -np.inf, 0.0]
    image[2, :2] = [65535.0, 50.0]
    instrument = replace(PHOSIM, bad_values=(0.0, 65535.0), bad_below=100.0)
    raw = read_raw(write_eimage(tmp_path, image=image), instrument)
    assert raw.bad.sum() == 10
    assert raw.bad[0, :5].all() and raw.bad[1, :3].all() and raw.bad[2, :2].all()
    assert np.isfinite(raw.image).all()
    assert raw.sky_e == np.median(image[~raw.bad])
    assert not raw.saturated.any()


def test_trimming_keeps_stars_where_they_are_on_the_sky(tmp_path):
    """A section moves the pixel origin and nothing else, SIP terms included."""
    sip = {
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE2": "DEC--TAN-SIP",
        "A_ORDER": 2,
        "B_ORDER": 2,
        "A_2_0": 1e-4,
        "B_1_1": -2e-4,
    }
    path = write_eimage(tmp_path, BIASSEC="[5:60,3:40]", **sip)
    whole = read_raw(path, PHOSIM)
    for trim in ("[5:60,3:40]", "BIASSEC"):
        part = read_raw(path, replace(PHOSIM, trim=trim))
        assert part.image.shape == (38, 56)
        np.testing.assert_array_equal(part.image, whole.image[2:40, 4:60])
        here, there = part.wcs.all_pix2world([[10.0, 20.0]], 0), whole.wcs.all_pix2world([[14.0, 22.0]], 0)
        np.testing.assert_allclose(here, there, rtol=0, atol=1e-12)
    assert "trim section" in refusal(path, replace(PHOSIM, trim="[1:999,1:10]")).message
    assert "TRIMSEX is missing" in refusal(path, replace(PHOSIM, trim="TRIMSEX")).message


def test_either_way_to_write_a_rotation_is_understood(tmp_path):
    """CDELT with CROTA2 and a CD matrix of the same rotation put a pixel at the same place."""
    angle, scale = np.radians(30.0), 5.5e-5
    rotated = {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None,
               "CDELT1": -scale, "CDELT2": scale, "CROTA2": 30.0}  # fmt: skip
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    matrix = {"CD1_1": -c, "CD1_2": -s, "CD2_1": -s, "CD2_2": c}
    places = [
        read_raw(write_eimage(tmp_path, **cards), PHOSIM).wcs.all_pix2world([[3.0, 40.0]], 0)
        for cards in (rotated, matrix)
    ]
    np.testing.assert_allclose(places[0], places[1], rtol=0, atol=1e-11)


def test_damaged_files_are_verdicts(tmp_path):
    """Cut, empty, foreign and missing files are refused one by one; none of them stops a run or prints a word."""
    good = write_eimage(tmp_path, name="good.fits").read_bytes()
    packed = gzip.compress(good, mtime=0)
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 0xFF
    damaged = {
        "cut.fits": good[: len(good) // 2], "cut_header.fits": good[:3000], "cut.fits.gz": packed[: len(packed) // 2],
        "flipped.fits.gz": bytes(flipped), "magic.fits.gz": b"\x1f\x8b\x08", "empty.fits": b"", "bz.fits": b"BZh9rest",
        "text.fits": b"this is a note\n" * 500, "card.fits": good.replace(b"NAXIS1  =   ", b"NAXIS1  = x ", 1),
        "zeros.fits": bytes(5760),
    }  # fmt: skip
    for name, content in damaged.items():
        path = tmp_path / name
        path.write_bytes(content)
        verdict = refusal(path)
        assert verdict.message == "file is not readable FITS", name
        assert verdict.numbers["size_byte"] == len(content)
        assert verdict.numbers["problem"]
    assert refusal(tmp_path / "nothing.fits").message == "file cannot be read"
    assert refusal(tmp_path).message == "file cannot be read"


def test_damaged_tile_compression_is_a_verdict(tmp_path):
    """Whatever byte of an .fz file is wrong, reading it gives an image or a verdict."""
    path = tmp_path / "tiles.fits.fz"
    whole = np.round(sky_image()).astype(np.int16)
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(whole, header())]).writeto(path)
    good = path.read_bytes()
    rng = np.random.default_rng(3)
    for position in rng.integers(2880, len(good), 40):
        damaged = bytearray(good)
        damaged[position : position + 8] = rng.bytes(8)
        path.write_bytes(bytes(damaged))
        try:
            read_raw(path, PHOSIM)
        except DataError as error:
            assert error.message


def test_file_without_an_image_is_refused(tmp_path):
    """A table or a cube is no image."""
    table = fits.BinTableHDU.from_columns([fits.Column("x", "D", array=np.arange(3.0))])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    assert refusal(tmp_path / "table.fits").message == "file has no two-dimensional image"
    fits.PrimaryHDU(np.zeros((3, 4, 5), np.float32)).writeto(tmp_path / "cube.fits")
    assert refusal(tmp_path / "cube.fits").message == "file has no two-dimensional image"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CTYPE1": None, "CTYPE2": None}, "header has no WCS"),
        ({"CTYPE1": "LINEAR", "CTYPE2": "LINEAR"}, "no usable celestial WCS"),
        ({"CTYPE1": "RA---TAN", "CTYPE2": "RA---TAN"}, "WCS of the header cannot be used"),
        ({"CD1_1": 0.0, "CD2_2": 0.0}, "pixel scale of the header WCS is absurd"),
        ({"CD1_1": None, "CD2_2": None, "CD1_2": None, "CD2_1": None}, "pixel scale of the header WCS is absurd"),
        ({"CD2_2": 0.0}, "pixel scale of the header WCS is absurd"),
        ({"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "RADESYS": None}, "neither ICRS nor FK5 J2000"),
        ({"RADESYS": "FK5", "EQUINOX": 1950.0}, "neither ICRS nor FK5 J2000"),
        ({"RADESYS": "FK4", "EQUINOX": 1950.0}, "neither ICRS nor FK5 J2000"),
        ({"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"}, "axes are swapped"),
    ],
)
def test_wcs_that_cannot_be_used_is_refused(tmp_path, changes, message):
    """No WCS, a singular one, or one of another frame gets a verdict."""
    with pytest.raises(DataError, match=message):
        read_raw(write_eimage(tmp_path, **changes), PHOSIM)


def test_image_without_one_good_pixel_is_refused(tmp_path):
    """All NaN is no image."""
    image = np.full((48, 64), np.nan, np.float32)
    assert refusal(write_eimage(tmp_path, image=image)).message == "no pixel is usable"


def test_input_is_not_talkative(tmp_path, capfd):
    """Old-fashioned headers (SIP without the suffix, dates that need fixing) are read in silence."""
    path = write_eimage(tmp_path, A_ORDER=2, B_ORDER=2, A_2_0=1e-5, B_0_2=1e-5, DATE__OBS="2000-01-01T11:58:55.816")
    read_raw(path, PHOSIM)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("instrument", "pattern", "n_file", "expected"),
    [
        ("phosim-eimage", "sim_small/raw/*.fits.gz", 16, {"exposure_s": 30.0, "detector_name": "R22_S11"}),
        ("phosim-eimage", "lsst_sim_frames/phosim_eimage/*.fits.gz", 2, {"visit": 9006001, "band": "g"}),
        ("saao-ste3", "saao_mb13475/with_wcs/*.fits.gz", 27, {"gain": 1.9, "read_noise_e": 5.0, "band": "I"}),
        ("nickel", "nickel_kalliope/reduced/*.fits.gz", 10, {"night": 20170302, "saturation_e": 104000.0, "band": "R"}),
        ("rise", "rise_lhs3250/*.fits.gz", 6, {"gain": 2.4, "night": 20200830, "band": "og515+kg5"}),
    ],
)
def test_real_frames_are_understood(shared_data, instrument, pattern, n_file, expected):
    """Every frame of every camera is read with its own description, and its ids are its own."""
    paths = sorted(shared_data.glob(pattern))
    raws = [read_raw(path, load_instrument(instrument)) for path in paths]
    assert len(raws) == n_file
    assert len({(raw.visit, raw.detector) for raw in raws}) == n_file
    for raw in raws:
        assert {key: getattr(raw, key) for key in expected} == expected
        assert 0.0 <= raw.bad.mean() < 0.06
        assert isinstance(raw.wcs, WCS)


def test_real_phosim_clock(shared_data):
    """New phosim files: MJD-OBS is UTC, 32 s behind the TAI card in 2000; the midpoint follows TAI."""
    path = shared_data / "lsst_sim_frames/phosim_eimage/lsst_e_9006001_f1_R22_S22_E000.fits.gz"
    raw = read_raw(path, load_instrument("phosim-eimage"))
    assert raw.midpoint_mjd_tai == pytest.approx(51591.0938925833 + 0.5 / 86400, abs=1e-9)
    assert (raw.midpoint_mjd_tai - 51591.093522213) * 86400 == pytest.approx(32.0 + 0.5, abs=1e-3)


def test_frames_of_another_kind_are_refused(shared_data):
    """Unreduced frames, amplifier images and frames without a WCS do not pass for what they resemble."""
    cases = {
        "nickel_kalliope/science_kalliope": ("nickel", "keyword BUNIT is missing"),
        "lsst_sim_frames/imsim_amp_raw": ("phosim-eimage", "not an image of phosim-eimage"),
        "lsst_sim_frames/phosim_raw_obs_test": ("phosim-eimage", "not an image of|no two-dimensional image"),
        "saao_mb13475/frames": ("saao-ste3", "header has no WCS"),
    }
    for folder, (instrument, message) in cases.items():
        for path in sorted((shared_data / folder).glob("*.fits.gz"))[:4]:
            with pytest.raises(DataError, match=message):
                read_raw(path, load_instrument(instrument))
