"""An upgrade of a survey in a process of its own, which a test can stop at any statement.

python upgrades.py SURVEY MIGRATIONS [N_STATEMENT]: opens the survey for writing with the migrations of a folder and
kills itself before statement N_STATEMENT; without it, the upgrade goes through and the number of statements is printed.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import duckdb

from dbpipe.catalog import migrations
from dbpipe.catalog.sky_shards import Tiles
from dbpipe.catalog.sql.queries import directory
from dbpipe.survey import Survey

FUTURE = """
-- What some later version may want: a table, and columns of a table, of one with rows and of every tile.
CREATE TABLE future (visit BIGINT NOT NULL REFERENCES visit (visit), value DOUBLE CHECK (isfinite(value)));
COMMENT ON TABLE future IS 'What is to come';
ALTER TABLE band ADD COLUMN color VARCHAR DEFAULT 'none';
COMMENT ON COLUMN band.color IS '[] what it looks like';
ALTER TABLE dia_source ADD COLUMN worth DOUBLE;
ALTER TABLE association.source ADD COLUMN worth DOUBLE;
COMMENT ON COLUMN association.source.worth IS '[] association.source has it too';
ALTER TABLE association.object ADD COLUMN n_worth INTEGER DEFAULT 7;
"""
LATER = (
    "UPDATE association.object SET n_worth = 8 WHERE ra > 10 -- not association.source",
    "ALTER TABLE association.object RENAME COLUMN n_worth TO n_worthy",
)
TILES = (7, 11)


def make_survey(root):
    """Make a survey of today with a band, a visit and two tiles with an object, published and closed."""
    with Survey.init(root) as survey:
        connection = survey.connection
        connection.execute("INSERT INTO band VALUES ('r')")
        connection.execute("INSERT INTO visit VALUES (1, 'r', 'x', 60000, 30, NULL, 20260101)")
        Tiles(connection).add(TILES)
        for tile in TILES:
            columns = connection.execute("DESCRIBE association.object").fetchall()
            values = ", ".join(f"{tile} AS {name}" for name, *_ in columns)
            connection.execute(f"INSERT INTO association.object_{tile} BY NAME SELECT {values}")
        survey.publish()


def make_migrations(folder, *later):
    """Write the migrations of today and later ones to a folder."""
    shutil.copytree(directory("migrations"), folder)
    for number, text in enumerate(later, len(migrations.read_migrations()) + 1):
        (folder / f"{number:04d}_later_{number}.sql").write_text(text)


def use(folder):
    """Let this process take a folder for that of the migrations."""
    migrations.directory = lambda name: Path(folder) if name == "migrations" else directory(name)


@contextmanager
def using(folder):
    """Let this process take a folder for that of the migrations, within a block."""
    use(folder)
    try:
        yield
    finally:
        migrations.directory = directory


def upgrade(root, folder, n_statement=None):
    """Upgrade a survey in a process of its own and return it when it has ended."""
    command = [sys.executable, __file__, str(root), str(folder), *([] if n_statement is None else [str(n_statement)])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


class Counting:
    """A connection that counts its statements and calls ``stop`` before one of them."""

    def __init__(self, connection, n_statement, stop):
        self._connection, self._last, self._stop, self.n_statement = connection, n_statement, stop, 0

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()

    def execute(self, *arguments):
        """Execute a statement."""
        if self.n_statement == self._last:
            self._stop()
        self.n_statement += 1
        return self._connection.execute(*arguments)


def open_counting(root, n_statement, stop):
    """Open a survey for writing and close it; return the number of statements that it took."""
    connect, opened = duckdb.connect, []

    def counting(*arguments, **options):
        opened.append(Counting(connect(*arguments, **options), n_statement, stop))
        return opened[-1]

    duckdb.connect = counting
    try:
        Survey.open(root, read_only=False).close()
    finally:
        duckdb.connect = connect
    return max(connection.n_statement for connection in opened)


def _main(root, folder, n_statement=None):
    use(folder)
    last = None if n_statement is None else int(n_statement)
    print(open_counting(root, last, lambda: os.kill(os.getpid(), signal.SIGKILL)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
