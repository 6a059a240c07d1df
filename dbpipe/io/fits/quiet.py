"""astropy kept from talking while it reads headers."""

import contextlib
import warnings
from collections.abc import Iterator

import astropy


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep astropy from printing: old headers make it talk on every file, and what matters is checked here."""
    level = astropy.log.level
    astropy.log.setLevel("ERROR")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        astropy.log.setLevel(level)
