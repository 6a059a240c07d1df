"""Data-quality rules: each query of ``sql/checks/`` SELECTs offending rows; none anywhere means healthy."""

from dataclasses import dataclass

from dbpipe.catalog.files import find_missing, find_missing_raw
from dbpipe.catalog.queries import directory, load


@dataclass(frozen=True)
class Finding:
    """One rule and what it found."""

    name: str
    rule: str
    n_row: int
    example: str


def run_checks(connection, root, *, check_hash=False):
    """Apply every rule to a survey and return a `Finding` for each; ``n_row`` is 0 where all is well."""
    found = [
        _run_check(connection, f"{path.stem}.{name}", query)
        for path in sorted((directory("sql") / "checks").glob("*.sql"))
        for name, query in load(path).items()
    ]
    lost = find_missing(connection, root, check_hash=check_hash)
    found.append(_finding("files.product", "Every file that the catalogue names is there, as it was written.", lost))
    raw = find_missing_raw(connection)
    found.append(_finding("files.raw", "Every raw file is where it was ingested, of the same size.", raw))
    return found


def _run_check(connection, name, query):
    relation = connection.sql(query)
    columns, rows = relation.columns, relation.fetchall()
    described = [(", ".join(f"{c} = {v}" for c, v in zip(columns, row, strict=True)), "") for row in rows[:1]]
    rule = query.splitlines()[0].removeprefix("-- ")
    return Finding(name, rule, len(rows), described[0][0] if described else "")


def _finding(name, rule, rows):
    return Finding(name, rule, len(rows), " ".join(rows[0]) if rows else "")
