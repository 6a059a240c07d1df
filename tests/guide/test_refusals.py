"""The page on refusals knows everything that a unit of work can be refused for, and nothing else."""

import ast
import re
from pathlib import Path

import dbpipe
from dbpipe import guide
from dbpipe.catalog.sql.queries import directory

PACKAGE = Path(dbpipe.__file__).parent
VERDICTS = {"DataError": 0, "TransientError": 0, "Skip": 0, "Died": 1, "not_fits": 0}
"""What carries a reason -> at which place."""


def reasons_of_python():
    """Return every reason that is written in the code; what is put in is ``X``."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = VERDICTS.get(getattr(getattr(node, "func", None), "id", None))
            if place is None or len(node.args) <= place:
                continue
            text = node.args[place]
            parts = text.values if isinstance(text, ast.JoinedStr) else [text]
            words = [part.value if isinstance(part, ast.Constant) else "X" for part in parts]
            if any(word != "X" for word in words):
                found.add("".join(words))
    return found


def reasons_of_sql():
    """Return every reason that a query of a stage gives."""
    texts = [path.read_text(encoding="utf-8") for path in (directory("sql") / "stages").glob("*.sql")]
    return {reason for text in texts for reason in re.findall(r"'([^']+)' AS reason", text)}


def phrases():
    """Return what the page knows: in the first column of its tables, apart from each other by semicolons."""
    lines = [line for line in guide.read_page("refusals").splitlines() if line.startswith("| ")]
    cells = [line.split(" | ")[0].removeprefix("| ") for line in lines]
    return [phrase for cell in cells if cell != "what it says" for phrase in cell.split("; ")]


def test_every_reason_is_on_the_page_and_nothing_else():
    """Whoever is refused finds what to do, and no row is left of a reason that is gone."""
    reasons = reasons_of_python() | reasons_of_sql()
    patterns = {phrase: re.compile(re.escape(phrase).replace(r"\.\.\.", ".*")) for phrase in phrases()}
    bare = {"X: X", "file is not readable FITS"}  # the second is put before what is wrong with the file
    assert sorted(r for r in reasons - bare if not any(p.search(r) for p in patterns.values())) == []
    assert [name for name, p in patterns.items() if not any(p.search(reason) for reason in reasons)] == []
