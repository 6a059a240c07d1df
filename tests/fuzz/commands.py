"""Whole commands over damaged input: a folder of raw files, and a survey from somebody else.

As in `targets`, each is called with a generator for each input; here one input is one folder and the commands over it.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import make_inputs
from mutate import TEXTS, pick

from dbpipe.survey import Survey
from dbpipe.survey.synthetic import make_survey

EXIT_CODES = (0, 1, 2, 3)
PATIENCE_S = 300.0
N_FILE = 12
"""Raw files in a folder."""


def dbpipe(*words, cwd):
    """Run a command and return its exit code and what it printed; a traceback is a fault."""
    done = subprocess.run(
        [sys.executable, "-m", "dbpipe", *map(str, words)],
        cwd=cwd, capture_output=True, timeout=PATIENCE_S, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip
    text = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert "Traceback" not in text, f"{' '.join(map(str, words))}: {text[-2000:]}"
    assert done.returncode in EXIT_CODES, f"{' '.join(map(str, words))}: exit code {done.returncode}: {text[-500:]}"
    assert "\x1b" not in text, "an escape sequence of the data reached the terminal"
    return done.returncode, text


class Nights:
    """A folder of raw files, good and damaged, with the names that files can have."""

    NAMES = (*TEXTS, "a b.fits", "x[/b].fits", "[red].fits", "*.fits", "new\nline.fits", "-x.fits", "é.fits", "~.fits")

    def __init__(self, folder):
        self.folder, self.good, self.n = Path(folder), make_inputs.good_images(), 0

    def __call__(self, random):
        self.n += 1
        here = self.folder / str(self.n)
        night = here / "night"
        night.mkdir(parents=True)
        for k in range(N_FILE):
            name, content = make_inputs.image(random, self.good)
            if random.random() < 0.3:
                name = f"{pick(random, self.NAMES)}.fits".replace("/", "_").replace("\0", "")
            path = os.fsencode(night) + f"/{k}_{name}".encode("utf-8", "surrogatepass" if k % 2 else "replace")
            with open(path[:240], "wb") as file:
                file.write(content)
        os.symlink("nowhere", night / "dangling.fits")
        os.mkfifo(night / "pipe.fits")
        dbpipe("init", "s", cwd=here)
        _, said = dbpipe("ingest", "s", "night", "--workers", "1", cwd=here)
        dbpipe("status", "s", cwd=here)
        code, said = dbpipe("check", "s", cwd=here)
        assert code == 0, f"check: {said}"
        with Survey.open(here / "s") as survey:
            (judged, bugs) = survey.sql(
                "SELECT count(*), count(*) FILTER (kind = 'bug') "
                "FROM unit LEFT JOIN unit_failure USING (stage, unit_key) WHERE stage = 'ingest'"
            ).fetchall()[0]
        assert bugs == 0, "a file was met with an unexpected error"
        assert judged >= N_FILE // 2, f"{judged} of {N_FILE} files have a verdict"
        shutil.rmtree(here)
        return "used"


class Surveys:
    """A survey whose catalog somebody has tampered with: nothing outside of it may be changed by looking after it."""

    def __init__(self, folder):
        self.folder = Path(folder)
        make_survey(self.folder / "good", n_source=10_000, seed=1)
        self.n = 0

    def __call__(self, random):
        self.n += 1
        here = self.folder / str(self.n)
        shutil.copytree(self.folder / "good", here / "s")
        for name in ("victim.txt", "files/victim.txt"):
            (here / name).parent.mkdir(exist_ok=True)
            (here / name).write_text("mine")
        self._tamper(random, here)
        before = self._outside(here)
        words = pick(
            random,
            (("gc", "s"), ("check", "s"), ("status", "s"), ("run", "s", "--workers", "1"), ("export", "s", "out"),
             ("sql", "s", "SELECT * FROM dia_source_clean LIMIT 2"), ("export", "s", "lake", "--layout", "night"),
             ("template", "s"), ("sql", "s", "--cookbook"), ("refcat", "s", "victim.txt")),
        )  # fmt: skip
        code, _ = dbpipe(*words, cwd=here)
        assert self._outside(here) == before, f"{' '.join(words)} changed a file outside of the survey"
        shutil.rmtree(here)
        return "used" if code in (0, 3) else "refused"

    def _tamper(self, random, here):
        """Change what a stranger could: rows, views and the text files."""
        path = pick(random, ("../victim.txt", "../files/victim.txt", "/etc/hostname", "files/../../victim.txt", ""))
        hostile = (
            f"INSERT INTO file VALUES ('{path}', 'calexp', 'calibrate', 'visit=1,detector=0', 'x', 4)",
            "INSERT INTO unit BY NAME SELECT * REPLACE ('warp' AS stage) FROM unit LIMIT 1",
            "CREATE OR REPLACE VIEW dia_source_clean AS SELECT * FROM read_text('/etc/hostname')",
            f"UPDATE raw SET path = '{path}'",
            "UPDATE run SET command = '[/red]' || chr(27) || '[31m'",
            "CREATE OR REPLACE MACRO cone_search(ra, dec, radius_arcsec) AS TABLE SELECT * FROM glob('/*')",
            "DROP TABLE template_input CASCADE",
            "UPDATE schema_migration SET version = version + 100",
            "CREATE SCHEMA other",
        )
        for file in ("survey.duckdb", "published/survey.duckdb"):
            with duckdb.connect(here / "s" / file) as connection:
                for _ in range(int(random.integers(1, 4))):
                    try:
                        connection.execute(pick(random, hostile))
                    except duckdb.Error:
                        continue
        if random.random() < 0.3:
            (here / "s" / "survey.toml").write_bytes(make_inputs.settings(random))
        if random.random() < 0.2:
            (here / "s" / "checks").mkdir()
            (here / "s" / "checks" / "x.sql").write_text("COPY (SELECT 1) TO '../victim.txt'")

    def _outside(self, here):
        return {
            str(path): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted([here / "victim.txt", here / "files" / "victim.txt"])
        }


TARGETS = {"night": Nights, "survey": Surveys}
