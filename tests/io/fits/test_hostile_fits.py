"""Files that are not what they say: each one is read or gets a verdict, in little time and memory."""

import bz2
import functools
import gzip
import io
import os
import resource
import threading

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_fits import NAME, header, sky_image, write_eimage

from dbpipe.errors import DataError, TransientError
from dbpipe.io.fits.cards import CARD_BYTE
from dbpipe.io.raw.image import read_raw
from dbpipe.io.raw.instrument import load_instrument

PHOSIM = load_instrument("phosim-eimage")
VALUES = ["0", "-1", "1", "2", "3", "999", "2147483648", "9223372036854775808", "1" * 60, "1E400", "NaN", "12,5",
          "T", "'64'", "64.0", "'", "", "---", "-01:12:13", "true", "5 garbage", "(1.0, 2.0)",
          "/", "'a' 'b'", "1D308"]  # fmt: skip
KEYWORDS = """
    SIMPLE BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 EXTEND PCOUNT GCOUNT GROUPS BSCALE BZERO BLANK DATASUM CHECKSUM INHERIT
    EXTNAME CTYPE1 CTYPE2 CUNIT1 CRVAL1 CRVAL2 CRPIX1 CD1_1 CD2_2 PC1_1 CDELT1 CROTA2 PV1_1 A_ORDER B_ORDER A_2_0
    RADESYS EQUINOX EPOCH LONPOLE LATPOLE WCSAXES CPDIS1 OBSID TAI MJD-OBS TIMESYS EXPTIME FILTER FILTNM AIRMASS
    CHIPID XTENSION TFIELDS TFORM1 THEAP ZIMAGE ZBITPIX ZNAXIS ZNAXIS1 ZNAXIS2 ZTILE1 ZTILE2 ZCMPTYPE ZNAME1 ZVAL1
    ZVAL2 ZBLANK ZQUANTIZ ZSCALE ZZERO CCDTEMP
""".split()
QUICK = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@functools.cache
def plain(kind):
    """Return the bytes of a good file: plain, or with compressed tiles, or in an extension."""
    whole = np.round(sky_image()).astype(np.int16)
    hdus = {
        "plain": [fits.PrimaryHDU(sky_image(), header())],
        "unsigned": [fits.PrimaryHDU(whole.astype(np.uint16), header())],
        "extension": [fits.PrimaryHDU(), fits.ImageHDU(sky_image(), header(), name="SCI")],
        "tiles": [fits.PrimaryHDU(), fits.CompImageHDU(whole, header())],
        "float tiles": [fits.PrimaryHDU(), fits.CompImageHDU(sky_image() * 1.1, header(), compression_type="GZIP_2")],
    }[kind]
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer, checksum=kind == "extension")
    return buffer.getvalue()


def with_card(content, keyword, value):
    """Return a file in which every card of a keyword, or one that says nothing, is another one."""
    card = f"{keyword:<8}= {value:>20}"[:CARD_BYTE].ljust(CARD_BYTE).encode("latin-1")
    changed, found = bytearray(content), False
    for at in range(0, len(content), CARD_BYTE):
        if content[at : at + 10] == f"{keyword:<8}= ".encode():
            changed[at : at + CARD_BYTE], found = card, True
    if not found:
        end = content.rindex(b"END" + b" " * 77)
        changed[end : end + CARD_BYTE] = card
        changed[end + CARD_BYTE : end + 2 * CARD_BYTE] = b"END".ljust(CARD_BYTE)
    return bytes(changed)


def judge(path, content):
    """Write and read a file: whatever is not a DataError is a failure of the test."""
    path.write_bytes(content)
    try:
        raw = read_raw(path, PHOSIM, max_mib=50.0)
    except DataError as error:
        assert error.message and "\n" not in error.message
        return error
    assert np.isfinite(raw.image).all() and np.isfinite(raw.midpoint_mjd_tai)
    return raw


@QUICK
@given(
    kind=st.sampled_from(["plain", "unsigned", "extension", "tiles", "float tiles"]),
    keyword=st.sampled_from(KEYWORDS),
    value=st.one_of(st.sampled_from(VALUES), st.text("0123456789.-+ETF' ,:/abcé\x00\x1b", max_size=20)),
)
def test_any_value_of_any_card_is_read_or_refused(tmp_path, kind, keyword, value):
    """No card can do worse than have its file refused."""
    judge(tmp_path / NAME, with_card(plain(kind), keyword, value))


@QUICK
@given(
    kind=st.sampled_from(["plain", "unsigned", "extension", "tiles", "float tiles"]),
    cut=st.floats(0.0, 1.0),
    at=st.floats(0.0, 1.0),
    noise=st.binary(max_size=100),
    pack=st.sampled_from([bytes, gzip.compress, bz2.compress]),
    is_packed_first=st.booleans(),
)
def test_any_damage_is_read_or_refused(tmp_path, kind, cut, at, noise, pack, is_packed_first):
    """Cut anywhere, bytes changed anywhere, before packing or after it: an image or a verdict."""
    content = pack(plain(kind)) if is_packed_first else plain(kind)
    place = int(at * len(content))
    content = (content[:place] + noise + content[place + len(noise) :])[: int((0.5 + cut) * len(content))]
    judge(tmp_path / NAME, content if is_packed_first else pack(content))


