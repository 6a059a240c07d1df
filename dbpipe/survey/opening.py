"""The folder of a survey, and opening its catalog: to write, or to read what is newest.

my_survey/
  survey.toml      settings
  instrument.toml  what the headers of the raw files mean
  survey.duckdb    the catalog
  survey.lock      who is working on it
  published/       a copy of the catalog as the last command left it, for readers
  dbpipe.log       what went wrong
  files/           images that dbpipe made

Readers never hold the catalog: they have the copy, which every command that changes the catalog leaves behind.
"""

import os
import re
import shutil
import tempfile
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import duckdb

from dbpipe.catalog import migrations
from dbpipe.catalog.store import connection as catalog_connection
from dbpipe.catalog.store import rekey, snapshot
from dbpipe.catalog.store.lock import Lock
from dbpipe.catalog.store.snapshot import Label
from dbpipe.catalog.views import apply_views, has_current_views
from dbpipe.disk.beside import TEMPORARY_PREFIX, replace_file
from dbpipe.disk.ledger import is_own, plain_errors, write_output
from dbpipe.errors import CatalogError, ConfigError, DbpipeError, DiskError, SurveyBusy
from dbpipe.runner import order
from dbpipe.survey.settings import default_text

CATALOG = "survey.duckdb"
SNAPSHOT = "published/survey.duckdb"
LOCK = "survey.lock"
SETTINGS = "survey.toml"
INSTRUMENT = "instrument.toml"
LOG = "dbpipe.log"

_LEFTOVER = re.compile(rf"{re.escape(TEMPORARY_PREFIX)}[0-9]+-{re.escape(CATALOG)}(\.wal)?")
"""A catalog that was being made."""

_HEADING = """Settings of this survey. Every setting stands here with its default, commented out;
take away the "# " before a name to change it. `dbpipe config SURVEY` shows what is in force.
Changing a setting redoes exactly the work that depends on it, at the next `dbpipe run`."""


@dataclass(frozen=True)
class Opened:
    """A connection for a reader, on a snapshot of the catalog."""

    connection: duckdb.DuckDBPyConnection
    label: snapshot.Label | None = None
    """From when the snapshot is; None: it is a copy of the catalog as it is now."""
    stale: DbpipeError | None = None
    """Why there is no newer one."""
    folder: tempfile.TemporaryDirectory[str] | None = None
    """Where a copy is that nobody else reads."""

    @property
    def as_of(self) -> datetime | None:
        """UTC, from when the snapshot is."""
        return None if self.label is None else self.label.as_of

    def close(self) -> None:
        """Let go of it."""
        self.connection.close()
        if self.folder is not None:
            self.folder.cleanup()


@dataclass
class Writing:
    """The connection of the only writer of a survey."""

    root: Path
    connection: duckdb.DuckDBPyConnection
    lock: Lock
    label: snapshot.Label | None = None
    """Of the snapshot that readers have; None if there is none to read."""
    as_of: None = field(default=None, init=False)
    stale: None = field(default=None, init=False)

    def is_published(self) -> bool:
        """Return whether readers see the catalog as it is now."""
        return self.label is not None and self.label.is_current(self.root / CATALOG)

    def publish(self, *, same_rows: bool = False) -> datetime:
        """Let readers see the catalog as it is now; returns from when it is (UTC).

        ``same_rows``: since it was published no row of a long table has changed.

        Raises
        ------
        DiskError, CatalogError
            If it cannot be published; the catalog has everything all the same.
        """
        from dbpipe.publish import readers

        try:
            places = self.root / CATALOG, self.root / SNAPSHOT
            self.label = readers.publish(self.connection, *places, same_rows=self.label if same_rows else None)
        except (duckdb.Error, OSError) as error:
            of_disk = isinstance(error, OSError) or catalog_connection.is_disk_failure(error)
            text = "everything is done, but readers do not see it yet, for it cannot be published"
            raise (DiskError if of_disk else CatalogError)(f"{text}: {catalog_connection.first_line(error)}") from error
        return self.label.as_of

    def publish_changes(self) -> None:
        """Publish if the catalog has changed since it was published."""
        if not self.is_published():
            self.publish()

    def close(self) -> None:
        """Write everything to the file and let go of it."""
        try:
            self.connection.close()
        finally:
            self.lock.close()


