"""The WCS of headers that are odd."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from make_fits import header

from dbpipe.errors import DataError
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.raw.wcs import read_wcs

SHAPE = (48, 64)
NO_CD = {"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None}


def wcs_of(**changes):
    """Read the WCS of a test header with some cards changed."""
    with quiet():
        return read_wcs(dict(header(**changes)), SHAPE)


def refusal(**changes):
    with pytest.raises(DataError) as caught:
        wcs_of(**changes)
    return caught.value


def corners(wcs):
    return wcs.all_pix2world([[0.0, 0.0], [63.0, 47.0]], 0)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("CRVAL1", "53.0"), ("CRVAL2", " -27.4 "), ("CD1_1", "-5.5E-5"), ("CD2_2", "5.5D-5"), ("CRPIX1", "32"),
     ("EQUINOX", "2000.0"), ("EQUINOX", "J2000"), ("LONPOLE", "180.0")],
)  # fmt: skip
def test_text_that_is_a_number_is_that_number(keyword, text):
    """As it is for the facts of the header."""
    np.testing.assert_array_equal(corners(wcs_of(**{keyword: text})), corners(wcs_of()))


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("CRVAL1", "03:32:00"), ("CRVAL1", "53,0"), ("CRVAL1", "53 deg"), ("CRVAL1", True), ("CD1_1", "x"),
     ("CTYPE1", 5), ("CTYPE2", 1.0), ("CUNIT1", 3), ("RADESYS", 2000.0), ("A_ORDER", 99), ("A_ORDER", 2.5)],
)  # fmt: skip
def test_a_card_of_the_wrong_kind_is_named_with_its_value(keyword, value):
    """Nothing is taken for 0 because it cannot be read."""
    error = refusal(**{keyword: value})
    assert keyword in error.message and str(value) in map(str, error.numbers.values())


@pytest.mark.parametrize("keyword", ["CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2", "CTYPE2"])
def test_a_missing_card_is_not_taken_for_its_default(keyword):
    """The standard has defaults for all of them, and none is a place that anybody observed."""
    assert refusal(**{keyword: None}).numbers["missing"] == keyword


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX"}, "TNX is a projection of IRAF"),
        ({"CTYPE1": "RA---ZPX", "CTYPE2": "DEC--ZPX"}, "ZPX is a projection of IRAF"),
        ({"CTYPE1": "RA---TAM", "CTYPE2": "DEC--TAM"}, "wcslib knows no projection TAM"),
        ({"PC1_1": 1.0}, "both CD and PC"),
        ({**NO_CD, "PC1_1": 1.0, "CROTA2": 10.0, "CDELT1": -5e-5, "CDELT2": 5e-5}, "both PC and CROTA"),
        ({"CUNIT1": "hourangles"}, "WCS of the header cannot be used"),
        ({"CRVAL2": 97.0}, "no place on the sky"),
        ({"CRVAL1": 5e7}, "no place on the sky"),
        ({"CUNIT1": "rad"}, "no place on the sky"),
        ({"CTYPE1": "PIXEL"}, "WCS of the header cannot be used"),
        ({"CPDIS1": "LOOKUP"}, "distortion in a table"),
        ({"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN"}, "axes are swapped"),
        ({"RADESYS": None, "EQUINOX": "B1950"}, "EQUINOX is not a year"),
        ({"CD1_1": 1e300}, "pixel scale"),
        ({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3}, "WCS of the header cannot be used"),
    ],
)
def test_what_cannot_be_used_is_refused_for_its_true_reason(changes, message):
    """The words name the cause, not what wcslib makes of it."""
    error = refusal(**changes)
    assert message in error.message
    assert "nternal error" not in str(error.numbers) and "wcs.c" not in str(error.numbers) and error.numbers


def test_tnx_is_told_what_to_do():
    """A header of IRAF can be converted."""
    assert "TPV, SIP" in refusal(CTYPE1="RA---TNX", CTYPE2="DEC--TNX").numbers["needed"]


@pytest.mark.parametrize(
    "changes",
    [{"EQUINOX": "nonsense"}, {"EPOCH": "nonsense"}, {"EPOCH": 2022.03}, {"WCSAXES": 3}, {"DATE__OBS": "nonsense"},
     {"CROTA2": "x", "CDELT1": 1.0, "CDELT2": "y"}, {"CTYPE3": "STOKES"}, {"WAT0_001": "system=image"}],
)  # fmt: skip
def test_cards_that_say_nothing_here_change_nothing(changes):
    """ICRS needs no equinox, two axes no third one, and a CD matrix no CDELT."""
    np.testing.assert_array_equal(corners(wcs_of(**changes)), corners(wcs_of()))


@pytest.mark.parametrize(
    "changes",
    [
        {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV2_1": 1.0, "PV1_4": 0.01},
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "PV1_1": 1.0, "PV2_1": 1.0, "PV1_4": 0.01},
        {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": 1.0, "PV2_3": 40.0},
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4},
        {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-4, "B_DMAX": 1.0},
        {**NO_CD, "PC1_1": 0.9, "PC1_2": -0.1, "CDELT1": -5e-5, "CDELT2": 5e-5},
        {**NO_CD, "CDELT1": -5e-5, "CDELT2": 5e-5, "CROTA2": 30.0},
        {"RADESYS": None, "RADECSYS": "FK5", "EQUINOX": 2000.0}, {"CUNIT1": "deg", "CUNIT2": "deg"},
        {"LONPOLE": 170.0, "LATPOLE": 10.0}, {"RADESYS": None, "EQUINOX": None, "EPOCH": 2000.0},
    ],
)  # fmt: skip
def test_the_cards_that_are_passed_on_are_all_that_count(changes):
    """The same sky, bit for bit, as astropy reads from the whole header."""
    with quiet():
        whole = fits.Header({"NAXIS": 2, "NAXIS1": 64, "NAXIS2": 48})
        whole.update(header(**changes))
        expected = corners(WCS(whole))
    np.testing.assert_array_equal(corners(wcs_of(**changes)), expected)


KEYWORDS = """
    CTYPE1 CUNIT1 CRVAL1 CRVAL2 CRPIX1 CD1_1 CD1_2 PC1_1 CDELT1 CROTA2 PV1_1 PV2_1 A_ORDER B_ORDER A_2_0 LONPOLE LATPOLE
    EQUINOX RADESYS
""".split()
VALUES = st.one_of(
    st.floats(allow_nan=False), st.integers(-5, 5), st.booleans(), st.text("ABCDEGIKNPRSTVXZ-. 01", max_size=12)
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYWORDS), VALUES, max_size=4))
def test_any_cards_are_a_place_on_the_sky_or_refused(changes):
    """Whatever a header says of the sky, it is used or refused."""
    values = dict(header()) | changes
    with quiet():
        try:
            wcs = read_wcs(values, SHAPE)
        except DataError as error:
            assert error.message
        else:
            assert np.isfinite(wcs.all_pix2world([[31.5, 23.5]], 0)).all()
