"""Packed ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dbpipe.errors import DataError
from dbpipe.ids import DETECTOR_LIMIT, NUMBER_LIMIT, VISIT_LIMIT, detector_base, source_ids, unpack_source_id


@given(
    visit=st.integers(0, VISIT_LIMIT - 1),
    detector=st.integers(0, DETECTOR_LIMIT - 1),
    number=st.integers(0, NUMBER_LIMIT - 1),
)
def test_an_id_says_where_it_comes_from(visit, detector, number):
    """Visit, detector and number come back out of the id, which fits into a signed 64-bit integer."""
    source_id = detector_base(visit, detector) + number
    assert 0 <= source_id < 1 << 63
    assert unpack_source_id(source_id) == (visit, detector, number)


@pytest.mark.parametrize(
    ("visit", "detector", "n"),
    [(VISIT_LIMIT, 0, 1), (-1, 0, 1), (0, DETECTOR_LIMIT, 1), (0, -1, 1), (0, 0, NUMBER_LIMIT + 1)],
)
def test_what_does_not_fit_is_refused(visit, detector, n):
    """No number runs over into the bits of another one."""
    with pytest.raises(DataError):
        source_ids(visit, detector, n)