def create(root: Path, instrument: str | os.PathLike[str]) -> list[str]:
    """Make the files of an empty survey; settings and description that are there already stay.

    Returns
    -------
    list of str
        The names of those that stay.

    Raises
    ------
    ConfigError
        If it is a survey already, or something is in the place of what a survey will have.
    """
    from dbpipe.io.raw.instrument import load_instrument

    load_instrument(instrument)
    _require_room(root)
    with closing(Lock(root / LOCK)):
        _require_room(root)
        texts = {
            INSTRUMENT: _instrument_file(instrument).read_bytes(),
            SETTINGS: default_text(order.sections(), _HEADING).encode(),
        }
        kept = [name for name in texts if os.path.lexists(root / name) and not is_own(root / name)]
        if INSTRUMENT in kept:
            load_instrument(root / INSTRUMENT)
        for name in texts.keys() - set(kept):
            write_output(root / name, partial(Path.write_bytes, data=texts[name]))
        _make_catalog(root)
    return [name for name in kept if (root / name).read_bytes() != texts[name]]


def _make_catalog(root: Path) -> None:
    """Make the catalog with all its tables beside its place, so that a survey is whole or not there."""
    for leftover in filter(_LEFTOVER.fullmatch, os.listdir(root)):  # of one who was killed here: we have the lock
        os.unlink(root / leftover)
    temporary = root / f"{TEMPORARY_PREFIX}{os.getpid()}-{CATALOG}"
    try:
        catalog_connection.create(temporary)
        with closing(catalog_connection.connect(temporary)) as connection:
            bring_up_to_date(connection)
        replace_file(temporary, root / CATALOG)
    finally:
        temporary.unlink(missing_ok=True)


def _require_room(root: Path) -> None:
    """Make the folder; ConfigError if it has a survey, or what a survey will write is there already."""
    with plain_errors(root):
        root.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(root / CATALOG):
            raise ConfigError(
                f"{root} is a survey already: to change its camera, edit {root / INSTRUMENT} and ingest the files again"
            )
        in_the_way = [name for name in (f"{CATALOG}.wal", "files", "published", LOG) if (root / name).exists()]
    if in_the_way:
        raise ConfigError(f"{root / in_the_way[0]} is there, where a survey has its own: give another folder")


def empty_catalog() -> Any:
    """Return a connection to a catalog in memory, as a new survey has it."""
    connection = catalog_connection.memory()
    migrations.migrate(connection)
    apply_views(connection)
    return connection


def instrument_text(instrument: str) -> str:
    """Return the description of a camera, with its comments; ConfigError if there is none of that name."""
    from dbpipe.io.raw.instrument import load_instrument

    load_instrument(instrument)
    return _instrument_file(instrument).read_text(encoding="utf-8")


def _instrument_file(instrument: str | os.PathLike[str]) -> Path:
    shipped = package_files("dbpipe") / "instruments" / f"{instrument}.toml"
    return Path(instrument) if str(instrument).endswith(".toml") else Path(str(shipped))


def open_to_write(root: Path, *, reader: bool = False, patience_s: float | None = None) -> Writing:
    """Open the catalog for writing, bring its schema up to date, and see to it that there is a snapshot.

    ``reader``: it is only for a moment, to publish what a killed command has left; other writers wait for that.
    ``patience_s`` as in `dbpipe.catalog.store.lock.Lock`.
    """
    root = Path(root).absolute()
    with ExitStack() as on_error:
        lock = on_error.enter_context(closing(Lock(root / LOCK, reader=reader, patience_s=patience_s)))
        connection = on_error.enter_context(closing(_connect(root)))
        catalog_connection.confine(connection, folders=[root])
        writing = Writing(root, connection, lock, _read_label(root))
        if bring_up_to_date(connection) or writing.label is None:
            writing.publish()  # so that nobody who only wants to read ever has to wait
        on_error.pop_all()
    return writing


def bring_up_to_date(connection: duckdb.DuckDBPyConnection) -> bool:
    """Give a catalog the tables, views and macros of this dbpipe; returns whether it had others.

    It may be killed at any moment, and the next one who writes goes on. Until the end `is_outdated`.
    """
    outdated = is_outdated(connection)
    if outdated:
        rekey.restore(connection)
        migrations.migrate(connection)
        apply_views(connection)
    return outdated


def is_outdated(connection: duckdb.DuckDBPyConnection) -> bool:
    """Return whether a catalog or snapshot lacks tables, views or macros of this dbpipe."""
    return (
        bool(migrations.pending_migrations(connection))
        or rekey.is_interrupted(connection)
        or not has_current_views(connection)
    )


