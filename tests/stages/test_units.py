"""What a stage reads in its work row is what its work query gives."""

import typing

import pyarrow as pa
import pytest

from dbpipe.catalog import migrations
from dbpipe.catalog.sql import queries
from dbpipe.catalog.store import connection
from dbpipe.catalog.views import apply_views
from dbpipe.catalog.work import request
from dbpipe.catalog.work.offer import stage_queries
from dbpipe.runner.order import BY_NAME
from dbpipe.stage import Stage

STAGES = [stage for stage in BY_NAME.values() if isinstance(stage, Stage)]
KINDS = ((pa.types.is_integer, int), (pa.types.is_floating, float), (pa.types.is_string, str))


@pytest.fixture(scope="module")
def empty():
    """A catalog with nothing in it."""
    with connection.memory() as catalog:
        migrations.migrate(catalog)
        apply_views(catalog)
        request.request_ingest(catalog, [])
        yield catalog


def kind_of(column):
    """Return the Python type of what a column gives."""
    if pa.types.is_list(column) or pa.types.is_fixed_size_list(column):
        return list[kind_of(column.value_type)]
    return next(kind for is_kind, kind in KINDS if is_kind(column))


def without_none(kind):
    """Return a type without the None that a column may hold."""
    kinds = [each for each in typing.get_args(kind) if each is not type(None)]
    return kinds[0] if type(None) in typing.get_args(kind) else kind


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_work_rows_have_the_columns_that_the_stage_declares(empty, stage):
    """A column that is renamed, added or taken away in the query is one in the stage's unit too, of the same type."""
    work = stage_queries(stage)["work"]
    rows = queries.fetch_table(empty, work, dict.fromkeys(queries.parameters(work), ""))
    given = {column.name: kind_of(column.type) for column in rows.schema}
    declared = {name: without_none(kind) for name, kind in typing.get_type_hints(stage.unit).items()}
    assert given == declared
    assert {*stage.key, *stage.address} <= given.keys()
