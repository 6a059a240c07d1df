"""Printing: tables, and progress that is a bar on a terminal and lines in a log.

What is printed comes from headers, file names and tables of others. Nothing of it is taken for markup, and nothing
reaches a terminal or a log that `dbpipe.cli.terminal.text` has not seen.
"""

import hashlib
import logging
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from dbpipe.catalog.migrations import is_older
from dbpipe.catalog.sql.queries import load_named
from dbpipe.catalog.store.connection import first_line, refuse_link
from dbpipe.catalog.store.lock import TRY_AGAIN
from dbpipe.catalog.work.units import Verdict
from dbpipe.cli.terminal.text import printable, printable_lines
from dbpipe.errors import CatalogError, SurveyBusy
from dbpipe.failures import DATA
from dbpipe.runner.outlook import Outdated
from dbpipe.runner.report import Report, Summary
from dbpipe.survey import Survey
from dbpipe.survey.opening import INSTRUMENT, LOG

LOG_SIZE_BYTE = 10 << 20
N_OLD_LOG = 5
"""dbpipe.log.1 is the newest of them."""
RETRY_S = 1.0
"""How often a command that waits for the survey looks."""
_UPGRADE = "the next command that changes it, as `dbpipe run`, brings its tables up to date"
_REDONE = {
    "ingest": "are redone when their files are named again (`dbpipe ingest {root} FILES`), and what hangs from them",
    "template": "are decided anew, in the same way, by `dbpipe run {root}`",
    "inject": "are redone by `dbpipe inject {root}`",
}
"""What becomes of units that an older version of their stage made, where `dbpipe run` does not simply redo them."""
LINE_EVERY_S = 10.0
"""How often a log that is not a terminal hears of a stage that goes on."""
MIN_PACE_S = 5.0
"""Time after the first unit from which on it is said how long the others may take."""


class Shell(Console):
    """A console that takes text for what it is: no markup, no emoji, no control characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print texts, each as one line (line breaks at its ends are kept), or tables."""
        super().print(*(_one_line(item) if isinstance(item, str) else item for item in objects), **options)

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: leave it to the command line, which ends in silence."""
        raise BrokenPipeError


def _one_line(text: str) -> str:
    inner = text.strip("\n")
    before, _, after = text.partition(inner) if inner else (text, "", "")
    return before + printable(inner) + after


def finite(value: float | None) -> float | None:
    """Refuse a number of the command line that is none: NaN is neither below a lower limit nor above an upper one."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a finite number")
    return value


def console(*, quiet: bool = False) -> Shell:
    """Return the console; a pipe gets lines as long as they are, and a quiet one says nothing."""
    return Shell(soft_wrap=not sys.stdout.isatty(), quiet=quiet)


def _table_shell() -> Shell:
    return Shell(width=None if sys.stdout.isatty() else 10_000)


def _new_table(title: str | None) -> Any:
    title = None if title is None else printable(title)
    return Table(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)


def print_table(columns: Sequence[str], rows: Any, *, title: str | None = None) -> None:
    """Print rows as a table; NULL is shown as a dot."""
    table = _new_table(title)
    for name in columns:
        table.add_column(printable(name), overflow="fold")
    for row in rows:
        table.add_row(*(format_value(value) for value in row))
    _table_shell().print(table)


def print_answer(columns: Sequence[str], rows: Sequence[tuple[Any, ...]], *, title: str | None = None) -> None:
    """Print rows of a query: numbers to the right, decimal points in line, and NULL as a dot.

    What is too wide for the terminal is printed row by row, one column a line, so that nothing is cut or broken.
    """
    texts = [_column(name, [row[k] for row in rows]) for k, name in enumerate(columns)]
    shell = _table_shell()
    if sum(len(column[0]) + 3 for column in texts) > shell.width:
        for number in range(1, len(rows) + 1):
            values = [(name, column[number].strip()) for name, column in zip(columns, texts, strict=True)]
            print_table(("column", "value"), values, title=f"row {number}")
        return
    table = _new_table(title)
    for column in texts:
        table.add_column(column[0], no_wrap=True)
    for row in zip(*(column[1:] for column in texts), strict=True):
        table.add_row(*row)
    shell.print(table)


