"""What stages declare, apart from what they do."""

import subprocess
import sys
from dataclasses import fields

import pytest

from dbpipe.later import Later
from dbpipe.runner.order import BY_NAME

CALCULATING = ("numba", "scipy", "astropy", "sep", "pandas", "numpy", "pyarrow", "duckdb")
ASKED = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    contract = import_module(name)
    for kind in vars(contract).values():
        if isinstance(kind, type) and kind.__name__.endswith("Config"):
            kind()
print(*sys.modules)
"""


def named(stage):
    """Return what a stage names and does not load."""
    values = [getattr(stage, field.name) for field in fields(stage)]
    return [value for value in values if isinstance(value, Later)]


def test_contracts_load_nothing_that_calculates():
    """Who asks for settings, versions and tables of every stage waits for no library of numbers, tables or images."""
    homes = sorted({stage.config.__module__ for stage in BY_NAME.values()})
    assert all("contract" in home for home in homes) and len(homes) == len(BY_NAME)
    done = subprocess.run([sys.executable, "-c", ASKED, *homes], capture_output=True, text=True, check=True)
    assert [name for name in CALCULATING if name in done.stdout.split()] == []


@pytest.mark.parametrize("stage", BY_NAME.values(), ids=lambda stage: stage.name)
def test_what_a_contract_names_is_there(stage):
    """Its functions exist, in the module or folder of the stage's name, or in the contract's own room."""
    assert isinstance(stage.run, Later)
    room = stage.config.__module__.rpartition(".")[0]
    home = f"dbpipe.stages.{stage.name}" if room == "dbpipe.stages.contracts" else room
    for each in named(stage):
        assert callable(each.load()) and f"{each.module}.".startswith(f"{home}.")
