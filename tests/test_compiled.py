"""Compiled code that is kept on the disk is that of the source and the arguments, whatever happens on the way."""

import os
import subprocess
import sys

import pytest

CALLED = """
from dbpipe.compiled import njit
WEIGHT = 1.0
@njit
def _times(x):
    return 10.0 * x
def bind(factor):
    @njit
    def value(x):
        return factor * _times(x)
    return value
value = bind(1.0)
"""
CALLER = """
from called import WEIGHT, value
from dbpipe.compiled import njit
@njit(cache=True)
def total(array):
    s = 0.0
    for k in range(array.size):
        s += WEIGHT * value(array[k])
    return s
"""
SLOW = """
import sys, time
import numpy as np
from numba.core.caching import IndexDataCacheFile as Cache
import caller
kind, *delays = sys.argv[1:]
steps = [(Cache, "_load_index"), (Cache, "_save_index"), (Cache, "_save_data")]
for (owner, name), delay in zip(steps, delays):
    def later(self, *given, real=getattr(owner, name), delay=float(delay)):
        done = real(self, *given)
        if delay < 0:
            import os
            os._exit(9)
        time.sleep(delay)
        return done
    setattr(owner, name, later)
print(caller.total(np.arange(4, dtype=kind)))
"""


@pytest.fixture
def sources(tmp_path):
    """Two modules, one of which calls the other, and a program that uses them and writes its cache slowly."""
    (tmp_path / "called.py").write_text(CALLED)
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "slow.py").write_text(SLOW)
    return tmp_path


def start(folder, *arguments):
    """Start the program."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-B", str(folder / "slow.py"), *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def answers(*processes):
    """Return what processes print."""
    return [process.communicate(timeout=60)[0].strip() for process in processes]


@pytest.mark.parametrize("delays", [("1", "0.5", "0"), ("0", "0", "1")])
def test_code_for_other_arguments_is_never_taken(sources, delays):
    """Two processes that compile one function for different arguments at the same moment spoil nothing for a third."""
    assert answers(start(sources, "float32", *delays), start(sources, "float64", *delays)) == ["60.0", "60.0"]
    assert answers(start(sources, "float32"), start(sources, "float64")) == ["60.0", "60.0"]


@pytest.mark.parametrize("old, new", [("10.0 * x", "20.0 * x"), ("WEIGHT = 1.0", "WEIGHT = 2.0")])
def test_a_change_in_what_is_called_is_seen(sources, old, new):
    """Code is compiled again when a function or a constant of another file, which it uses, has changed."""
    assert answers(start(sources, "float64")) == ["60.0"]
    (sources / "called.py").write_text(CALLED.replace(old, new))
    assert answers(start(sources, "float64")) == ["120.0"]


@pytest.mark.parametrize("delays", [("0", "0", "-1"), ("0", "-1", "0")])
def test_a_kill_while_code_is_written_leaves_no_old_code(sources, delays):
    """A process that is killed between the two files leaves what later ones compile again, or use."""
    assert answers(start(sources, "float64")) == ["60.0"]
    (sources / "called.py").write_text(CALLED.replace("10.0 * x", "20.0 * x"))
    assert answers(start(sources, "float64", *delays)) == [""]
    assert answers(start(sources, "float64")) == ["120.0"]