def _column(name: str, values: Sequence[Any]) -> list[str]:
    """Return name and values as texts of equal length: numbers end together, text begins together."""
    texts = [printable(name), *_aligned(values, is_time="mjd" in name.lower())]
    width = max(map(len, texts))
    is_number = all(_is_number(value) or value is None for value in values)
    return [text.rjust(width) if is_number else text.ljust(width) for text in texts]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _aligned(values: Sequence[Any], *, is_time: bool) -> list[str]:
    """Return the texts of a column; decimal points are brought into line with spaces behind.

    A day number has five digits before the point: it gets seven behind it, 10 ms.
    """
    if not any(isinstance(value, float) for value in values):
        return [format_value(value) for value in values]
    texts = [f"{v:.7f}" if is_time and isinstance(v, float) else format_value(v) for v in values]
    behind = [len(text) - text.index(".") if "." in text else 0 for text in texts]
    return [text + " " * (max(behind) - n) for text, n in zip(texts, behind, strict=True)]


def format_value(value: Any) -> str:
    """Return a value as a reader wants to see it."""
    if value is None:
        return "·"
    if isinstance(value, float):
        return f"{value:.10g}"
    return printable(value)


@contextmanager
def reading(root: Path) -> Iterator[Survey]:
    """Open a survey to ask it; if the answer is that of an older snapshot, say so on standard error."""
    with Survey.open(root) as survey:
        if survey.busy is not None:
            why = survey.busy.removesuffix(f"; {TRY_AGAIN}")
            text = f"dbpipe: this is the survey as of {survey.as_of:%Y-%m-%d %H:%M:%S} UTC ({why})"
            print(printable(text), file=sys.stderr)
        try:
            yield survey
        except Exception as error:
            if not is_older(survey.connection):
                raise
            raise CatalogError(
                f"{first_line(error)} ({root} is still as an older dbpipe left it; {_UPGRADE})"
            ) from error


class _Lines(logging.Formatter):
    """A record begins a line; what else it has, a traceback, is indented: no text from data can pass for a record."""

    def format(self, record: Any) -> str:
        """Return the lines of a record."""
        return "\n    ".join(printable_lines(super().format(record)).split("\n"))


class _Log(RotatingFileHandler):
    """The log of a survey: a new file when it is full, and some old ones; a symbolic link is not followed."""

    def __init__(self, root: Path) -> None:
        path = Path(root) / LOG
        super().__init__(path, maxBytes=LOG_SIZE_BYTE, backupCount=N_OLD_LOG, encoding="utf-8")
        self.setFormatter(_Lines("%(asctime)s %(levelname)s %(message)s"))

    def _open(self) -> Any:
        refuse_link(self.baseFilename)
        return super()._open()

    def handleError(self, record: Any) -> None:
        """Say nothing if the disk is full: the run itself will."""


@contextmanager
def writing(root: Path, *, wait: bool = False) -> Iterator[Survey]:
    """Open a survey to work on it; what goes wrong is also written, with its traceback, to the survey's log.

    ``wait`` for who else is working on it, however long that takes.
    """
    with _open_to_write(root, wait) as survey:
        log = logging.getLogger("dbpipe")
        handler = _Log(root)
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            yield survey
        except Exception:
            log.exception("stopped")
            raise
        finally:
            log.removeHandler(handler)
            log.propagate = True
            handler.close()


def _open_to_write(root: Path, wait: bool) -> Survey:
    while True:
        try:
            return Survey.open(root, read_only=False)
        except SurveyBusy:
            if not wait:
                raise
        time.sleep(RETRY_S)


