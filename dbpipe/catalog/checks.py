"""Data-quality checks: queries that SELECT offending rows.

There are two kinds. A rule holds in every healthy catalog: rows and files belong together; one that is broken is an
error. A warning says that a measurement is not to be trusted, as on a bad night; it has a line ``-- warning`` among its
comments. Those of dbpipe are in ``sql/checks/``; a user's own in a folder of the survey.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from dbpipe.catalog.files import find_missing, find_missing_raw
from dbpipe.catalog.sql.errors import explain_refusal
from dbpipe.catalog.sql.queries import directory, load
from dbpipe.catalog.sql.questions import check_select
from dbpipe.catalog.store.connection import first_line, only_reading
from dbpipe.disk.ledger import plain_errors
from dbpipe.errors import CatalogError, ConfigError
from dbpipe.ranges import Ranged

_WARNING = re.compile(r"^-- *warning *$", re.MULTILINE)
_COMMENT = re.compile(r"^--(?! *name:| *warning *$) *(.*\S)", re.MULTILINE)
_RAW_RULE = "Every raw file is where it was ingested, of the same size (was it moved? `dbpipe ingest` its new place)."
_EXAMPLE = """\
-- name: {name}
-- Say here in one sentence what should be true: `dbpipe check` prints it beside the rows that break it.
-- warning
--
-- The line "-- warning" makes this a matter of quality: it is shown, and `dbpipe check` still ends with 0. Without that
-- line a row found here is an error, and the exit code 1.
--
-- Below comes one SELECT of the rows that should not be. Every table and view of `dbpipe schema` can be asked. Useful:
--   diffim_quality    figures of each difference image     diffim_cell   the same on 4 x 4 cells of the detector
--   diffim_distrust   what dbpipe itself distrusts         template_depth   predicted and measured depth
--   calexp, visit     seeing, zero point, noise, airmass   dia_source_clean   detections without a flag
-- A file may hold several checks, each beginning with its own "-- name:" line. Nothing can be changed from here.
SELECT visit, detector, psf_fwhm_arcsec, astrom_rms_arcsec
FROM calexp
WHERE psf_fwhm_arcsec > 2.0 OR astrom_rms_arcsec > 0.1
ORDER BY visit, detector
"""


@dataclass(frozen=True)
class CheckConfig(Ranged):
    """Settings of `dbpipe check`."""

    folder: str = "checks"
    """Folder with your own checks, *.sql, in the survey; `dbpipe check SURVEY --new NAME` writes an example."""


@dataclass(frozen=True)
class Finding:
    """One check and what it found."""

    name: str
    rule: str
    n_row: int
    example: str
    error: str = ""
    """Why a user's check could not be asked; n_row is then 1, so that it does not pass for healthy."""
    left_out: str = ""
    """Why it was not looked at; n_row is then 0."""


def run_checks(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    *,
    folder: Path | None = None,
    check_hash: bool = False,
    who_writes: Callable[..., Any] = lambda: "",
) -> list[Finding]:
    """Apply every rule to a survey and return a `Finding` for each; ``n_row`` is 0 where all is well.

    ``who_writes()`` says who is changing the files meanwhile, if anybody: they are then not compared with the rows.
    """
    found = [_ask_own(connection, *check) for check in _own(is_warning=False)]
    found += _look_at_files(connection, root, check_hash, who_writes)
    return found + [_ask_user(connection, *check) for check in _of_user(folder, is_warning=False)]


def _look_at_files(
    connection: duckdb.DuckDBPyConnection, root: Path, check_hash: bool, who_writes: Callable[..., Any]
) -> list[Finding]:
    rules = {
        "files.product": "Every file that the catalog names is there, as it was written.",
        "files.raw": _RAW_RULE,
    }
    if not (busy := who_writes()):
        lost = find_missing(connection, root, check_hash=check_hash), find_missing_raw(connection)
        busy = who_writes()
    if busy:
        return [Finding(name, rule, 0, "", left_out=busy) for name, rule in rules.items()]
    return [_finding(name, rule, rows) for (name, rule), rows in zip(rules.items(), lost, strict=True)]


def run_warnings(connection: duckdb.DuckDBPyConnection, *, folder: Path | None = None) -> list[Finding]:
    """Apply every check that is a matter of quality and return a `Finding` for each."""
    found = [_ask_own(connection, *check) for check in _own(is_warning=True)]
    return found + [_ask_user(connection, *check) for check in _of_user(folder, is_warning=True)]


def write_example(folder: Path, name: str) -> Path:
    """Write a commented example of a check and return its path.

    Raises
    ------
    ConfigError
        If the name is not one word, or there is such a file.
    """
    if not re.fullmatch(r"\w+", name):
        raise ConfigError(f"a check is named with letters, digits and _, not {name!r}")
    path = Path(folder) / f"{name}.sql"
    if os.path.lexists(path):
        raise ConfigError(f"{path} is there already")
    with plain_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x", encoding="utf-8") as file:
            file.write(_EXAMPLE.format(name=name))
    return path


def _own(*, is_warning: bool) -> Iterator[tuple[str, str]]:
    for path in sorted((directory("sql") / "checks").glob("*.sql")):
        for name, query in load(path).items():
            if bool(_WARNING.search(query)) == is_warning:
                yield f"{path.stem}.{name}", query


def _of_user(folder: Path | None, *, is_warning: bool) -> Iterator[tuple[str, str]]:
    """Yield name and text of a user's checks; a file without a ``-- name:`` line is one check of the file's name."""
    for path in sorted(Path(folder).glob("*.sql")) if folder else ():
        if not path.is_file():  # a pipe would be waited for
            raise ConfigError(f"the check {path} is not a file")
        try:
            queries = load(path) or {path.stem: path.read_text(encoding="utf-8").strip().rstrip(";")}
        except (CatalogError, UnicodeDecodeError, OSError) as error:
            raise ConfigError(f"the check {path} cannot be read: {error}") from error
        for name, query in queries.items():
            if bool(_WARNING.search(query)) == is_warning:
                yield f"{path.parent.name}/{path.name}: {name}", query


def _ask_own(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> Finding:
    try:
        return _ask(connection, name, query)
    except duckdb.Error as error:  # a catalog that is not as dbpipe makes it
        return Finding(name, "", 1, "", first_line(error))


def _ask(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> Finding:
    relation = connection.sql(query)
    columns, rows = relation.columns, relation.fetchall()
    example = ", ".join(f"{c} = {v}" for c, v in zip(columns, rows[0], strict=True)) if rows else ""
    said = _COMMENT.search(query)
    return Finding(name, said[1] if said else "", len(rows), example)


def _ask_user(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> Finding:
    try:
        check_select(connection, query)
        with only_reading(connection):
            return _ask(connection, name, query)
    except ConfigError as error:
        return Finding(name, "", 1, "", str(error))
    except duckdb.Error as error:
        return Finding(name, "", 1, "", explain_refusal(connection, query, error))


def _finding(name: str, rule: str, rows: Sequence[tuple[str, str]]) -> Finding:
    return Finding(name, rule, len(rows), " ".join(rows[0]) if rows else "")
