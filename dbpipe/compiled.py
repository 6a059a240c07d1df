"""Functions compiled by numba, whose code on the disk is always that of this source and of these arguments.

numba keeps compiled code beside the source, for every process that comes later. Left alone it can keep what is wrong:
it looks at the one file in which a function stands, so that a change in what the function calls goes unseen; and it
numbers the code of one function for different arguments, so that two processes that write at the same moment can take
the same number, and a later one is given code for other arguments than its own.
"""

import hashlib

import numba
from numba.core.caching import IndexDataCacheFile
from numba.core.dispatcher import Dispatcher


def njit(function=None, **options):
    """Compile a function as `numba.njit` does, with a cache that cannot be wrong."""
    if function is None:
        return lambda decorated: njit(decorated, **options)
    compiled = numba.njit(**options)(function)
    if options.get("cache"):
        own = compiled._cache._cache_file
        own.__class__ = _CacheFile  # numba has no way to be given another one
        own._source_stamp = (own._source_stamp, *_needed(function))
    return compiled


def _needed(function):
    """Return what is compiled into a function from elsewhere: the stamps of what it calls, and values by name."""
    known = function.__globals__
    found = [(name, known[name]) for name in sorted(set(function.__code__.co_names)) if name in known]
    for name, value in found:
        if isinstance(value, Dispatcher) and isinstance(getattr(value._cache, "_cache_file", None), _CacheFile):
            yield name, value._cache._cache_file._source_stamp
        elif isinstance(value, int | float | tuple):
            yield name, repr(value)


class _CacheFile(IndexDataCacheFile):
    """The files of one function: code under a name of its own, and the index, written after it, that names it.

    Both appear whole or not at all. Of two indices written at the same moment one is lost, and with it the time to
    compile a function again.
    """

    def save(self, key, data):
        digest = hashlib.sha256(repr((key, self._source_stamp)).encode()).digest()
        name = self._data_name(int.from_bytes(digest[:7]))
        self._save_data(name, data)
        self._save_index(self._load_index() | {key: name})
