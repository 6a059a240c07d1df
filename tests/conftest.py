"""What all tests share."""

import signal
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

import dbpipe
from dbpipe.catalog.sql.queries import directory

CHECKOUT = Path(__file__).resolve().parents[1]


def pytest_configure():
    """Test the checkout, and nothing else, on one thread, with the signals as in a terminal.

    What a script starts in the background ignores some of them.
    """
    other = _differences()
    if other:
        raise pytest.UsageError(
            f"dbpipe is installed from another state of this checkout ({len(other)} files differ, {other[0]} for one): "
            "the tests would say nothing of what is here. Install it again, best with `pip install -e '.[test]'`"
        )
    threadpool_limits(1)  # as workers are; of many small matrices threads make eight times the work
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def _differences():
    """Return the names of the files in which the dbpipe that Python finds is not that of the checkout."""
    places = [
        (Path(dbpipe.__file__).parent, CHECKOUT / "dbpipe", ("*.py", "*.toml", "*.md")),
        (directory("sql"), CHECKOUT / "sql", ("*.sql",)),
        (directory("migrations"), CHECKOUT / "migrations", ("*.sql",)),
    ]
    differing = []
    for found, wanted, patterns in places:
        if found.resolve() == wanted:
            continue
        contents = [
            {path.relative_to(place): path.read_bytes() for pattern in patterns for path in place.rglob(pattern)}
            for place in (found, wanted)
        ]
        differing += [
            str(name) for name in {**contents[0], **contents[1]} if contents[0].get(name) != contents[1].get(name)
        ]
    return sorted(differing)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real and simulated frames beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no test frames beside the repository ({folder.name} folder of shared is absent)")
    return folder
