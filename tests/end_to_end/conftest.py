"""One simulated sky and its survey, shared by the end-to-end tests."""

import pytest
import small_survey


@pytest.fixture(scope="session")
def small_sky(tmp_path_factory):
    """A folder with raw images, a reference catalog and the truth; do not change it."""
    folder = tmp_path_factory.mktemp("sky")
    small_survey.simulate(folder)
    return folder


@pytest.fixture(scope="session")
def small_root(small_sky, tmp_path_factory):
    """The finished survey of it, made by two workers; do not change it."""
    root = tmp_path_factory.mktemp("survey") / "two"
    small_survey.process(small_sky, root, n_worker=2)
    return root
