"""What headers and file names say."""

from dataclasses import replace

import pytest
from make_fits import NAME, header

from dbpipe.errors import DataError
from dbpipe.io.raw.header import local_night, read_facts
from dbpipe.io.raw.instrument import FilenameRule, Quantity, TimeRule, VisitRule, load_instrument

PHOSIM = load_instrument("phosim-eimage")


def facts(*, instrument=PHOSIM, name=NAME, **changes):
    """Read the facts of a test header with some cards changed."""
    return read_facts(dict(header(**changes)), name, instrument)


def test_phosim_time_is_the_tai_card():
    """Midpoint is the TAI card plus half the exposure, whatever MJD-OBS says."""
    assert facts().midpoint_mjd_tai == pytest.approx(59580.25 + 15 / 86400, abs=1e-9)
    assert facts(TAI=None).midpoint_mjd_tai == pytest.approx(59580.24963 + 15 / 86400, abs=1e-9)


@pytest.mark.parametrize(
    ("rule", "cards"),
    [
        (TimeRule(("D",), "isot", "utc", "start"), {"D": "2017-03-03T03:15:13.73"}),
        (TimeRule(("D", "T"), "date+time", "utc", "mid"), {"D": "2017-03-03", "T": " 03:15:28.73"}),
        (TimeRule(("D",), "isot", "tai", "end"), {"D": "2017-03-03T03:16:20.73"}),
        (TimeRule(("D",), "jd", "utc", "start"), {"D": 2457815.5 + (3 * 3600 + 15 * 60 + 13.73) / 86400}),
    ],
)
def test_every_way_to_give_a_time_gives_the_same_moment(rule, cards):
    """UTC or TAI (37 s apart in 2017), start, middle or end: the midpoint is one and the same."""
    expected = 57815.0 + (3 * 3600 + 15 * 60 + 13.73 + 15.0 + 37.0) / 86400
    instrument = replace(PHOSIM, time=(rule,))
    assert facts(instrument=instrument, **cards).midpoint_mjd_tai == pytest.approx(expected, abs=1e-9)


def test_night_changes_at_local_noon_not_at_midnight():
    """One night has one number, although the UTC date changes in its middle or at its end."""
    before, after = 59580.9, 59581.1  # 2022-01-01 21:36 and 2022-01-02 02:24 UTC
    assert local_night(before, 0.0) == local_night(after, 0.0) == 20220101
    assert local_night(59580.25, -70.749) == 20211231  # 06:00 UTC, 01:17 in Chile
    assert local_night(59580.40, 150.0) == 20220101  # 09:36 UTC, 19:36 in Australia


@pytest.mark.parametrize("obsid", [1234, "1234", " 1234", 1234.0])
def test_visit_id_may_be_text_or_number(obsid):
    """phosim writes OBSID as a number in old files and as text in new ones."""
    assert facts(OBSID=obsid).visit == 1234


def test_visit_id_of_41_bits_is_exact():
    """Large ids do not go through a float."""
    big = (1 << 41) - 1
    assert facts(OBSID=big, name="any.fits").visit == big
    with pytest.raises(DataError, match="41 bits"):
        facts(OBSID=big + 1, name="any.fits")


def test_visit_id_can_be_put_together():
    """A format takes groups of the file name and header keywords; what contradicts the header is refused."""
    instrument = replace(
        PHOSIM,
        filename=FilenameRule(r"q_(?P<date>\d{8})_(?P<run>\d+)_", {"run": "RUNNUM"}),
        visit=VisitRule(format="{date}{run:02d}{EXPNUM:03d}"),
    )
    assert facts(instrument=instrument, name="q_20200830_1_x.fits", RUNNUM=1, EXPNUM=11).visit == 2020083001011
    with pytest.raises(DataError, match="run disagrees between file name and RUNNUM"):
        facts(instrument=instrument, name="q_20200830_1_x.fits", RUNNUM=2, EXPNUM=11)
    with pytest.raises(DataError, match="visit id needs EXPNUM") as caught:
        facts(instrument=instrument, name="q_20200830_1_x.fits", EXPNUMB=11)
    assert caught.value.numbers["similar"][0] == "EXPNUMB"
    with pytest.raises(DataError, match="visit id needs date"):
        facts(instrument=instrument, name="else.fits", EXPNUM=11)


