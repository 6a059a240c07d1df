"""Partitioned exports: whole, incremental, never half."""

import json
import os

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import synthetic_sources
from astropy.io.registry import get_formats
from astropy.table import Table

from dbpipe.catalog import migrations
from dbpipe.catalog.views import apply_views
from dbpipe.errors import ConfigError
from dbpipe.publish import tree as module
from dbpipe.publish.tree import export_tree
from dbpipe.sky import hats_tiles

PER_VISIT = 200
N_VISIT = 6


@pytest.fixture
def connection():
    """A catalog with three nights of random sources and their objects."""
    with duckdb.connect() as catalog:
        migrations.migrate(catalog)
        synthetic_sources.prepare(catalog)
        apply_views(catalog)
        synthetic_sources.add_visits(catalog, range(1, N_VISIT + 1), per_visit=PER_VISIT)
        yield catalog


def inodes(out):
    """Return path in the tree -> inode of every data file that readers of ``current`` see."""
    root = out / "current"
    return {str(p.relative_to(root)): os.stat(p).st_ino for p in root.rglob("*.parquet")}


def ids(connection, files):
    """Return the source ids in some files, sorted."""
    return [
        n for (n,) in connection.execute(f"SELECT dia_source_id FROM read_parquet({files!r}) ORDER BY 1").fetchall()
    ]


def test_both_orders_have_every_source_once_with_its_object(connection, tmp_path):
    """By night and by tile each source is there once, with its object and night; tiles hold what is in them."""
    report = export_tree(connection, tmp_path, ["night", "hats"])
    expected = connection.execute(
        "SELECT s.dia_source_id, a.dia_object_id, v.night, s.psf_flux_njy FROM dia_source AS s "
        "JOIN dia_association AS a USING (dia_source_id) JOIN visit AS v ON v.visit = s.visit ORDER BY ALL"
    ).fetchall()
    columns = "dia_source_id, dia_object_id, night, psf_flux_njy"
    for pattern, hive in (("by_night/*/*.parquet", True), ("hats/dia_source/dataset/*/*/*.parquet", False)):
        files = f"read_parquet('{tmp_path}/current/dia_source/{pattern}', hive_partitioning = {hive})"
        assert connection.execute(f"SELECT {columns} FROM {files} ORDER BY ALL").fetchall() == expected
    for path in (tmp_path / "current/dia_source/hats/dia_source").rglob("Npix=*.parquet"):
        order, pixel = (int(p.split("=")[1].split(".")[0]) for p in (path.parts[-3], path.parts[-1]))
        index = pq.read_table(path, columns=["_healpix_29"], partitioning=None).column(0).to_pylist()
        assert index == sorted(index) and {i >> 2 * (29 - order) for i in index} == {pixel}
    assert report.n_row["dia_source/by_night"] == len(expected) == N_VISIT * PER_VISIT


def test_the_margin_has_what_lies_around_a_tile_and_nothing_of_it(connection, tmp_path):
    """Every source within the margin outside of a tile is in it (by brute force); none of the tile itself is."""
    export_tree(connection, tmp_path, ["hats"], margin_arcsec=60.0)
    folder = tmp_path / "current/dia_source/hats"
    files = f"read_parquet('{folder}/dia_source/dataset/*/*/*.parquet', hive_partitioning = false)"
    connection.execute(
        "CREATE TEMP TABLE place AS "
        "SELECT dia_source_id, _healpix_29 >> 50 AS tile, cos(radians(dec)) * cos(radians(ra)) AS x, "
        f"cos(radians(dec)) * sin(radians(ra)) AS y, sin(radians(dec)) AS z FROM {files}"
    )
    near = connection.execute(
        "SELECT DISTINCT a.tile, b.dia_source_id FROM place AS a JOIN place AS b ON a.tile <> b.tile "
        "AND sqrt((a.x - b.x) ^ 2 + (a.y - b.y) ^ 2 + (a.z - b.z) ^ 2) < radians(60 / 3600) ORDER BY ALL"
    ).fetchall()
    assert len(near) > 10
    for tile in {tile for tile, _ in near}:
        (path,) = (folder / "dia_source_60arcs").rglob(f"Npix={tile}.parquet")
        margin = pq.read_table(path, columns=["_healpix_29", "dia_source_id"], partitioning=None).to_pydict()
        assert {source for t, source in near if t == tile} <= set(margin["dia_source_id"])
        assert all(index >> 50 != tile for index in margin["_healpix_29"])


def test_a_night_adds_files_and_rewrites_no_other_night(connection, tmp_path):
    """Nothing new: no file is written. A new night: one file by night more, the others are the same bytes on disk."""
    export_tree(connection, tmp_path, ["night", "hats"])
    before = inodes(tmp_path)
    assert export_tree(connection, tmp_path, []).n_written == 0
    assert inodes(tmp_path) == before
    synthetic_sources.add_visits(connection, [N_VISIT + 1], per_visit=PER_VISIT)  # of the second field alone
    export_tree(connection, tmp_path, [])
    after = inodes(tmp_path)
    new = sorted(path for path in after if "by_night" in path and after[path] != before.get(path))
    night = synthetic_sources.night_of(N_VISIT + 1)
    assert new == [f"dia_source/by_night/night={night}/dia_source.parquet"]
    kept = {path for path in before if "hats/dia_source/" in path and after.get(path) == before[path]}
    assert len(kept) >= 1  # tiles of the other field
    assert len(ids(connection, f"{tmp_path}/current/dia_source/by_night/*/*.parquet")) == (N_VISIT + 1) * PER_VISIT


