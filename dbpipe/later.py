"""Functions that are known by name and loaded where they are first called.

This is how a stage names what it does, and the command line its commands: who asks for one thing does not wait for the
libraries of all others.
"""

import gc
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any


@dataclass(frozen=True)
class Later:
    """A function, by the full name of its module and its own."""

    module: str
    name: str

    def load(self) -> Callable[..., Any]:
        """Return the function."""
        module = import_module(self.module) if self.module in sys.modules else _load(self.module)
        found: Callable[..., Any] = getattr(module, self.name)
        return found

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.load()(*arguments, **keywords)


def _load(name: str) -> ModuleType:
    """Load a module with all that it needs.

    None of that becomes garbage, and to look for some again and again takes a sixth of the time of a short command.
    """
    looking = gc.isenabled()
    gc.disable()
    try:
        return import_module(name)
    finally:
        if looking:
            gc.enable()
