"""Every command of README and guide works as written, in an empty folder, with the names that it uses.

A block that is neither run nor listed here as something else is an error: whoever writes one says what it is.
"""

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import small_survey

import dbpipe
from dbpipe import guide
from dbpipe.simulate import write_survey

README = Path(__file__).resolve().parents[2] / "README.md"
N_VISIT, SIZE_PIX = {"g": 2, "r": 4}, 320
SUBSTITUTES = {"/data/incoming": "raw"}
"""What the reader has at home, and what it is here. DIASOURCE and the place of an object are looked up."""
OBJECT_PLACE = "53.0062,-27.4359"
NOT_HERE = {
    "pip install": "installing, the tests and the demo have steps of their own in .ci/run",
    "pytest": "that is what runs here",
    "dbpipe run s --instrument phosim-eimage --ingest sim_small/raw": "frames of another simulator",
    "python score.py": "a judge that is not part of the repository",
    "PYTHONPATH=.:tests/helpers python tests/benchmarks/": "benchmarks take their time",
}
"""Beginning of a command -> why it is not run."""
FIGURES = ("ingest > calibrate > skymap",)
"""Beginnings of blocks that are no commands."""
ABSENT = {"lsdb", "pl"}
"""Libraries that need not be installed."""
MODULES = {"pl": "polars", "pd": "pandas"}
CRON = re.compile(r"(?:[\d*/,-]+ +){5}(?=dbpipe )")


def read_blocks(text):
    """Return (language, text) of every fenced or indented block; an indented one has the language ``shell``."""
    blocks, lines = [], iter(text.splitlines())
    before, indented = "", []
    for line in lines:
        if line.startswith("```"):
            inside = list(iter(lambda: next(lines), "```"))
            blocks.append((line[3:].strip(), "\n".join(inside)))
        elif line.startswith("    ") and (indented or not before.strip()):
            indented.append(line[4:])
        elif indented:
            blocks.append(("shell", "\n".join(indented)))
            indented = []
        before = line
    return blocks


def read_commands(block):
    """Return the commands of a block for a shell: one a line, without comments, those of cron without their times."""
    lines = block.replace("\\\n", " ").splitlines()
    return [CRON.sub("", line).strip() for line in lines if line.strip() and not line.startswith("#")]


def read_pages():
    """Return the texts of README and guide; who reads the quick start has no survey yet."""
    first, *others = guide.PAGES
    return [guide.read_page(first), README.read_text(encoding="utf-8"), *map(guide.read_page, others)]


def read_steps():
    """Return (kind, text) of everything in README and guide that can be run, in order."""
    steps = []
    for language, block in (each for page in read_pages() for each in read_blocks(page)):
        if language == "sql":
            steps.append(("shell", f"dbpipe sql my_survey {shlex.quote(block)}"))
        elif language == "python":
            steps += [("python", ast.unparse(statement)) for statement in ast.parse(block).body]
        elif language != "toml" and not block.startswith(FIGURES):
            steps += [("shell", command) for command in read_commands(block)]
    return [(kind, text) for kind, text in steps if not text.startswith(tuple(NOT_HERE))]


def test_every_block_is_known():
    """What is in a block is a command of dbpipe, SQL or Python, or is listed as something else; no list is too long."""
    text = "\n".join(read_pages())
    wrong = [text for kind, text in read_steps() if kind == "shell" and not text.startswith("dbpipe ")]
    assert wrong == []
    assert [beginning for beginning in (*NOT_HERE, *FIGURES, *SUBSTITUTES) if beginning not in text] == []
    assert {language for language, _ in read_blocks(text)} <= {"shell", "sql", "python", "toml", ""}


@pytest.fixture
def folder(tmp_path):
    """A folder with what the README takes for granted: raw frames, stars, a list of places; and a ``dbpipe``."""
    write_survey(tmp_path / "sky", seed=3, n_visit=N_VISIT, size_pix=SIZE_PIX, density=small_survey.DENSITY)
    here = tmp_path / "here"
    here.mkdir()
    (tmp_path / "sky" / "raw").rename(here / "raw")
    (tmp_path / "sky" / "refcat.csv").rename(here / "stars.csv")
    for name, raw in zip(("science", "template"), sorted((here / "raw").glob("*_f2_*")), strict=False):
        shutil.copy(raw, here / f"{name}.fits.gz")
    (here / "my_list.csv").write_text("name,ra,dec\nhost,53.0091,-27.4389\n")
    program = tmp_path / "bin" / "dbpipe"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m dbpipe "$@"\n')
    program.chmod(0o755)
    return here


def substitute(command, folder):
    """Put something that is here in the place of what only the reader has."""
    for theirs, ours in SUBSTITUTES.items():
        command = command.replace(theirs, ours)
    if "DIASOURCE" in command or OBJECT_PLACE in command:
        with dbpipe.open(folder / "my_survey") as survey:
            source, ra, dec = survey.sql(
                "SELECT s.dia_source_id, o.ra, o.dec FROM dia_source_clean AS s "
                "JOIN dia_association USING (dia_source_id) JOIN dia_object AS o USING (dia_object_id) "
                "ORDER BY s.score DESC LIMIT 1"
            ).fetchall()[0]
        command = command.replace("DIASOURCE", str(source)).replace(OBJECT_PLACE, f"{ra:.5f},{dec:.5f}")
    return command


def run_command(command, folder):
    """Run a command in the folder and say what went wrong with it, if anything."""
    path = os.pathsep.join([str(folder.parent / "bin"), os.environ["PATH"]])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": path}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    fine = done.returncode == 0 and "Traceback" not in done.stderr
    return "" if fine else f"{command}\nexit code {done.returncode}\n{done.stdout[-1000:]}{done.stderr[-2000:]}"


def run_python(statement, folder):
    """Run a statement; its first name is the library that it needs."""
    name = next(node.id for node in ast.walk(ast.parse(statement)) if isinstance(node, ast.Name))
    try:
        known = {name: importlib.import_module(MODULES.get(name, name))}
    except ImportError:
        return "" if name in ABSENT else f"{statement}\n{name} is not installed"
    exec(statement, known)
    return ""


def test_the_readme_is_short_and_its_links_lead_somewhere():
    """One reads it in three minutes, and every page of the guide is named in it."""
    text = README.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert 400 <= len(text.split()) <= 600 and all((README.parent / link).is_file() for link in links)
    assert {Path(link).stem for link in links} == {*guide.PAGES, "demo"}


def test_every_command_works_as_written(folder, monkeypatch):
    """From an empty folder to exports and questions: each one ends well, and the user's files are as they were.

    This one may take longer than others: it is what a reader does first.
    """
    monkeypatch.chdir(folder)
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in names}
    for kind, text in read_steps():
        run = run_command if kind == "shell" else run_python
        assert run(substitute(text, folder), folder) == ""
    assert {path: path.read_bytes() for path in names} == before
    made = {path.name for path in folder.iterdir()}
    assert {"my_survey", "out", "lake", "depth.png", "object.png", "cuts.png", "matches.parquet", "difference"} <= made
