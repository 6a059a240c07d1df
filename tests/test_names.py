"""Help for names that do not exist."""

from dbpipe.names import did_you_mean, did_you_mean_or_all, nearest

KNOWN = ["detect", "difference", "Deblend"]


def test_the_nearest_name_is_told():
    """A typo, or another case, leads to the known name as it is written."""
    assert did_you_mean("detct", KNOWN) == "; did you mean detect?"
    assert nearest("deblend", KNOWN, n=1) == ["Deblend"]


def test_where_nothing_is_near_all_are_told():
    """What resembles nothing gives no false hint."""
    assert did_you_mean("xyz", KNOWN) == ""
    assert did_you_mean_or_all("xyz", KNOWN) == "; known are: detect, difference, Deblend"
    assert did_you_mean_or_all("xyz", []) == "; known are: none"
