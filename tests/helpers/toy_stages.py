"""A survey in miniature: stages of a few lines over tables of their own, for testing the runner."""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

from dbpipe.errors import DataError, TransientError
from dbpipe.stage import Outputs, Skip, Stage

SCHEMA = """
CREATE TABLE sky (n INTEGER, value DOUBLE);
CREATE TABLE seen (n INTEGER PRIMARY KEY);
CREATE TABLE image (n INTEGER NOT NULL, path VARCHAR NOT NULL, sha256 VARCHAR NOT NULL, level DOUBLE);
CREATE TABLE star (n INTEGER NOT NULL, star BIGINT NOT NULL, flux DOUBLE CHECK (isfinite(flux)));
CREATE TABLE total (n INTEGER NOT NULL, flux DOUBLE NOT NULL);
"""

IMAGE_SQL = {
    "work": "SELECT n, value, $shift AS shift FROM sky WHERE value IS NOT NULL ORDER BY n",
    "neighbors": "SELECT n, value FROM sky WHERE abs(n - $n) = 1 ORDER BY n",
}
TOTAL_SQL = {"work": "SELECT n, sha256 FROM image ORDER BY n DESC", "stars": "SELECT flux FROM star WHERE n = $n"}


@dataclass(frozen=True)
class ToyConfig:
    """Settings of the toy."""

    scale: float = 2.0
    """What values are multiplied with."""
    delay_s: float = 0.0
    """How long a unit takes."""


@dataclass(frozen=True)
class TextFile:
    """A product."""

    text: str

    def write(self, path):
        """Write it."""
        Path(path).write_text(self.text)


def make_image(unit, inputs, config):
    """Make one image; the value says what shall happen."""
    value = unit["value"]
    time.sleep(config.delay_s)
    if value == -1:
        raise DataError("value is negative", value=value, worst=float("nan"))
    if value == -2:
        return Skip("nothing to see", {"value": value})
    if value == -3:
        raise ZeroDivisionError("a bug")
    if value == -4:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.abort()
    if value == -5:
        raise TransientError("value is away")
    level = value * config.scale + unit["shift"] + inputs["neighbors"].num_rows
    stars = {"n": [unit["n"]] * 3, "star": [1, 2, 3], "flux": [level, float("nan"), 3.0]}
    return Outputs(
        rows={"image": [{"n": unit["n"], "level": level}], "star": stars, "seen": [{"n": unit["n"] % 3}]},
        files={"image": TextFile(f"level {level}")},
        n_pix=1000,
    )


def make_total(unit, inputs, config):
    """Sum the stars of an image."""
    flux = sum(value for value in inputs["stars"].column("flux").to_pylist() if value is not None)
    return Outputs(rows={"total": [{"n": unit["n"], "flux": flux}]})


IMAGE = Stage(
    "image",
    key=("n",),
    version=1,
    writes=("image", "star"),
    inserts=("seen",),
    run=make_image,
    config=ToyConfig,
    inputs=("neighbors",),
)
TOTAL = Stage("total", key=("n",), version=1, writes=("total",), run=make_total, config=ToyConfig, inputs=("stars",))