@pytest.mark.parametrize(
    "card",
    [
        "NaN / chip temperature",
        "12,5",
        "---",
        "-01:12:13",
        "true",
        "'no end",
        "1E400",
        "\x01\x02",
        "'é'",
        "1.2.3",
        "0x1F",
    ],
)
def test_a_card_that_nobody_needs_refuses_no_frame(tmp_path, card):
    """Whatever stands in it; and whoever needs it shows it."""
    good = judge(tmp_path / NAME, plain("plain"))
    odd = judge(tmp_path / NAME, with_card(plain("plain"), "CCDTEMP", card))
    np.testing.assert_array_equal(odd.image, good.image)
    verdict = judge(tmp_path / NAME, with_card(plain("plain"), "EXPTIME", card))
    assert verdict.message.startswith(("EXPTIME is needed", "keyword EXPTIME is not a number"))
    assert verdict.numbers.get("card", "EXPTIME").startswith("EXPTIME") and verdict.numbers["needed"]
    assert str(verdict.numbers).isprintable()


@pytest.mark.parametrize("card", ["EXPTIME =30.0", "EXPTIME= 30.0", "  EXPTIME = 30.0"])
def test_a_value_indicator_in_the_wrong_place_is_no_missing_card(tmp_path, card):
    """The card is shown, instead of a claim that there is none."""
    content = with_card(plain("plain"), "EXPTIME", "x")
    at = content.index(b"EXPTIME = ")
    changed = content[:at] + card.encode().ljust(CARD_BYTE) + content[at + CARD_BYTE :]
    assert judge(tmp_path / NAME, changed).numbers["card"] == card


@pytest.mark.parametrize("card", ["EXPTIME =", "EXPTIME =       / seconds", "EXPTIME   30.0"])
def test_a_card_without_a_value_is_no_missing_card(tmp_path, card):
    """The verdict says that there is no value, not that there is no such keyword."""
    content = with_card(plain("plain"), "EXPTIME", "x")
    at = content.index(b"EXPTIME = ")
    changed = content[:at] + card.encode().ljust(CARD_BYTE) + content[at + CARD_BYTE :]
    assert judge(tmp_path / NAME, changed).message == "the card of keyword EXPTIME has no value"


def test_what_lies_behind_the_pixels_is_told(tmp_path):
    """A size in the header that is too small for the data shows in the bytes that are left, padding included."""
    content = with_card(plain("plain"), "NAXIS1", "63")
    assert "bytes after the last HDU were not read" in judge(tmp_path / NAME, content).notes[0]
    assert judge(tmp_path / NAME, plain("plain")).notes == ()


def test_long_text_goes_on_and_other_words_are_commentary(tmp_path):
    """CONTINUE is put together; HIERARCH has a keyword of its own; cards after END are none."""
    cards = header()
    cards["FILTER"] = "r" + 80 * " " + "x"
    cards["HIERARCH ESO DET ID"] = 5
    path = tmp_path / NAME
    fits.PrimaryHDU(sky_image(), cards).writeto(path)
    with pytest.raises(DataError, match="filter disagrees") as caught:
        read_raw(path, PHOSIM)
    assert caught.value.numbers["found"]["FILTER"] == "r" + 80 * " " + "x"


def test_repeated_cards_must_agree(tmp_path):
    """The same value twice is one value; two values are shown to whoever needs them."""
    for value, is_fine in ((30.0, True), (60.0, False)):
        cards = header()
        cards.append(("EXPTIME", value), end=True)
        fits.PrimaryHDU(sky_image(), cards).writeto(tmp_path / NAME, overwrite=True)
        found = judge(tmp_path / NAME, (tmp_path / NAME).read_bytes())
        assert (found.exposure_s == 30.0) if is_fine else "several values" in found.message


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("NAXIS1", "9223372036854775808"), ("NAXIS2", "2147483648"), ("NAXIS", "2147483648"), ("BITPIX", "12"),
     ("NAXIS1", "-64"), ("NAXIS1", "'64'"), ("NAXIS1", "64.0"), ("GCOUNT", "1000000000000")],
)  # fmt: skip
def test_a_size_that_cannot_be_is_named(tmp_path, keyword, value):
    """The verdict on a structure that cannot be followed says which card it was, or which sizes."""
    verdict = judge(tmp_path / NAME, with_card(plain("plain"), keyword, value))
    assert verdict.message == "file is not readable FITS"
    assert keyword in verdict.numbers["problem"] or verdict.numbers["needed_byte"] > verdict.numbers["found_byte"]


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("ZNAXIS1", "2147483647"), ("ZTILE1", "0"), ("ZTILE1", "2147483647"), ("ZBITPIX", "7"), ("TFIELDS", "1" * 60)],
)
def test_tiles_that_do_not_fit_are_named(tmp_path, keyword, value):
    """Nothing is allocated for tiles that are not there."""
    verdict = judge(tmp_path / NAME, with_card(plain("tiles"), keyword, value))
    assert keyword in verdict.numbers.get("problem", "") or verdict.numbers["max_file_mib"] == 50.0


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_an_archive_is_unpacked_up_to_the_limit(tmp_path, pack):
    """A small archive of many zeros is refused, having used no more memory than the limit allows."""
    path = tmp_path / NAME
    path.write_bytes(b"".join(pack(bytes(2**24)) for _ in range(40)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="unpacked file is too large") as caught:
        read_raw(path, PHOSIM, max_mib=40.0)
    assert caught.value.numbers["max_file_mib"] == 40.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


def test_a_tile_is_unpacked_up_to_its_pixels(tmp_path):
    """A tile that holds more than its pixels is refused before it is unpacked."""
    bomb = gzip.compress(bytes(2**24))
    column = fits.Column("COMPRESSED_DATA", "1PB()", array=np.array([np.frombuffer(bomb, np.uint8)], dtype=object))
    table = fits.BinTableHDU.from_columns([column], header=header())
    cards = {"ZIMAGE": True, "ZBITPIX": 16, "ZNAXIS": 2, "ZNAXIS1": 64, "ZNAXIS2": 48, "ZTILE1": 64, "ZTILE2": 48,
             "ZCMPTYPE": "GZIP_1"}  # fmt: skip
    table.header.update(cards)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / NAME)
    assert "more than its pixels" in judge(tmp_path / NAME, (tmp_path / NAME).read_bytes()).numbers["problem"]


