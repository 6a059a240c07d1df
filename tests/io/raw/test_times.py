"""When headers say that an exposure was taken."""

import numpy as np
import pytest
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from dbpipe.errors import DataError
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.raw.instrument import TimeRule
from dbpipe.io.raw.times import read_midpoint

EXPECTED = Time("2022-01-13T02:36:14.25", scale="utc").tai.mjd
START = "start"


def midpoint(header, *, form="isot", scale="utc", keywords=("DATE-OBS",)):
    """Read the start of an exposure of no length."""
    with quiet():
        return read_midpoint(header, (TimeRule(keywords, form, scale, START),), 0.0)


def refusal(header, **rule):
    with pytest.raises(DataError) as caught:
        midpoint(header, **rule)
    return caught.value


@pytest.mark.parametrize(
    "text",
    ["2022-01-13T02:36:14.25", "2022-01-13 02:36:14.25", " 2022-01-13T02:36:14.25 ", "2022-01-13t02:36:14.25",
     "2022-01-13T02:36:14.25Z", "2022-01-13T02:36:14.25 UT", "2022-01-13T02:36:14.25+00:00", "2022/01/13 2:36:14.25",
     "2022-01-13T04:36:14.25+02:00", "2022-01-12T21:06:14.25-0530", "2022-01-13  02:36:14.2500"],
)  # fmt: skip
def test_a_date_may_be_written_in_many_ways(text):
    """Blank or T, a zone or none: the same moment."""
    assert midpoint({"DATE-OBS": text}) == pytest.approx(EXPECTED, abs=1e-10)


@pytest.mark.parametrize(
    ("date", "clock"),
    [("2022-01-13", "02:36:14.25"), ("2022-01-13T00:00:00.000", " 2:36:14.25"), ("2022/01/13", 9374.25),
     ("2022-01-13", "9374.25")],
)  # fmt: skip
def test_date_and_time_may_have_cards_of_their_own(date, clock):
    """A clock, or seconds since midnight where they can be nothing else."""
    found = midpoint({"DATE-OBS": date, "UT": clock}, form="date+time", keywords=("DATE-OBS", "UT"))
    assert found == pytest.approx(EXPECTED, abs=1e-10)
    error = refusal({"DATE-OBS": date, "UT": 3.25}, form="date+time", keywords=("DATE-OBS", "UT"))
    assert "UT is a number" in error.message and "hours" in error.numbers["needed"]


def test_two_digits_of_a_year_are_of_the_last_century():
    """DD/MM/YY is what FITS had before 1998."""
    found = midpoint({"D": "31/12/97", "T": "23:59:30"}, form="date+time", keywords=("D", "T"))
    assert found == pytest.approx(Time("1997-12-31T23:59:30", scale="utc").tai.mjd, abs=1e-10)


@pytest.mark.parametrize(
    ("second_60", "same_as"),
    [("2016-12-31T23:59:60.5", "2017-01-01T00:00:00.0"), ("2022-01-13T02:36:60.5", "2022-01-13T02:37:01.0"),
     ("2022-01-13T24:00:00", "2022-01-14T00:00:00.5")],
)  # fmt: skip
def test_a_second_60_is_where_it_belongs(second_60, same_as):
    """A leap second is half a second before the next day; a rounded clock is in the next minute."""
    apart_s = (midpoint({"DATE-OBS": same_as}) - midpoint({"DATE-OBS": second_60})) * 86400
    assert apart_s == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize(
    ("timesys", "later_s"),
    [
        ("UTC", 0.0),
        ("UT(NIST)", 0.0),
        ("TAI", -37.0),
        ("TT", -69.184),
        ("TDB", -69.184),
        ("GPS", -18.0),
        ("tai", -37.0),
    ],
)
def test_timesys_is_followed_or_contradicts(timesys, later_s):
    """Where the description follows the header, every scale is right; where it does not, both are named."""
    for header, form, keywords in (
        ({"DATE-OBS": "2022-01-13T02:36:14.25"}, "isot", ("DATE-OBS",)),
        ({"MJD-OBS": Time("2022-01-13T02:36:14.25", scale="tai").mjd}, "mjd", ("MJD-OBS",)),
    ):
        header["TIMESYS"] = timesys
        found = midpoint(header, form=form, keywords=keywords, scale="header")
        assert (found - EXPECTED) * 86400 == pytest.approx(later_s, abs=0.003)  # TDB - TT is below 2 ms
        if later_s == 0.0:
            assert midpoint(header, form=form, keywords=keywords) == found
        else:
            numbers = refusal(header, form=form, keywords=keywords).numbers
            assert (numbers["TIMESYS"], numbers["scale_of_description"]) == (timesys, "utc")


