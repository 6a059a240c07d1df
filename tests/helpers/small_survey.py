"""A small simulated sky and its survey, for the end-to-end tests: python small_survey.py SKY SURVEY N_WORKER."""

import sys
from pathlib import Path

from dbpipe.catalog.store import connection
from dbpipe.simulate import write_survey
from dbpipe.simulate.scene import Density
from dbpipe.survey import CATALOG, Survey

N_VISIT = {"g": 3, "r": 5}
SIZE_PIX = 384
DENSITY = Density(supernova=5.0, variable_star=1.5, agn=0.5, lens=0.12, asteroid=0.2)
"""More transients than the real sky has, so that a small field says something."""
OF_THE_RUN = ("run_id", "wall_s", "cpu_s", "peak_rss_mib", "finished_at", "applied_at", "dbpipe_version")
"""Columns that tell when and how, not what."""
OF_THE_WAY = ("main.run", "main.dia_object_history")
"""Tables that tell what happened, not what is."""


def simulate(sky):
    """Write raw/, refcat.csv and truth/ into a folder."""
    write_survey(sky, seed=3, n_visit=N_VISIT, size_pix=SIZE_PIX, density=DENSITY)


def process(sky, root, *, n_worker, refcat=None):
    """Make or resume the survey of a simulated sky; returns the summaries of ingest and all stages."""
    if (root / CATALOG).is_file():
        survey = Survey.open(root, read_only=False)
    else:
        survey = Survey.init(root)
    with survey:
        ingest, _ = survey.ingest([sky / "raw"], n_worker=n_worker)
        survey.set_reference_catalog(refcat or sky / "refcat.csv")
        return [ingest, *survey.run(n_worker=n_worker)]


def content(root):
    """Return every row of every table, table -> sorted rows, without what differs between two runs by nature."""
    with connection.connect(root / CATALOG, read_only=True) as catalog:
        columns = {}
        for table, column in catalog.execute(
            "SELECT schema_name || '.' || table_name, column_name FROM duckdb_columns() "
            "SEMI JOIN duckdb_tables() USING (schema_name, table_name) "
            "WHERE NOT internal ORDER BY table_name, column_index"
        ).fetchall():
            if table not in OF_THE_WAY and column not in OF_THE_RUN:
                columns.setdefault(table, []).append(column)
        return {
            table: catalog.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY ALL").fetchall()
            for table, names in columns.items()
        }


def differing(first, second):
    """Return the names of the tables whose rows are not the same."""
    return [name for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name)]


if __name__ == "__main__":
    process(Path(sys.argv[1]), Path(sys.argv[2]), n_worker=int(sys.argv[3]))