def test_only_regular_files_are_read(tmp_path):
    """A pipe, a device or a folder is refused at once, whatever its name; what cannot be read now is tried again."""
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "folder.fits").mkdir()
    (tmp_path / "zero.fits").symlink_to("/dev/zero")
    found = {}

    def read(name):
        try:
            read_raw(tmp_path / name, PHOSIM)
        except DataError as error:
            found[name] = error

    for name in ("pipe.fits", "folder.fits", "zero.fits", "nothing.fits"):
        thread = threading.Thread(target=read, args=(name,), daemon=True)
        thread.start()
        thread.join(5.0)
        assert found[name].message == "file cannot be read", name
        assert isinstance(found[name], TransientError) == (name == "nothing.fits")


def test_a_file_larger_than_the_limit_is_not_read(tmp_path):
    """Its size alone refuses it."""
    path = write_eimage(tmp_path)
    os.truncate(path, 10 * 2**40)  # no disk is filled by this
    with pytest.raises(DataError, match="file is too large"):
        read_raw(path, PHOSIM)


def test_pixels_beyond_all_measure_are_bad(tmp_path):
    """Markers like the largest float are no light; neither is their sum with a gain."""
    image = sky_image()
    image[:20] = 3.4e38
    image[20:22] = -1e30
    raw = read_raw(write_eimage(tmp_path, image=image), PHOSIM)
    assert raw.bad[:22].all() and not raw.bad[22:].any()
    assert abs(raw.image).max() < 1e5


def test_blank_is_a_stored_number(tmp_path):
    """BLANK marks whole numbers, also of unsigned images; of floats it says nothing; out of range it is told."""
    counts = np.round(sky_image()).astype(np.uint16)
    counts[0, :7] = 0
    for image, blank, n_bad, n_note in (
        (counts, -32768, 7, 0), (counts, 65535, 0, 1), (counts.astype(np.int16), 0, 7, 0), (sky_image(), 500, 0, 0),
    ):  # fmt: skip
        hdu = fits.PrimaryHDU(image, header())
        hdu.header["BLANK"] = blank
        buffer = io.BytesIO()
        hdu.writeto(buffer, output_verify="ignore")
        content = with_card(buffer.getvalue(), "BLANK", str(blank))
        raw = judge(tmp_path / NAME, content)
        assert (raw.bad.sum(), len(raw.notes)) == (n_bad, n_note)


@pytest.mark.parametrize("kind", ["plain", "unsigned", "extension", "tiles"])
def test_checksums_tell_damaged_pixels_from_edited_headers(tmp_path, kind):
    """Other pixels under the same header are damage; a changed header, with or without other pixels, is a note."""
    with fits.open(io.BytesIO(plain(kind)), disable_image_compression=True) as hdus:
        hdus.writeto(tmp_path / NAME, checksum=True)
    good = (tmp_path / NAME).read_bytes()
    assert judge(tmp_path / NAME, good).notes == ()
    edited = judge(tmp_path / NAME, with_card(good, "AIRMASS", "1.3"))
    assert edited.airmass == 1.3 and len(edited.notes) == 1 and "header was changed" in edited.notes[0]
    damaged = bytearray(good)
    damaged[-4000] ^= 1  # among the pixels, not in the padding
    verdict = judge(tmp_path / NAME, bytes(damaged))
    assert "DATASUM" in verdict.message and verdict.numbers["found"] != verdict.numbers["DATASUM"]
    both = judge(tmp_path / NAME, with_card(bytes(damaged), "AIRMASS", "1.3"))
    assert "neither DATASUM nor CHECKSUM" in both.notes[0]
    alone = with_card(bytes(damaged), "CHECKSUM", "''")
    assert "DATASUM" in judge(tmp_path / NAME, alone).message
