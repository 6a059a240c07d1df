"""Functions that are loaded where they are first called."""

import gc

import pytest

from dbpipe.later import Later


def test_what_is_loaded_later_is_a_function_like_any_other():
    """It is called with what it is given, and gives what the function gives."""
    assert Later("math", "hypot")(3.0, 4.0) == 5.0
    assert Later("json", "dumps")([1], indent=None) == "[1]"


@pytest.mark.parametrize("looking", [True, False])
def test_garbage_is_looked_for_afterward_as_before(looking):
    """Loading a module leaves the garbage collector as it was."""
    (gc.enable if looking else gc.disable)()
    try:
        with pytest.raises(ModuleNotFoundError):
            Later("this_is_no_module", "f").load()
        assert gc.isenabled() is looking
    finally:
        gc.enable()
