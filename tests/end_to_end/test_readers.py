"""Other programs read an export in place: lsdb and hats, polars, pandas, pyarrow.

lsdb and polars are looked for in this environment, or in that of the interpreter which DBPIPE_READERS_PYTHON names.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest
import synthetic_sources

from dbpipe.catalog import migrations
from dbpipe.catalog.views import apply_views
from dbpipe.publish.tree import export_tree

HELPERS = Path(synthetic_sources.__file__).parent
N_VISIT = 6
PER_VISIT = 2000
CENTER = (45.0, 0.05)
RADIUS_ARCSEC = 600.0
MATCH_ARCSEC = 1.0


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A catalog and the folder of its export in both layouts."""
    out = tmp_path_factory.mktemp("lake")
    with duckdb.connect() as catalog:
        migrations.migrate(catalog)
        synthetic_sources.prepare(catalog)
        apply_views(catalog)
        synthetic_sources.add_visits(catalog, range(1, N_VISIT + 1), per_visit=PER_VISIT, n_object=4000)
        export_tree(catalog, out, ["night", "hats"])
        yield catalog, out / "current"


def read_with(module, script, *arguments):
    """Run a reader in an environment that has the module, or skip."""
    for python in (sys.executable, os.environ.get("DBPIPE_READERS_PYTHON")):
        if python and subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
            done = subprocess.run([python, HELPERS / script, *map(str, arguments)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout.strip().splitlines()[-1])
    pytest.skip(f"{module} is not installed (DBPIPE_READERS_PYTHON can name a Python that has it)")


def count(catalog, query):
    ((n,),) = catalog.execute(query).fetchall()
    return n


def object_ids(files):
    """Ids of objects in files, by DuckDB's reader."""
    query = (
        f"SELECT dia_object_id FROM read_parquet('{files}', hive_partitioning = false) WHERE dia_object_id IS NOT NULL"
    )
    return sorted(n for (n,) in duckdb.sql(query).fetchall())


def cone(table):
    """Number of rows within the cone that the reader asks for, by the haversine formula."""
    ra, dec = CENTER
    return (
        f"SELECT count(*) FROM {table} WHERE 2 * asin(sqrt(sin(radians(dec - {dec}) / 2) ^ 2 + cos(radians(dec)) * "
        f"cos(radians({dec})) * sin(radians(ra - {ra}) / 2) ^ 2)) <= radians({RADIUS_ARCSEC} / 3600)"
    )


@pytest.mark.slow
def test_lsdb_opens_the_collections(exported):
    """Strictly valid for hats; lsdb counts the rows of the catalog, of a cone, and of matches across tile borders."""
    catalog, folder = exported
    seen = read_with("lsdb", "hats_reader.py", folder, *CENTER, RADIUS_ARCSEC, MATCH_ARCSEC)
    for table in ("dia_source", "dia_object"):
        found = seen[table]
        assert found["valid"] and found["has_margin"] and all(found["valid_parts"].values())
        assert set(found["valid_parts"]) == {table, f"{table}_10arcs"}
        assert found["n_row"] == count(catalog, f"SELECT count(*) FROM {table}")
        assert found["n_cone"] == count(catalog, cone(table)) > 100
        assert found["n_partition"] > 2
        assert found["ids"] == object_ids(folder / table / "hats" / table / "dataset" / "**" / "*.parquet")[-100:]
    near = (
        "SELECT count(*) FROM dia_object AS o JOIN dia_source AS s ON abs(s.dec - o.dec) < 0.01 "
        "AND abs(s.ra - o.ra) < 0.01 AND 2 * asin(sqrt(sin(radians(s.dec - o.dec) / 2) ^ 2 + cos(radians(s.dec)) * "
        f"cos(radians(o.dec)) * sin(radians(s.ra - o.ra) / 2) ^ 2)) <= radians({MATCH_ARCSEC} / 3600)"
    )
    assert seen["n_match"] == count(catalog, near) > seen["n_match_without_margin"]


@pytest.mark.slow
def test_polars_reads_it_in_place(exported):
    """polars counts the rows of all nights, of one night and of a range of the sky, and sums the fluxes."""
    catalog, folder = exported
    seen = read_with("polars", "polars_reader.py", folder, synthetic_sources.FIRST_NIGHT)
    assert seen["n_row"] == N_VISIT * PER_VISIT
    assert seen["n_night"] == synthetic_sources.PER_NIGHT * PER_VISIT
    assert 0 < seen["n_tile"] < seen["n_row"]
    source_ids = [n for (n,) in catalog.execute("SELECT dia_source_id FROM dia_source").fetchall()]
    known = object_ids(folder / "dia_source" / "by_night" / "**" / "*.parquet")
    assert [n % 2**64 for n in seen["ids"]] == [sum(ids) % 2**64 for ids in (source_ids, known)]
    assert seen["flux_sum"] == pytest.approx(count(catalog, "SELECT sum(psf_flux_njy) FROM dia_source"), rel=1e-9)


def test_pandas_reads_it_in_place(exported):
    """pandas reads a folder of nights, and one night by a filter; 64-bit ids are exact, where some are missing too."""
    catalog, folder = exported
    wanted = [("night", "==", synthetic_sources.FIRST_NIGHT)]
    night = pd.read_parquet(folder / "dia_source" / "by_night", filters=wanted, columns=["dia_source_id", "night"])
    ids = catalog.execute("SELECT dia_source_id FROM dia_source WHERE visit <= 2 ORDER BY 1").fetchall()
    assert sorted(night.dia_source_id) == [n for (n,) in ids]
    linked = pd.read_parquet(folder / "dia_source" / "by_night")["dia_object_id"]
    assert linked.dtype == "Int64"
    assert sorted(linked.dropna()) == object_ids(folder / "dia_source" / "by_night" / "*" / "*.parquet")
