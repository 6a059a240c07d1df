"""Functions that are loaded where they are first called."""

from dbpipe.later import Later


def test_what_is_loaded_later_is_a_function_like_any_other():
    """It is called with what it is given, and gives what the function gives."""
    assert Later("math", "hypot")(3.0, 4.0) == 5.0
    assert Later("json", "dumps")([1], indent=None) == "[1]"