def test_a_late_grouping_rewrites_what_it_touches(connection, tmp_path):
    """If a source gets another object, its night and tile are written anew, and no others."""
    export_tree(connection, tmp_path, ["night", "hats"])
    before = inodes(tmp_path)
    connection.execute(
        "UPDATE association.source SET dia_object_id = 5 "
        "WHERE dia_source_id = (SELECT min(dia_source_id) FROM dia_source)"
    )
    export_tree(connection, tmp_path, [])
    after = inodes(tmp_path)
    changed = {path for path in after if path.startswith("dia_source/") and after[path] != before.get(path)}
    assert len([path for path in changed if "by_night" in path]) == 1
    assert len([path for path in changed if "hats/dia_source/" in path]) == 1


def test_a_tile_that_grows_too_full_is_split(connection, tmp_path, monkeypatch):
    """Beyond its limit a tile becomes smaller ones; nothing is lost or doubled, and the old file is gone."""
    export_tree(connection, tmp_path, ["hats"])
    split = hats_tiles.split_sky
    monkeypatch.setattr(hats_tiles, "split_sky", lambda cells, n_row: split(cells, n_row, max_rows=100))
    report = export_tree(connection, tmp_path, [])
    assert report.n_removed > 0 and any("Norder=5" in path or "Norder=6" in path for path in inodes(tmp_path))
    found = ids(connection, f"{tmp_path}/current/dia_source/hats/dia_source/dataset/*/*/*.parquet")
    assert len(found) == len(set(found)) == N_VISIT * PER_VISIT


@pytest.mark.parametrize("moment", ["write_parts", "_sync_tree", "_turn"])
def test_an_interrupted_export_leaves_the_old_one(connection, tmp_path, monkeypatch, moment):
    """Wherever it stops, readers have the tree of before, and the next export brings it up to date and sweeps up."""
    export_tree(connection, tmp_path, ["night"])
    before = inodes(tmp_path)
    synthetic_sources.add_visits(connection, [N_VISIT + 1], per_visit=PER_VISIT)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(module, moment, stop)
        export_tree(connection, tmp_path, [])
    assert inodes(tmp_path) == before
    (tmp_path / "trees" / ".tmp-1").mkdir()  # what a kill leaves
    (tmp_path / "trees" / "000099").mkdir()
    export_tree(connection, tmp_path, [])
    assert len(inodes(tmp_path)) == len(before) + 1
    assert len(list((tmp_path / "trees").iterdir())) == 2


def test_a_reader_that_began_with_the_old_tree_can_finish(connection, tmp_path):
    """The tree before the newest one is kept."""
    export_tree(connection, tmp_path, ["night"])
    begun = os.path.realpath(tmp_path / "current")
    synthetic_sources.add_visits(connection, [N_VISIT + 1], per_visit=PER_VISIT)
    export_tree(connection, tmp_path, [])
    assert len(ids(connection, f"{begun}/dia_source/by_night/*/*.parquet")) == N_VISIT * PER_VISIT


def test_units_travel_with_every_file(connection, tmp_path):
    """Field metadata, footer and VOTable keys say unit, UCD and meaning; astropy reads them."""
    export_tree(connection, tmp_path, ["night", "hats"])
    (path,) = (tmp_path / "current/dia_object/hats/dia_object").rglob("Npix=0.parquet")
    schema = pq.read_schema(path)
    assert schema.field("ra").metadata[b"unit"] == b"deg" and b"dbpipe.columns" in schema.metadata
    assert schema.field("_healpix_29").metadata[b"description"]
    night = next((tmp_path / "current/dia_source/by_night").rglob("*.parquet"))
    assert pq.read_schema(night).field("dia_object_id").metadata[b"description"].startswith(b"object it belongs to")
    if "parquet.votable" not in get_formats(Table, readwrite="Read")["Format"]:
        pytest.skip("this astropy does not read VOParquet")
    table = Table.read(path, format="parquet.votable")
    assert table["first_mjd_tai"].unit == "d" and table["ra"].meta["ucd"] == "pos.eq.ra"
    assert table["max_score"].description.startswith("largest signed score")


def test_one_night_is_read_from_one_file(connection, tmp_path):
    """pyarrow and DuckDB skip the files of other nights by their names."""
    export_tree(connection, tmp_path, ["night"])
    folder = tmp_path / "current/dia_source/by_night"
    dataset = ds.dataset(folder, partitioning="hive")
    wanted = ds.field("night") == synthetic_sources.FIRST_NIGHT
    assert len(list(dataset.get_fragments(filter=wanted))) == 1
    assert dataset.count_rows(filter=wanted) == synthetic_sources.PER_NIGHT * PER_VISIT
    plan = connection.execute(
        f"EXPLAIN SELECT sum(psf_flux_njy) FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true) "
        f"WHERE night = {synthetic_sources.FIRST_NIGHT}"
    ).fetchall()
    assert "1/3" in plan[0][1]


def test_a_folder_with_other_things_is_refused(connection, tmp_path):
    """An export never mixes with files of somebody else, and an unknown layout is named."""
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match=r"mine.txt.*folder of its own"):
        export_tree(connection, tmp_path, ["night"])
    with pytest.raises(ConfigError, match="no layout monthly"):
        export_tree(connection, tmp_path / "new", ["monthly"])


def test_an_empty_catalog_is_exported(tmp_path):
    """Before the first source there is a tree without tables."""
    with duckdb.connect() as catalog:
        migrations.migrate(catalog)
        apply_views(catalog)
        report = export_tree(catalog, tmp_path, ["night", "hats"])
    assert report.n_written == 0 and json.loads((tmp_path / "current/manifest.json").read_text())["parts"] == {}
