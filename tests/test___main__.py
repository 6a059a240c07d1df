"""The program itself."""

import signal
import subprocess
import sys

import pytest

from dbpipe.survey import Survey

STOPPED_WHILE_LOADING = """
import os, signal, sys
import dbpipe.__main__

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Stop())
dbpipe.__main__.main()
"""


def test_ctrl_c_while_the_program_loads_is_silent():
    """Whatever it is loading at the moment, there is no traceback, and the exit says which signal it was."""
    for module in ("dbpipe.cli", "dbpipe.errors", "dbpipe.cli.terminal.stop"):
        done = subprocess.run([sys.executable, "-c", STOPPED_WHILE_LOADING, module], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


OF_SIGNALS = (
    "signal", "enum", "types", "operator", "_operator", "functools", "_functools", "collections", "_collections",
    "keyword", "reprlib", "itertools",
)  # fmt: skip
"""What the module signal loads."""


def test_nothing_is_loaded_before_the_program_can_be_stopped():
    """Until it has said what Ctrl-C means, only its first two modules and that of signals are loaded."""
    asked = "import sys; before = set(sys.modules); import dbpipe.__main__; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {"dbpipe", "dbpipe.__main__"} <= loaded
    assert {name.partition(".")[0] for name in loaded} <= {"dbpipe", *OF_SIGNALS}


def test_python_m_is_the_same_program():
    """`python -m dbpipe` answers as `dbpipe` does."""
    done = subprocess.run([sys.executable, "-m", "dbpipe", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("dbpipe ") and done.returncode == 0


HEAVY = ("numba", "scipy", "astropy", "pandas", "matplotlib", "sep", "hpgeom")
ASKED = """
import sys
import dbpipe.__main__
try:
    dbpipe.__main__.main()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    """A survey with nothing to do."""
    root = tmp_path_factory.mktemp("idle") / "survey"
    Survey.init(root).close()
    return root


@pytest.mark.parametrize("command", ["--help", "status", "sql", "config", "run", "check"])
def test_who_only_asks_loads_nothing_that_calculates(survey, command):
    """Who asks what there is, what is done or what is due does not wait for libraries that only calculate."""
    arguments = {"--help": [], "sql": [survey, "SELECT 1"]}.get(command, [survey])
    done = subprocess.run([sys.executable, "-c", ASKED, command, *arguments], capture_output=True, text=True)
    assert done.returncode == 0 and "dbpipe.cli" in done.stderr.split()
    heavy = (*HEAVY, "numpy", "pyarrow", "duckdb") if command == "--help" else HEAVY
    assert [name for name in heavy if name in done.stderr.split()] == []
