"""What all tests share."""

import signal
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits


def pytest_configure():
    """Have one thread, and the signals as in a terminal: what a script starts in the background ignores some."""
    threadpool_limits(1)  # as workers are; of many small matrices threads make eight times the work
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real and simulated frames beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no test frames beside the repository ({folder.name} folder of shared is absent)")
    return folder
