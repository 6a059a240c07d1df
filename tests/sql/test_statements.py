"""SQL lives in sql/: what is left of it in Python is on a list, which may only get shorter."""

import ast
import re
from functools import cache
from pathlib import Path

import dbpipe

PACKAGE = Path(dbpipe.__file__).parent
LEFT = {
    "catalog.checks": (1, "what `dbpipe check --new` writes for a user to change"),
    "catalog.sky_shards": (6, "tables and views of tiles: names that no parameter can be"),
    "catalog.sql.questions": (2, "a user's condition as a query: it is parsed, and never run"),
    "catalog.store.connection": (13, "transactions, and DuckDB's own settings and files"),
    "catalog.store.lent": (1, "the one INSERT of rows that Python holds, into any table"),
    "catalog.store.rekey": (9, "below the reader of sql/; tables set aside, names that no parameter can be"),
    "catalog.store.snapshot": (17, "below the reader of sql/; a copy of every table, names that no parameter can be"),
    "catalog.work.offer": (2, "a work query of sql/ held to one unit: DuckDB takes no parameter within query()"),
    "catalog.work.units": (4, "rows of any table and key, names that no parameter can be"),
    "publish.layouts": (1, "columns of a relation"),
    "publish.partitions": (2, "columns of a relation, and a setting"),
    "survey.synthetic": (3, "a setting, CHECKPOINT, and an INSERT of a query of sql/"),
    "template.cuts": (1, "how a cut is written for people, and in the record of a decision"),
}
"""Module -> number of statements and pieces of statements in it, and why they are no files."""
PASTED = {
    "catalog.sky_shards": (1, "DuckDB's own text of a table, for a table of a tile that is the same"),
    "catalog.sql.questions": (2, "what is looked at before it may be asked"),
    "catalog.work.offer": (1, "a query of sql/"),
    "template.cuts": (1, "shown, and never run"),
}
"""Module -> number of its statements with something pasted in that is not quoted, and why that is no parameter."""

_BEGINS = re.compile(
    r"\s*(?:--[^\n]*\s+)*(?:"
    r"(?:SELECT|FROM|WITH|INSERT INTO|INSERT OR REPLACE|UPDATE|DELETE FROM|COPY|ATTACH|DETACH|USE|PRAGMA|DESCRIBE)\b"
    r"|(?:CREATE|DROP|ALTER|COMMENT ON) (?:OR REPLACE |TEMP |TABLE |VIEW |MACRO |SCHEMA |TYPE |INDEX |COLUMN )"
    r"|(?:SET|RESET|EXPLAIN|SUMMARIZE|INSTALL|LOAD) \w+|BEGIN\b|COMMIT\b|ROLLBACK\b|CHECKPOINT\b"
    r"|(?:WHERE|AND|OR|UNION|ORDER BY|GROUP BY|JOIN|LIMIT|HAVING|VALUES|USING) )"
)
_HOLDS = re.compile(
    r"\bEXCLUDE \(|\b(?:read_parquet|query_table|list_contains|cast_to_type)\(|\) AS \w+|\w+ >> |= ?\$\{?\w"
)
_QUOTING = {"quote_name", "quote_text", "find_relation", "_query", "load_named"}
"""Functions that make a name or a text one of SQL's, or read a statement from a file."""


@cache
def modules():
    """Return name below dbpipe -> syntax tree."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def text_of(node):
    """Return the text of a constant or an f-string, with {} for what is pasted in; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def is_sql(node):
    """Return whether a node is a text that is a statement, or a piece of one."""
    text = text_of(node)
    return text is not None and bool(_BEGINS.match(text) or _HOLDS.search(text))


def statements(tree):
    """Return the nodes of a module that are SQL; docstrings and the parts of f-strings are none."""
    left_out = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            left_out |= {id(part) for part in node.values}
        elif isinstance(node, ast.Expr):
            left_out.add(id(node.value))
    return [node for node in ast.walk(tree) if id(node) not in left_out and is_sql(node)]


