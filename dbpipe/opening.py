"""The folder of a survey, and opening its catalogue: to write, or to read what is newest.

my_survey/
  survey.toml      settings
  instrument.toml  what the headers of the raw files mean
  survey.duckdb    the catalogue
  survey.lock      who is working on it
  published/       a copy of the catalogue as the last run left it, for readers
  dbpipe.log       what went wrong
  files/           images that dbpipe made
"""

import shutil
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.resources import files as package_files
from pathlib import Path

import duckdb

from dbpipe import pipeline
from dbpipe.catalog import connection as catalog_connection
from dbpipe.catalog import migrations, rekey, snapshot
from dbpipe.errors import CatalogError, ConfigError, SurveyBusy
from dbpipe.settings import default_text

CATALOG = "survey.duckdb"
SNAPSHOT = "published/survey.duckdb"
LOCK = "survey.lock"
SETTINGS = "survey.toml"
INSTRUMENT = "instrument.toml"

_HEADING = """Settings of this survey. Every setting stands here with its default, commented out;
take away the "# " before a name to change it. `dbpipe config SURVEY` shows what is in force.
Changing a setting redoes exactly the work that depends on it, at the next `dbpipe run`."""


@dataclass(frozen=True)
class Opened:
    """A connection to a catalogue or its snapshot, and what holds others off it."""

    connection: duckdb.DuckDBPyConnection
    lock: catalog_connection.Lock | None = None
    as_of: datetime | None = None
    """UTC, from when the snapshot is; None: it is the catalogue itself."""
    busy: str | None = None
    """Who is writing to the catalogue, so that the snapshot may be behind."""

    def close(self):
        """Write everything to the file and let go of it."""
        self.connection.close()
        if self.lock is not None:
            self.lock.close()


def create(root, instrument):
    """Make the files of an empty survey."""
    from dbpipe.io.instrument import load_instrument

    if (root / CATALOG).exists():
        raise ConfigError(f"{root} is a survey already")
    load_instrument(instrument)
    root.mkdir(parents=True, exist_ok=True)
    _copy_instrument(instrument, root / INSTRUMENT)
    if not (root / SETTINGS).exists():
        (root / SETTINGS).write_text(default_text(pipeline.sections(), _HEADING), encoding="utf-8")
    with closing(catalog_connection.Lock(root / LOCK)):
        catalog_connection.create(root / CATALOG)


def empty_catalog():
    """Return a connection to a catalogue in memory, as a new survey has it."""
    from dbpipe.export import apply_views

    connection = catalog_connection.memory()
    migrations.migrate(connection)
    apply_views(connection)
    return connection


def _copy_instrument(instrument, path):
    shipped = package_files("dbpipe") / "instruments" / f"{instrument}.toml"
    source = Path(instrument) if str(instrument).endswith(".toml") else Path(str(shipped))
    if source.resolve() != path.resolve():
        shutil.copyfile(source, path)


def open_to_write(root):
    """Open the catalogue for writing, bring its schema up to date, and see to it that there is a snapshot."""
    from dbpipe.export import apply_views

    with ExitStack() as on_error:
        opened = on_error.enter_context(closing(_open_catalog(root, read_only=False)))
        rekey.restore(opened.connection)
        migrations.migrate(opened.connection)
        apply_views(opened.connection)
        if not (root / SNAPSHOT).exists():
            publish(root, opened.connection)  # so that nobody who only wants to read ever has to wait
        on_error.pop_all()
    return opened


def publish(root, connection):
    """Let readers see the catalogue as it is now; returns from when it is (UTC)."""
    from dbpipe import published

    return published.publish(connection, root / CATALOG, root / SNAPSHOT)


def open_to_read(root):
    """Open the snapshot, or the catalogue if it has changed since and nobody is writing to it."""
    try:
        published = _open_snapshot(root) if (root / SNAPSHOT).is_file() else None
    except CatalogError:  # of a newer dbpipe, or damaged: the catalogue itself will tell
        published = None
    if published is not None and published.busy is None:
        return published
    try:
        opened = open_catalog_to_read(root)
    except (SurveyBusy, CatalogError) as error:
        if published is None:
            raise
        return replace(published, busy=str(error))
    if published is not None:
        published.close()
    return opened


def open_catalog_to_read(root):
    """Open the catalogue for reading, bringing its schema up to date first if need be."""
    if _is_outdated(root):
        try:
            open_to_write(root).close()
        except CatalogError as error:
            raise CatalogError(f"the schema of {root} is older and cannot be brought up to date: {error}") from error
    return _open_catalog(root, read_only=True)


def _open_snapshot(root):
    """Open the snapshot; until it is known better, ``busy`` says that the catalogue has changed since."""
    connection = catalog_connection.connect(root / SNAPSHOT, read_only=True)
    snapshot.read_files_of(connection, (root / SNAPSHOT).parent)
    connection.execute("SET parquet_metadata_cache = true")  # what a snapshot names never changes
    label = snapshot.read_label(connection)
    fits = label.is_current(root / CATALOG) and not migrations.pending_migrations(connection)
    return Opened(connection, as_of=label.as_of, busy=None if fits else "the catalogue has changed since")


def _open_catalog(root, *, read_only):
    with ExitStack() as on_error:
        lock = on_error.enter_context(closing(catalog_connection.Lock(root / LOCK, shared=read_only)))
        try:
            connection = catalog_connection.connect(root / CATALOG, read_only=read_only)
        except CatalogError as error:
            if (root / SNAPSHOT).is_file():
                text = f"{error}; what was published last can still be read (dbpipe sql, dbpipe export)"
                raise CatalogError(text) from error
            raise
        on_error.pop_all()
    return Opened(connection, lock)


def _is_outdated(root):
    with (
        closing(catalog_connection.Lock(root / LOCK, shared=True)),
        catalog_connection.connect(root / CATALOG, read_only=True) as connection,
    ):
        return bool(migrations.pending_migrations(connection)) or rekey.is_interrupted(connection)
