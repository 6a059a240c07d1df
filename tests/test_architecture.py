"""The shape of the house: what each room is for, what it may import, and how large things may grow."""

import ast
from dataclasses import fields, is_dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

import dbpipe
from dbpipe.runner.order import BY_NAME, sections

PACKAGE = Path(dbpipe.__file__).parent
GROUND = {
    "__init__",
    "__main__",
    "compiled",
    "constants",
    "declared",
    "errors",
    "failures",
    "ids",
    "later",
    "names",
    "ranges",
    "stage",
}
"""The only modules at the root: what everything stands on, the public face and the program."""
PIXELS = ("imaging", "imaging.*")
CATALOG = ("catalog", "catalog.*")
SKY = ("sky", "sky.*")
STAGES = ("stages", "stages.*")

ROOMS = {
    "disk": ("Files, ours and others': they know nothing of what is in them", ()),
    "imaging": ("What all rooms of pixels stand on", ()),
    "imaging.clean": ("From raw to sky-subtracted pixels", ("imaging",)),
    "imaging.psf": ("The point spread function", ("imaging",)),
    "imaging.measure": ("Sources of one exposure", ("imaging", "imaging.psf")),
    "imaging.stack": ("Averages of images", ("imaging",)),
    "imaging.kernel": ("The matching kernel, from two PSFs and stars", ("imaging", "imaging.psf")),
    "imaging.difference": (
        "One image minus another, which knows nothing of the sources in it",
        ("imaging", "imaging.clean", "imaging.kernel", "imaging.psf"),
    ),
    "imaging.sources": ("Sources of a difference image, whoever made it", ("imaging", "imaging.psf")),
    "imaging.injection": ("Sources of known flux", ("imaging", "imaging.psf")),
    "sky": ("Geometry without pixels", ()),
    "sky.astrometry": ("Fits of a WCS", ("sky",)),
    "sky.linking": ("Detections to objects, a pure function of them", ("sky",)),
    "io.fits": ("The format, not its meaning", ("disk",)),
    "io.raw": ("Raw images of any camera", ("disk", "io.fits")),
    "io.tables": ("Tables from elsewhere", ("disk", "io.fits", *SKY)),
    "io": ("What dbpipe writes itself", ("disk", "io.fits", "imaging", "imaging.psf")),
    "catalog.store": ("DuckDB itself", ("disk",)),
    "catalog.sql": ("SQL as text", ("catalog.store",)),
    "catalog.work": ("Units of work as rows: no stage, no pixel", ("catalog.store", "catalog.sql")),
    "catalog": ("The catalog of a survey: rows and bytes, never pixels", ("disk", "catalog.store", "catalog.sql")),
    "simulate.sky": ("A sky that is made up", ()),
    "simulate.camera": ("A camera that is made up, and shares no code with what is tested by it", ("simulate.sky",)),
    "simulate": ("Simulated surveys, which the pipeline has no part in", ("disk", "simulate.*", *SKY)),
    "stages": (
        "Pure functions on one unit: they never see the catalog",
        ("stages.contracts", "stages.shared", "disk", "io", "io.*", *PIXELS, *SKY),
    ),
    "stages.contracts": ("What stages declare, apart from what they do", ("disk", "imaging")),
    "stages.shared": ("What more than one stage does", ("stages.contracts", "io", *PIXELS, *SKY)),
    "stages.*": (
        "A stage in more than one file: it never sees the catalog, nor another stage",
        ("stages.contracts", "stages.shared", "io", "io.*", *PIXELS, *SKY),
    ),
    "pair": (
        "Two images without a survey, by the stages' own steps",
        ("stages", "stages.*", "disk", "io", "io.*", *PIXELS, *SKY),
    ),
    "template": ("Which exposures make the template", (*CATALOG, "imaging.psf", "imaging.stack", *SKY)),
    "association": ("Objects, in the catalog", (*CATALOG, *SKY)),
    "runner": (
        "The loop, which alone sees the catalog and the stages",
        ("disk", "io.tables", *CATALOG, *STAGES, "template", "association"),
    ),
    "publish": ("What leaves a survey", ("disk", *CATALOG, *SKY)),
    "ask": ("Questions beyond plain SQL", (*CATALOG, "io", "imaging", "imaging.injection", *SKY)),
    "pictures": ("Pictures of what was asked", ("disk", "ask")),
    "survey": (
        "Everything that can be done with a survey",
        (
            "disk", "io", "io.*", *CATALOG, *STAGES, "template", "association", "runner", "publish", "ask", "pictures",
            "simulate",
        ),
    ),
    "cli.terminal": ("What a terminal sees", (*CATALOG, "runner", "survey")),
    "guide": ("Words for people", ()),
    "cli.commands": (
        "Commands: parse, call, print",
        (
            "cli.terminal", "guide", "disk", "io", *CATALOG, "runner", "publish", "ask", "pictures", "survey",
            "simulate", "simulate.*",
        ),
    ),
    "cli": ("The command line as a whole", ("cli.commands", "cli.terminal", *CATALOG)),
}  # fmt: skip
"""Room -> what it is for, and the rooms that it may import besides itself; all may import the ground.

A pattern with ``*`` is a rule for every room that has none of its own.
"""