def test_keywords_that_name_their_scale_keep_it():
    """TIMESYS speaks of DATE-OBS and its kin, not of a card called TAI or UTC-OBS."""
    assert midpoint({"TAI": 59592.5, "TIMESYS": "UTC"}, form="mjd", scale="tai", keywords=("TAI",)) == 59592.5
    utc = {"UTC-OBS": "2022-01-13T02:36:14.25", "TIMESYS": "TAI"}
    assert midpoint(utc, keywords=("UTC-OBS",)) == pytest.approx(EXPECTED, abs=1e-10)


@pytest.mark.parametrize("timesys", ["LOCAL", "MST", 5, "UTC+1"])
def test_scales_that_are_none_are_refused(timesys):
    """Local time is not guessed at."""
    assert refusal({"DATE-OBS": "2022-01-13T02:36:14.25", "TIMESYS": timesys}).numbers["TIMESYS"] == str(timesys)


@pytest.mark.parametrize(
    ("text", "message"),
    [("2022-01-13", "has a date but no time of day"), ("13.01.2022 02:36:14", "cannot be understood"),
     ("2022-13-01T02:36:14", "cannot be understood"), ("2022-01-13T25:00:00", "cannot be understood"),
     ("2022-01-13T02:61:00", "cannot be understood"), ("01/13/2022 02:36:14", "cannot be understood"),
     ("", "cannot be understood"), (True, "cannot be understood"), (59592.1, "cannot be understood"),
     ("2022-01-13T02:36:14,25", "cannot be understood"), ("1922-01-13T02:36:14", "absurd"),
     ("٢٠٢٢-01-13T02:36:14", "cannot")],
)  # fmt: skip
def test_what_is_no_moment_is_refused_with_its_text(text, message):
    """The verdict shows what was found and what is needed."""
    error = refusal({"DATE-OBS": text, "UT": "02:36:14"})
    assert message in error.message and error.numbers["value"] == str(text).strip()
    if "no time of day" in message:
        assert error.numbers["beside"] == {"UT": "02:36:14"} and "date+time" in error.numbers["needed"]


def test_an_offset_belongs_to_utc():
    """A Z behind a time that the description calls TAI is a contradiction."""
    assert refusal({"DATE-OBS": "2022-01-13T02:36:14Z"}, scale="tai").numbers["scale"] == "tai"


def test_a_day_number_may_be_text():
    """'59592.1' is 59592.1; '59592,1' is nothing."""
    numbers = [midpoint({"M": value}, form="mjd", keywords=("M",)) for value in (59592.1, "59592.1", " 5.95921E4 ")]
    assert len(set(numbers)) == 1
    assert "not a number" in refusal({"M": "59592,1"}, form="mjd", keywords=("M",)).message


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("0123456789-:/T Z+.", max_size=25), st.floats(), st.integers()))
def test_any_text_is_a_moment_or_refused(value):
    """A date is understood or refused, never more and never less."""
    for form, keywords in (("isot", ("D",)), ("date+time", ("D", "E")), ("mjd", ("D",)), ("jd", ("D",))):
        try:
            assert np.isfinite(midpoint({"D": value, "E": value, "TIMESYS": value}, form=form, keywords=keywords))
        except DataError as error:
            assert error.message
