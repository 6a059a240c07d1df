"""What is done with an input, and what may come of it: it is used, or refused in words.

Each target is a class: made once in a process and a folder of its own, then called with a generator for each input.
It returns "used" or "refused"; anything that it raises is a fault of dbpipe.
"""

import hashlib
import os
from pathlib import Path

import make_inputs

from dbpipe.errors import DataError, DbpipeError
from dbpipe.io.raw.instrument import load_instrument
from dbpipe.io.tables.refcat import read_refcat
from dbpipe.io.tables.table import read_table
from dbpipe.runner import order
from dbpipe.stages.contracts.ingest import INGEST
from dbpipe.survey import Survey
from dbpipe.survey.settings import read_settings
from dbpipe.survey.synthetic import make_survey


def judged(act):
    """Return what became of an input."""
    try:
        act()
    except DbpipeError as error:
        if not str(error).strip():
            raise AssertionError("a refusal without a word") from error
        return "refused"
    return "used"


class Images:
    """Raw frames, as the stage ingest sees them."""

    def __init__(self, folder):
        os.chdir(folder)
        Path("instrument.toml").write_text(make_inputs.instrument_text(), encoding="utf-8")
        self.sha256 = load_instrument("instrument.toml").sha256
        self.good = make_inputs.good_images()
        self.config = order.sections()["ingest"]()

    def __call__(self, random):
        name, content = make_inputs.image(random, self.good)
        path = Path(name).absolute()
        path.write_bytes(content)
        state = path.stat()
        unit = {
            "path": str(path),
            "size_byte": state.st_size,
            "mtime_ns": state.st_mtime_ns,
            "instrument_sha256": self.sha256,
            "known_file": None,
            "known_made_from": None,
        }
        try:
            INGEST.run(unit, {}, self.config)
        except DataError as error:
            assert error.message.strip(), "a refusal without a word"
            return "refused"
        return "used"


class Tables:
    """Catalogs of stars and lists that are lent to queries."""

    def __init__(self, folder):
        os.chdir(folder)
        self.good = make_inputs.good_tables()

    def __call__(self, random):
        name, content = make_inputs.table(random, self.good)
        Path(name).write_bytes(content)
        return judged(lambda: (read_refcat if random.random() < 0.7 else read_table)(name))


class Settings:
    """survey.toml."""

    def __init__(self, folder):
        os.chdir(folder)
        self.sections = order.sections()

    def __call__(self, random):
        Path("survey.toml").write_bytes(make_inputs.settings(random))
        return judged(lambda: read_settings(Path("survey.toml"), self.sections))


class Instruments:
    """Descriptions of cameras."""

    def __init__(self, folder):
        os.chdir(folder)

    def __call__(self, random):
        Path("camera.toml").write_bytes(make_inputs.instrument(random))
        return judged(lambda: load_instrument("camera.toml"))


class Questions:
    """SQL, conditions and names that users type; nothing on the disk may change, and nothing beside it be read."""

    SECRET = "the-secret-of-a-neighbor"

    def __init__(self, folder):
        folder = Path(folder).absolute()
        self.places = {"victim": str(folder / "victim.csv"), "folder": str(folder / "outside")}
        Path(self.places["victim"]).write_text(f"a\n{self.SECRET}\n")
        make_survey(folder / "survey", n_source=20_000, seed=1)
        self.root = folder / "survey"
        self.before = self._state()
        os.chdir(folder)
        self.n_asked = 0

    def __call__(self, random):
        with Survey.open(self.root) as survey:
            outcome = judged(lambda: self._ask(survey, random))
        self.n_asked += 1
        if self.n_asked % 25 == 0:
            assert self._state() == self.before, "a question changed a file"
        return outcome

    def _ask(self, survey, random):
        text, kind = make_inputs.statement(random, self.places), int(random.integers(5))
        if kind == 0:
            survey.count(make_inputs.name(random) if random.random() < 0.5 else text)
        elif kind == 1:
            survey.export(self.root.parent / "out" / f"{random.integers(10**12)}.csv", tables=["visit"], where=text)
        elif kind == 2:
            survey.write(self.root.parent / "out" / f"{random.integers(10**12)}.parquet", text)
        else:
            answer, _ = survey.fetch_head(text, limit=20)
            assert self.SECRET not in str(answer.to_pydict()), "a question read a neighbor's file"

    def _state(self):
        found = {}
        for path in sorted(self.root.parent.rglob("*")):
            if path.is_file() and "out" not in path.relative_to(self.root.parent).parts and path.name != "survey.lock":
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found


TARGETS = {"image": Images, "table": Tables, "settings": Settings, "instrument": Instruments, "sql": Questions}