class Progressing(Report):
    """Shows how far the stages are; use it in a ``with`` block."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = console(quiet=quiet)
        self._bar = None
        if sys.stdout.isatty() and not quiet:
            columns = (TextColumn("{task.description:<10}", markup=False), BarColumn(), MofNCompleteColumn())
            self._bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._console)

    def __enter__(self) -> "Progressing":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._bar is not None:
            self._bar.stop()

    def start(self, stage_name: str, n_unit: int) -> None:
        """A stage begins."""
        self._started = self._first_at = self._last_line = time.monotonic()
        self._n_unit, self._n_settled = n_unit, 0
        if self._bar is not None and n_unit:
            self._task = self._bar.add_task(stage_name, total=n_unit)

    def _left(self) -> str:
        """Return the time that is left in words, by the pace since the first unit: that one may have compiled code."""
        since_first_s = self._last_line - self._first_at
        if self._n_settled < 2 or since_first_s < MIN_PACE_S:
            return " (code is compiled where it runs for the first time)" if self._n_settled == 1 else ""
        return f", about {since_first_s / (self._n_settled - 1) * (self._n_unit - self._n_settled):.0f} s left"

    def unit(self, verdict: Verdict) -> None:
        """A unit was committed; a failure is shown at once."""
        self._n_settled += 1
        if verdict.status == "failed":
            kind = "" if verdict.kind == DATA else f" [{verdict.kind}]"
            text = describe(verdict.reason or "", verdict.numbers)
            self._console.print(f"  {verdict.stage} {verdict.unit_key}{kind}: {text}")
        if self._bar is not None:
            self._bar.advance(self._task)
        elif time.monotonic() - self._last_line > LINE_EVERY_S and self._n_settled < self._n_unit:
            self._last_line = time.monotonic()
            self._console.print(f"{verdict.stage}: {self._n_settled} of {self._n_unit}{self._left()}")
        if self._n_settled == 1:
            self._first_at = time.monotonic()

    def finish(self, summary: Summary) -> None:
        """A stage has ended."""
        print_summary(self._console, summary, time.monotonic() - self._started)


def print_outdated(out: Shell, root: Path, found: Sequence[Outdated]) -> None:
    """Print what an older dbpipe made and what becomes of it, a line for each stage and version."""
    for outdated in found:
        what = _REDONE.get(outdated.stage, "are redone by `dbpipe run {root}`, and what hangs from them")
        out.print(
            f"{outdated.stage}: {outdated.n_unit} units of version {outdated.made_by} {what.format(root=root)}: "
            f"results changed in version {outdated.version}"
        )


def print_stale_description(out: Shell, opened: Any) -> None:
    """Print how many images were read by another description of the instrument than the survey has now."""
    path = opened.root / INSTRUMENT
    now = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    found = opened.fetch(load_named("reports", "status")["other_description"], now=now).to_pylist()
    if now and found:
        out.print(
            f"{INSTRUMENT} has changed since {found[0]['n_raw']} raw images were read: `dbpipe ingest` them again"
        )


def print_summary(out: Shell, summary: Summary, wall_s: float) -> None:
    """Print what a stage did in one line."""
    counts = (
        (summary.n_done, "done"),
        (summary.n_skipped, "skipped"),
        (summary.n_failed, "failed"),
        (summary.n_removed, "taken back"),
    )
    text = ", ".join(f"{n} {word}" for n, word in counts if n)
    out.print(f"{summary.stage}: {text} in {wall_s:.1f} s" if text else f"{summary.stage}: 0 units of work")


def describe(reason: str, numbers: Mapping[str, Any]) -> str:
    """Return a reason with its numbers on one line."""
    short = {name: f"{value:.5g}" if isinstance(value, float) else value for name, value in (numbers or {}).items()}
    text = ", ".join(f"{name} = {value}" for name, value in short.items())
    return f"{reason} ({text})" if text else str(reason)