def test_filter_may_be_letter_or_number():
    """FILTER and FILTNM mean the same band, alone or together."""
    assert facts(FILTER=None).band == facts(FILTNM=None).band == facts(FILTER="2").band == "r"
    assert facts(FILTER=None, FILTNM=None).band == "r"  # by the file name


@pytest.mark.parametrize(
    ("changes", "what", "found"),
    [
        ({"FILTER": "g"}, "filter", {"FILTER": "g", "FILTNM": "r", "file name": "r"}),
        ({"FILTER": "g", "FILTNM": 1}, "filter", {"FILTER": "g", "FILTNM": "g", "file name": "r"}),
        ({"OBSID": 1235}, "visit id", {"OBSID": 1235, "file name": 1234}),
        ({"CHIPID": "R22_S12"}, "detector", {"CHIPID": 95, "file name": 94}),
    ],
)
def test_contradictions_are_refused_with_both_values(changes, what, found):
    """Header against header and header against file name: the verdict says who says what."""
    with pytest.raises(DataError, match=f"{what} disagrees between") as caught:
        facts(**changes)
    assert caught.value.numbers["found"] == found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"EXPTIME": None}, "keyword EXPTIME is missing"),
        ({"EXPTIME": 0.0}, "exposure time is not positive"),
        ({"EXPTIME": -30.0}, "exposure time is not positive"),
        ({"EXPTIME": "long"}, "EXPTIME is not a number"),
        ({"EXPTIME": True}, "EXPTIME is not a number"),
        ({"TAI": -59580.0}, "time of the exposure is absurd"),
        ({"TAI": 0.0}, "time of the exposure is absurd"),
        ({"TAI": 2459580.75}, "time of the exposure is absurd"),
        ({"TAI": None, "MJD__OBS": None}, "keyword TAI is missing"),
        ({"FILTER": "clear", "FILTNM": None, "name": "a.fits"}, "filter is not one of this instrument"),
        ({"FILTER": None, "FILTNM": None, "name": "a.fits"}, "keyword FILTER is missing"),
        ({"FILTER": " ", "FILTNM": None, "name": "a.fits"}, "filter has no name"),
        ({"CHIPID": "R22_S1", "name": "a.fits"}, "unknown detector"),
        ({"OBSID": "12x", "name": "a.fits"}, "visit id is not a whole number"),
        ({"OBSID": 12.5, "name": "a.fits"}, "visit id is not a whole number"),
        ({"OBSID": -1, "name": "a.fits"}, "visit id does not fit"),
        ({"CCDID": "R22_S11_C00"}, "not an image of phosim-eimage: its header has CCDID"),
    ],
)
def test_nonsense_is_refused(changes, message):
    """A header that cannot be true gets a verdict that names the card."""
    with pytest.raises(DataError, match=message):
        facts(**changes)


def test_similar_keyword_is_suggested():
    """If EXPTIME is missing and EXPTIM is there, the verdict says so."""
    with pytest.raises(DataError) as caught:
        facts(EXPTIME=None, EXPTIM=30.0)
    assert caught.value.numbers["similar"][0] == "EXPTIM"


@pytest.mark.parametrize(
    ("text", "message"), [("2017-03-03", "no time of day"), ("03/03/17T1", "cannot be understood")]
)
def test_incomplete_dates_are_refused(text, message):
    """A date alone is no moment."""
    instrument = replace(PHOSIM, time=(TimeRule(("D",), "isot", "utc", "start"),))
    with pytest.raises(DataError, match=message):
        facts(instrument=instrument, D=text)


def test_gain_turns_adu_into_electrons():
    """Noise and full well given in ADU are scaled by the gain, those in electrons are not."""
    instrument = replace(
        PHOSIM,
        gain=Quantity("electron/adu", keyword="GAIN"),
        read_noise=Quantity("adu", value=4.0),
        saturation=Quantity("electron", value=9e4),
    )
    found = facts(instrument=instrument, GAIN=2.5)
    assert (found.gain, found.read_noise_e, found.saturation_e) == (2.5, 10.0, 9e4)
    with pytest.raises(DataError, match="gain is not positive"):
        facts(instrument=instrument, GAIN=0.0)


@pytest.mark.parametrize(("value", "expected"), [(1.2, 1.2), (0.0, None), (-99.0, None), (None, None), ("x", None)])
def test_airmass_that_cannot_be_is_missing(value, expected):
    """Missing is missing, never 0 or -99."""
    assert facts(AIRMASS=value).airmass == expected