_FILES_ROWS_CLOCKS = ("duckdb", "pyarrow", "pathlib", "os", "logging", "time", "datetime", "astropy.io", "random")
FOREIGN = {
    "imaging": (*_FILES_ROWS_CLOCKS, "astropy"),
    "sky": _FILES_ROWS_CLOCKS,
    "io": ("duckdb", "logging", "sep"),
    "stages": ("duckdb", "logging", "random"),
    "catalog": ("astropy", "sep", "scipy", "numba", "matplotlib"),
    "simulate": ("duckdb", "sep", "random"),
    "template": ("astropy", "sep", "random"),
    "association": ("astropy", "sep", "random"),
    "disk": ("duckdb", "numpy", "astropy"),
}
"""Room -> packages that neither it nor a room in it may import: pixels know no files, rows or clocks, and so on."""
ONLY_IN = {
    "matplotlib": "pictures",
    "numba": "compiled",
    "typer": "cli",
    "rich": "cli",
}
"""Package -> the one room that uses it."""
MAX_MODULES = 12
MAX_LINES = 60
MAX_FIELDS = 8
WIDE = {"refcat": 10}
"""Sections of the settings with more than `MAX_FIELDS` fields -> how many: this list may only get shorter."""


@cache
def modules():
    """Return (path, name of the module below dbpipe, syntax tree) of each."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        found.append((path, name, ast.parse(path.read_text(encoding="utf-8"))))
    return found


def room_of(module):
    """Return the room of a module or package below dbpipe; the ground is the empty name."""
    as_folder = PACKAGE / module.replace(".", "/")
    return module if as_folder.is_dir() else module.rpartition(".")[0]


def imports(tree):
    """Yield (line, full name) of everything that a module imports, at its top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports say the whole name"
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def rule_of(room):
    """Return what a room is for and what it may import."""
    if room in ROOMS:
        return ROOMS[room]
    return next(rule for pattern, rule in ROOMS.items() if fnmatchcase(room, pattern))


def within(name, room):
    """Return whether a dotted name is a room or in it."""
    return name == room or name.startswith(f"{room}.")


FOLDERS = sorted({room_of(name.removesuffix(".__init__")) for _, name, _ in modules() if "." in name})


def test_every_folder_has_a_rule():
    """No room is free by silence, and no rule is left of a room that is gone."""
    assert [room for room in FOLDERS if not any(fnmatchcase(room, pattern) for pattern in ROOMS)] == []
    assert [pattern for pattern in ROOMS if not any(fnmatchcase(room, pattern) for room in FOLDERS)] == []


def test_rules_go_one_way():
    """Were every arrow drawn that the rules allow, none would lead back to where one comes from."""
    left = {
        room: {other for other in FOLDERS for allowed in rule_of(room)[1] if fnmatchcase(other, allowed)} - {room}
        for room in FOLDERS
    }
    while free := {room for room, others in left.items() if not others}:
        left = {room: others - free for room, others in left.items() if room not in free}
    assert left == {}


@pytest.mark.parametrize("room", FOLDERS)
def test_imports_point_down(room):
    """A room imports what its rule says, and nothing else of dbpipe."""
    meaning, allowed = rule_of(room)
    wrong = []
    for path, name, tree in modules():
        if room_of(name.removesuffix(".__init__")) != room or "." not in name:
            continue
        for line, full in imports(tree):
            if not full.startswith("dbpipe."):
                continue
            other = room_of(full.removeprefix("dbpipe.").rpartition(".")[0])
            if other not in ("", room) and not any(fnmatchcase(other, pattern) for pattern in allowed):
                wrong.append(
                    f"{path.relative_to(PACKAGE.parent)}:{line} imports {full}. {room} is: {meaning}. "
                    f"It may import {', '.join(allowed) or 'no other room'}."
                )
    assert wrong == []