class Values:
    """What the names in a function of a module can stand for."""

    def __init__(self, tree, scope):
        self.functions = {
            node.name: [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef)
        }
        self.tree, self.of_name = tree, {}
        for node in ast.walk(scope):
            if isinstance(node, ast.Assign):
                self._note(node.targets, node.value)
            elif isinstance(node, ast.For | ast.comprehension):
                self._note([node.target], node.iter)
            elif isinstance(node, ast.arg):
                self.of_name.setdefault(node.arg, []).append(None)

    def _note(self, targets, value):
        for target in targets:
            for each in ast.walk(target):
                if isinstance(each, ast.Name):
                    self.of_name.setdefault(each.id, []).append(value if each is target else None)

    def are_quoted(self, node):
        """Return whether all that a node can be is a constant, quoted, or made of what is."""
        if isinstance(node, ast.Constant):
            return True
        if isinstance(node, ast.JoinedStr):
            return all(map(self.are_quoted, pasted(node)))
        if isinstance(node, ast.IfExp):
            return self.are_quoted(node.body) and self.are_quoted(node.orelse)
        if isinstance(node, ast.GeneratorExp | ast.ListComp):
            return self.are_quoted(node.elt)
        if isinstance(node, ast.List):
            return all(self.are_quoted(each.value if isinstance(each, ast.Starred) else each) for each in node.elts)
        if isinstance(node, ast.Name):
            known = self.of_name.get(node.id, [])
            return (bool(known) and all(map(self.are_quoted, known))) or (not known and node.id.isupper())
        return isinstance(node, ast.Call) and self._is_quoting(node)

    def _is_quoting(self, call):
        if isinstance(call.func, ast.Attribute):
            return call.func.attr == "join" and self.are_quoted(call.args[0])
        name = call.func.id
        if name == "map":
            return call.args[0].id in _QUOTING
        returned = self.functions.get(name, [])
        inside = Values(self.tree, _scope_of(self.tree, name)) if returned else None
        return name in _QUOTING or (bool(returned) and all(map(inside.are_quoted, returned)))


def pasted(node):
    """Return what an f-string pastes in, but for the names of parameters."""
    before = [None, *node.values]
    return [
        part.value
        for part, last in zip(node.values, before, strict=False)
        if isinstance(part, ast.FormattedValue) and not (text_of(last) or "").endswith("$")
    ]


def _scope_of(tree, name):
    return next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name)


def pastes(tree):
    """Return the statements of a module into which something comes that is neither quoted nor a parameter."""
    found = {id(node) for node in statements(tree)}
    if not found:
        return []
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    wrong = {}
    for scope in (*functions, tree):
        values = Values(tree, scope)
        for node in ast.walk(scope):
            if id(node) not in wrong:
                wrong[id(node)] = node if _is_pasting(node, values, found) else None
    return [node for node in wrong.values() if node is not None]


def _is_pasting(node, values, found):
    if id(node) in found and isinstance(node, ast.JoinedStr):
        return not all(map(values.are_quoted, pasted(node)))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        others = [other for side, other in ((node.left, node.right), (node.right, node.left)) if is_sql(side)]
        return not all(map(values.are_quoted, others))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_sql(node.func.value):
        return node.func.attr in ("format", "replace")
    return False


def compare(found, listed):
    """Return what is to be done where the statements of modules are more or fewer than the list says."""
    advice = []
    for name in sorted({*found, *listed}):
        nodes, (n_listed, _) = found.get(name, []), listed.get(name, (0, ""))
        places = "; ".join(f"line {node.lineno}: {ast.unparse(node)[:80]}" for node in nodes)
        if len(nodes) > n_listed:
            advice.append(f"{name} has {len(nodes)} of {n_listed}: put new ones into a file of sql/. {places}")
        elif len(nodes) < n_listed:
            advice.append(f"{name} has {len(nodes)}, the list says {n_listed}: lower the number in the list")
    return advice


def test_statements_are_files():
    """Python holds no more SQL than the list says, and the list no more than Python holds."""
    found = {name: nodes for name, tree in modules().items() if (nodes := statements(tree))}
    assert compare(found, LEFT) == []


def test_values_are_parameters():
    """What comes into the text of a statement is a name or a text as SQL quotes it; every value is a parameter."""
    found = {name: nodes for name, tree in modules().items() if (nodes := pastes(tree))}
    assert compare(found, PASTED) == []


def test_every_exception_has_a_reason():
    """What is left in Python says why."""
    assert all(why and n > 0 for n, why in (*LEFT.values(), *PASTED.values()))


def test_pasting_is_seen():
    """A value in a statement is found however it gets there; names that are quoted and parameters are let through."""
    wrong = ('f"SELECT {x}"', '"DELETE FROM a WHERE b = %s" % x', '"SELECT " + x', '"SELECT {}".format(x)')
    right = ('f"FROM {quote_name(x)} WHERE {quote_name(y)} = ${y}"', "f\"FROM {', '.join(map(quote_name, x))}\"")
    assert [len(pastes(ast.parse(f"z = {text}"))) for text in (*wrong, *right)] == [1, 1, 1, 1, 0, 0]
