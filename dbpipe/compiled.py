"""Functions compiled by numba, whose code on the disk is always that of this source and of these arguments.

numba keeps compiled code beside the source, for every process that comes later. Left alone it can keep what is wrong:
it looks at the one file in which a function stands, so that a change in what the function calls goes unseen; and it
numbers the code of one function for different arguments, so that two processes that write at the same moment can take
the same number, and a later one is given code for other arguments than its own.
"""

import hashlib
import os
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile
from numba.core.dispatcher import Dispatcher


def njit(function: Callable[..., Any] | None = None, **options: Any) -> Callable[..., Any]:
    """Compile a function as `numba.njit` does, with a cache that cannot be wrong."""
    if function is None:
        return lambda decorated: njit(decorated, **options)
    compiled = numba.njit(**options)(function)
    if options.get("cache"):
        files = compiled._cache._cache_file
        files.__class__ = _CacheFile  # numba has no way to be given another one
        files._source_stamp = _stamp(function)
    return compiled


def _stamp(function: Any) -> tuple[int, int, tuple[tuple[str, str | tuple[int, int, Any]], ...]]:
    """Return what changes when a function, or anything of elsewhere that is compiled into it, does."""
    code, state = function.__code__, os.stat(function.__code__.co_filename)
    bound = dict(zip(code.co_freevars, (cell.cell_contents for cell in function.__closure__ or ()), strict=True))
    known = {name: function.__globals__.get(name) for name in code.co_names} | bound
    needed = [
        (name, _stamp(value.py_func) if isinstance(value, Dispatcher) else repr(value))
        for name, value in sorted(known.items())
        if isinstance(value, Dispatcher | int | float | tuple)
    ]
    return state.st_mtime_ns, state.st_size, tuple(needed)


class _CacheFile(IndexDataCacheFile):
    """The files of one function: code under a name of its own, and the index, written after it, that names it.

    Both appear whole or not at all. Of two indices written at the same moment one is lost, and with it the time to
    compile a function again.
    """

    def save(self, key: tuple[tuple[Any, ...], tuple[str, str, str], tuple[str, str]], data: tuple[Any, ...]) -> None:
        digest = hashlib.sha256(repr((key, self._source_stamp)).encode()).digest()
        name = self._data_name(int.from_bytes(digest[:7]))
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})
