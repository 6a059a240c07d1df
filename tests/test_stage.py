"""What a stage is."""

from dbpipe.runner.order import BY_NAME, ON_REQUEST, STAGES
from dbpipe.stage import Stage


def test_stages_stand_in_their_order():
    """A stage is found by its name, those of a run in their order and then those that run on request."""
    assert tuple(BY_NAME.values()) == STAGES + ON_REQUEST
    assert all(name == stage.name for name, stage in BY_NAME.items())


def test_a_unit_is_named_by_its_key():
    """Columns that only say where something is are no part of what names a unit."""
    for stage in BY_NAME.values():
        if isinstance(stage, Stage):
            assert stage.key and not set(stage.key) & set(stage.address)
            assert set(stage.key) <= set(stage.unit.__annotations__)
