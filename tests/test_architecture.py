"""The shape of the house: arrows point down only."""

import ast
from pathlib import Path

import pytest

import dbpipe

PACKAGE = Path(dbpipe.__file__).parent
FORBIDDEN = {
    "disk": ("dbpipe.io", "dbpipe.sky", "dbpipe.imaging", "dbpipe.catalog", "dbpipe.stages", "duckdb", "astropy"),
    "imaging": ("dbpipe.io", "dbpipe.sky", "dbpipe.catalog", "dbpipe.stages", "duckdb", "logging"),
    "sky": ("dbpipe.io", "dbpipe.imaging", "dbpipe.catalog", "dbpipe.stages", "duckdb", "logging"),
    "io": ("dbpipe.catalog", "dbpipe.stages", "duckdb"),
    "stages": ("dbpipe.catalog", "duckdb"),
    "catalog": ("dbpipe.imaging", "dbpipe.sky", "dbpipe.io", "dbpipe.stages", "astropy"),
    "simulate": ("dbpipe.imaging", "dbpipe.stages", "dbpipe.catalog", "duckdb"),
}
"""Folder -> what nothing in it may import. Nothing below the pipeline imports what is above it either."""
ABOVE = ("dbpipe.runner.pipeline", "dbpipe.survey", "dbpipe.cli", "dbpipe.runner.pool")


def imports(path):
    """Return every module that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_imports_point_down(folder):
    """No layer reaches up or sideways: pixels know no files, stages no database, the catalogue no pixels."""
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        for name in sorted(imports(path))
        for barred in (*FORBIDDEN[folder], *ABOVE)
        if name == barred or name.startswith(f"{barred}.")
    ]
    assert wrong == []


def test_nothing_opens_the_catalogue_as_a_file():
    """Only two modules know the name of the catalogue file, those that open it: as a file it loses DuckDB's lock."""
    naming = [
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        if ".duckdb" in path.read_text(encoding="utf-8")
    ]
    assert set(naming) <= {"survey/opening.py", "catalog/store/connection.py"}