def _connect(root: Path) -> duckdb.DuckDBPyConnection:
    try:
        return catalog_connection.connect(root / CATALOG)
    except CatalogError as error:
        if (root / SNAPSHOT).is_file():
            text = f"{error}; what was published last can still be read (dbpipe sql, dbpipe export)"
            raise CatalogError(text) from error
        raise


def _read_label(root: Path) -> Label | None:
    """Return the label of the snapshot that readers have; None if there is none that they can read."""
    found = _find_snapshot(root)
    if found is None:
        return None
    found.close()
    return found.label


def open_to_read(root: Path, *, current: bool = False, scratch: Path | None = None) -> Opened:
    """Open the newest snapshot that can be had; what a killed command has left is published first.

    Parameters
    ----------
    root : path
    current : bool
        The snapshot must be the catalog as it is now.
    scratch : path, optional
        See `dbpipe.catalog.store.snapshot.shut_in`.

    Raises
    ------
    SurveyBusy
        If somebody is writing, and there is no snapshot, or one that is not current and so not wanted.
    """
    root = Path(root).absolute()
    found = _find_snapshot(root, scratch)
    if found is not None and found.stale is None:
        return found
    is_needed = current or found is None
    try:
        _publish_for_readers(root, patience_s=None if is_needed else 0.0)
    except (SurveyBusy, CatalogError, DiskError) as error:
        if found is not None and not is_needed:
            return replace(found, stale=error)
        if found is not None:
            found.close()
        if _is_writable(root) or isinstance(error, SurveyBusy):
            raise
        return _open_copy(root, scratch)
    if found is not None:
        found.close()
    return _open_snapshot(root, scratch)


def find_writer(root: Path, opened: Opened) -> str:
    """Return who is writing to the catalog, or has since a reader opened it; "" if nobody."""
    root = Path(root).absolute()
    try:
        Lock(root / LOCK, shared=True, patience_s=0.0).close()
    except SurveyBusy as error:
        return str(error)
    if opened.stale is None and (opened.label is None or opened.label.is_current(root / CATALOG)):
        return ""
    return "the catalog has changed since it was published"


def _find_snapshot(root: Path, scratch: Path | None = None) -> Opened | None:
    """Open the snapshot; None if there is none that can be read: it is of a newer dbpipe, damaged, or not ours."""
    try:
        return _open_snapshot(root, scratch) if (root / SNAPSHOT).is_file() else None
    except CatalogError:
        return None


def _open_snapshot(root: Path, scratch: Path | None = None) -> Opened:
    connection = catalog_connection.connect(root / SNAPSHOT, read_only=True)
    with ExitStack() as on_error:
        on_error.callback(connection.close)
        snapshot.shut_in(connection, (root / SNAPSHOT).parent, scratch=scratch)
        label = snapshot.read_label(connection)
        fits = label.is_current(root / CATALOG) and not is_outdated(connection)
        on_error.pop_all()
    return Opened(connection, label, None if fits else CatalogError("the catalog has changed since"))


def _is_writable(root: Path) -> bool:
    return os.access(root, os.W_OK) and os.access(root / CATALOG, os.W_OK)


def _publish_for_readers(root: Path, *, patience_s: float | None) -> None:
    if not _is_writable(root):
        raise CatalogError(f"the catalog has changed since, and {root} cannot be written to, so that it stays as it is")
    with closing(open_to_write(root, reader=True, patience_s=patience_s)) as writing:
        writing.publish_changes()


def _open_copy(root: Path, scratch: Path | None) -> Opened:
    """Open a copy of the catalog of a survey that has no snapshot and cannot be written to."""
    with ExitStack() as on_error:
        folder = tempfile.TemporaryDirectory(prefix="dbpipe-")
        on_error.callback(folder.cleanup)
        copy = Path(folder.name) / CATALOG
        with closing(Lock(root / LOCK, shared=True)):  # no DuckDB of this process has the file open: it could not lock
            for ending in ("", ".wal"):
                source = Path(f"{root / CATALOG}{ending}")
                catalog_connection.refuse_link(source)
                if source.is_file():
                    shutil.copyfile(source, f"{copy}{ending}")
        connection = on_error.enter_context(closing(catalog_connection.connect(copy)))
        if migrations.pending_migrations(connection):
            raise CatalogError(
                f"the schema of {root} is older and cannot be brought up to date: it cannot be written to"
            )
        if not has_current_views(connection):
            apply_views(connection)  # of the copy: nobody else sees it
        snapshot.shut_in(connection, Path(folder.name), scratch=scratch)
        on_error.pop_all()
    return Opened(connection, folder=folder)
