"""What a stage is."""

from dbpipe.runner.order import ON_REQUEST, STAGES, load_stages
from dbpipe.stage import Stage


def test_stages_stand_in_their_order():
    """Every name that is known without its code is that of a stage, and there is no other stage."""
    assert tuple(load_stages()) == STAGES + ON_REQUEST
    assert all(name == stage.name for name, stage in load_stages().items())


def test_a_unit_is_named_by_its_key():
    """Columns that only say where something is are no part of what names a unit."""
    for stage in load_stages().values():
        if isinstance(stage, Stage):
            assert stage.key and not set(stage.key) & set(stage.address)
            assert set(stage.key) <= set(stage.unit.__annotations__)
