"""Everything that a stage reaches, code and SQL, as digests beside its version.

python tests/helpers/stage_digests.py               records the stages whose version is a new one
python tests/helpers/stage_digests.py --same WHY    records all: the results are the same, and this is why

What counts is what is computed: not comments, docstrings, types and layout, nor what no stage can reach.
"""

import argparse
import ast
import hashlib
import json
import re
import sys
from functools import cache
from pathlib import Path

import dbpipe
from dbpipe.catalog import views
from dbpipe.catalog.sql import queries
from dbpipe.catalog.work.offer import stage_queries
from dbpipe.runner.order import BY_NAME
from dbpipe.stage import Stage

RECORD = Path(__file__).with_suffix(".json")
PACKAGE = Path(dbpipe.__file__).parent
LEFT_OUT = ("dbpipe.catalog.", "dbpipe.runner.", "dbpipe.errors.", "dbpipe.failures.", "dbpipe.later.", "dbpipe.stage.")
"""What all stages run in, and words for what goes wrong: no result hangs from these."""
_SKIPPED = ("annotation", "returns", "ctx", "type_comment", "type_params", "kind", "type_ignores")


def plain(node):
    """Return the tree of some code as text that is the same in every Python, without words and types."""
    if isinstance(node, list):
        return "[" + " ".join(plain(item) for item in node if not _is_words(item)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    parts = [(name, value) for name, value in ast.iter_fields(node) if name not in _SKIPPED and value not in (None, [])]
    return f"({type(node).__name__} {' '.join(f'{name}={plain(value)}' for name, value in parts)})"


def _is_words(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def module(name):
    """Return (definitions: name -> trees, imports: name -> full name) of a module; None if it is not of dbpipe."""
    place = PACKAGE.parent / name.replace(".", "/")
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if not name.startswith("dbpipe") or not path.is_file():
        return None
    definitions, imported = {}, {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            definitions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in (each for t in targets for each in ast.walk(t) if isinstance(each, ast.Name)):
                definitions.setdefault(target.id, []).append(node)
    return definitions, imported


def uses(node):
    """Yield the names that some code uses, and those of attributes of names, dotted."""
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name):
            yield f"{each.value.id}.{each.attr}"
        elif isinstance(each, ast.Name):
            yield each.id


def reach(starts):
    """Return every (module, definition) that some of them reach."""
    found, waiting = set(), list(starts)
    while waiting:
        place = waiting.pop()
        known = module(place[0])
        if place in found or known is None or f"{place[0]}.".startswith(LEFT_OUT) or place[1] not in known[0]:
            continue
        found.add(place)
        for used in {used for node in known[0][place[1]] for used in uses(node)}:
            waiting += _places(place[0], known[1], used)
    return found


def _places(name, imported, used):
    """Return where a name that a module uses may be defined."""
    first, _, attribute = used.partition(".")
    if first not in imported:
        return [(name, first)]
    owner, _, thing = imported[first].rpartition(".")
    if attribute and module(imported[first]) is not None:
        return [(imported[first], attribute)]
    if module(owner) is not None and thing not in module(owner)[0] and thing in module(owner)[1]:
        return _places(owner, module(owner)[1], thing)  # a face that passes it on
    return [(owner, thing)]


def digests(stage):
    """Return file -> digest of what a stage reaches in it."""
    starts = [(each.__module__, each.__name__) for each in (stage.run.load(), stage.config)]
    texts = {}
    for name, definition in sorted(reach(starts)):
        texts.setdefault(name.replace(".", "/"), []).append(plain(module(name)[0][definition]))
    for name, text in sorted(_statements(stage).items()):
        texts.setdefault("sql", []).append(f"{name} {text}")
    return {name: hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12] for name, parts in texts.items()}


def _statements(stage):
    """Return name -> text of a stage's queries, and of the views and macros that these mention."""
    named = stage_queries(stage) if isinstance(stage, Stage) else queries.load_named("stages", stage.name)
    texts, makers = views.in_order(), views.find_makers()
    found, waiting = dict(named), list(named.values())
    while waiting:
        new = {makers[word] for word in views.words(waiting.pop()) & makers.keys()} - found.keys()
        found |= {name: texts[name] for name in new}
        waiting += [texts[name] for name in new]
    return {name: " ".join(re.sub(r"--[^\n]*", "", text).split()) for name, text in found.items()}


def now():
    """Return stage -> its version and digests today."""
    return {name: {"version": stage.version, "files": digests(stage)} for name, stage in BY_NAME.items()}


def changed(record, today):
    """Return stage -> files that differ from the record although the version is the same."""
    found = {}
    for stage, known in today.items():
        old = record.get(stage, {"version": None, "files": {}})
        names = {n for n in old["files"].keys() | known["files"].keys() if old["files"].get(n) != known["files"].get(n)}
        if names and old["version"] == known["version"]:
            found[stage] = sorted(names)
    return found


def main():
    """Write the record, or say what must be decided first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--same", metavar="WHY", help="the results are the same, although what is computed looks new")
    same = parser.parse_args().same
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    today = now()
    wanting = changed(record, today)
    if wanting and not same:
        sys.exit("\n".join(f"{stage}: {', '.join(names)}" for stage, names in wanting.items()))
    for stage, known in today.items():
        version = record.get(stage, {}).get("version")
        if stage in wanting:
            print(f"{stage} {known['version']}: results are the same, {same}")
        elif version != known["version"]:
            print(f"{stage}: version {version} -> {known['version']}")
        reason = same if stage in wanting else record.get(stage, {}).get("same")
        today[stage] = known | ({"same": reason} if reason and record[stage]["version"] == known["version"] else {})
    RECORD.write_text(json.dumps(today, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
