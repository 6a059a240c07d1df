"""What the tests of macros, views and the cookbook share."""

import hand_made
import pytest

from dbpipe.catalog.store import connection


@pytest.fixture(scope="session")
def survey():
    """The survey made by hand, in memory; nobody changes it."""
    with connection.memory() as catalog:
        hand_made.fill(catalog)
        yield catalog