def test_no_stage_imports_another():
    """A stage stands alone: what two of them do is in `stages.shared`."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {full}"
        for path, name, tree in modules()
        if name.startswith("stages.")
        for line, full in imports(tree)
        if full.startswith("dbpipe.stages.") and full.split(".")[2] in BY_NAME.keys() - {name.split(".")[1]}
    ]
    assert wrong == []


def test_the_ground_stands_on_nothing():
    """Modules at the root are those that all others stand on; only face and program reach up, when they are called."""
    found = {name: tree for _, name, tree in modules() if "." not in name}
    assert found.keys() == GROUND
    wrong = [
        f"{name}.py:{line} imports {full}"
        for name, tree in found.items()
        for line, full in imports(tree)
        if not name.startswith("__")
        and full.startswith("dbpipe.")
        and full.split(".")[1] not in GROUND | {"__version__"}
    ]
    assert wrong == []


def test_packages_are_used_where_they_belong():
    """Pixels know no files, rows or clocks, the catalog no pixels; matplotlib, typer and rich have one room each."""
    wrong = []
    for path, name, tree in modules():
        barred = [package for room, packages in FOREIGN.items() if within(name, room) for package in packages]
        barred += [package for package, room in ONLY_IN.items() if not within(name, room)]
        for line, full in imports(tree):
            wrong += [
                f"{path.relative_to(PACKAGE)}:{line} imports {full}" for package in barred if within(full, package)
            ]
    assert wrong == []


def test_folders_are_small():
    """Whoever opens a folder sees at most a dozen modules."""
    n_module = {room: 0 for room in ["", *FOLDERS]}
    for _, name, _ in modules():
        if not name.endswith("__init__"):
            n_module[name.rpartition(".")[0]] += 1
    assert {room: n for room, n in n_module.items() if n > MAX_MODULES} == {}


def test_rooms_say_what_they_are():
    """The face of every folder has a docstring, and names every module in it."""
    silent = []
    for room in FOLDERS:
        folder = PACKAGE / room.replace(".", "/")
        text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        inside = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
        silent += [f"{room}/{name}" for name in inside if name not in text]
    assert silent == []


def test_functions_are_short():
    """A function has at most 60 lines below its docstring; compiled ones and declarations of commands are exempt."""
    wrong = []
    for path, name, tree in modules():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef) or within(name, "cli.commands"):
                continue
            if any("jit" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body and body[-1].end_lineno - body[0].lineno + 1 > MAX_LINES:
                wrong.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}")
    assert wrong == []


def test_sections_of_the_settings_are_short():
    """A section has at most eight settings of its own; what belongs together is a section in it."""
    wide = {}
    for name, section in sections().items():
        waiting = [(name, section)]
        while waiting:
            place, cls = waiting.pop()
            own = [each for each in fields(cls) if not is_dataclass(each.type)]
            waiting += [(f"{place}.{each.name}", each.type) for each in fields(cls) if is_dataclass(each.type)]
            if len(own) > MAX_FIELDS:
                wide[place] = len(own)
    assert wide == WIDE


def test_nothing_opens_the_catalog_as_a_file():
    """Only two modules know the name of the catalog file, those that open it: as a file it loses DuckDB's lock."""
    naming = [name for path, name, _ in modules() if ".duckdb" in path.read_text(encoding="utf-8")]
    assert set(naming) <= {"survey.opening", "catalog.store.connection"}


def test_every_module_has_its_tests():
    """A test file of its name stands in the same room of the tests, or the room's face says which file tests it."""
    tests, told, wrong = Path(__file__).parent, {}, []
    for path, name, tree in modules():
        face = (ast.get_docstring(tree) or "") if path.stem == "__init__" else ""
        for entry in filter(None, " ".join(face.partition("Tests: ")[2].split()).rstrip(".").split("; ")):
            names, _, file = entry.partition(" in tests/")
            told |= {path.with_name(f"{module}.py"): file for module in names.split(", ")}
            wrong += [] if (tests / file).is_file() else [f"{name} names tests/{file}, which is not there"]
    for path, name, _ in modules():
        own = tests / path.relative_to(PACKAGE).with_name(f"test_{path.name}")
        if path.stem != "__init__" and own.is_file() == (path in told):
            wrong.append(f"{name}: either there is {own.relative_to(tests.parent)}, or the room's face names its tests")
    assert wrong == []
