"""A change of the schema reaches the tables of every tile of the sky, in a survey as in what is published of it."""

import shutil

import pytest
import upgrades

import dbpipe
from dbpipe.catalog.sky_shards import Tiles, check_tiles
from dbpipe.catalog.views import apply_views
from dbpipe.errors import CatalogError
from dbpipe.publish import readers
from dbpipe.survey import Survey

NEW_TILE = 13
ADD = "ALTER TABLE association.object ADD COLUMN worth DOUBLE DEFAULT 2.5"
KINDS = {
    "a column": (["ALTER TABLE association.object ADD COLUMN worth DOUBLE"], "worth", None),
    "a column with a default": ([ADD], "worth", 2.5),
    "a column that must be": ([ADD, "ALTER TABLE association.object ALTER COLUMN worth SET NOT NULL"], "worth", 2.5),
    "a column that may be missing": (
        ["ALTER TABLE association.object ALTER n_night DROP NOT NULL", "UPDATE association.object SET n_night = NULL"],
        "n_night",
        None,
    ),
    "another default": ([ADD, "ALTER TABLE association.object ALTER worth SET DEFAULT 3.5"], "worth", 2.5),
    "no default": ([ADD, "ALTER TABLE association.object ALTER worth DROP DEFAULT"], "worth", 2.5),
    "no column": ([ADD, "ALTER TABLE association.object DROP COLUMN worth"], "n_night", "{}"),
    "another name": ([ADD, "ALTER TABLE association.object RENAME COLUMN worth TO value"], "value", 2.5),
    "another type": (["ALTER TABLE association.object ALTER COLUMN n_night TYPE VARCHAR"], "n_night", "{}"),
    "another type, computed": (
        ["ALTER TABLE association.object ALTER COLUMN n_night TYPE VARCHAR USING concat('n', n_night)"],
        "n_night",
        "n{}",
    ),
    "a table": (
        [
            "CREATE TABLE worth (visit BIGINT PRIMARY KEY REFERENCES visit (visit), value DOUBLE CHECK (value > 0))",
            "INSERT INTO worth SELECT visit, 2.5 FROM visit",
        ],
        "(SELECT value FROM worth)",
        2.5,
    ),
}
"""What is changed -> the migrations, what is then asked of every object, and the answer, which may hold its tile."""


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """A survey of today, older than what is to come; do not change it."""
    root = tmp_path_factory.mktemp("old") / "survey"
    upgrades.make_survey(root)
    return root


def insert(connection, tile):
    """Make a tile that there was not, with an object that has what every column asks for."""
    Tiles(connection).add([tile])
    columns = connection.execute("DESCRIBE association.object").fetchall()
    names = [name for name, _, _, _, default, _ in columns if default is None]
    values = ", ".join(f"{tile} AS {name}" for name in names)
    connection.execute(f"INSERT INTO association.object_{tile} BY NAME SELECT {values}")


def expected(answer):
    return [(tile, answer.format(tile) if isinstance(answer, str) else answer) for tile in upgrades.TILES]


@pytest.mark.parametrize("in_files", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_migration_reaches_every_tile(old, tmp_path, monkeypatch, kind, in_files):
    """Opened for writing, a survey has the change in every tile and its rows; new tiles and readers have it too."""
    texts, asked, answer = KINDS[kind]
    root = tmp_path / "survey"
    shutil.copytree(old, root)
    upgrades.make_migrations(tmp_path / "migrations", *texts)
    if in_files:
        monkeypatch.setattr(readers, "MAX_COPIED_ROWS", 0)
    as_text = "::VARCHAR" if isinstance(answer, str) else ""
    query = f"SELECT dia_object_id, {asked}{as_text} FROM dia_object WHERE dia_object_id <> {NEW_TILE} ORDER BY 1"
    with upgrades.using(tmp_path / "migrations"):
        with Survey.open(root, read_only=False) as survey:
            connection = survey.connection
            check_tiles(connection)
            assert survey.sql(query).fetchall() == expected(answer)
            apply_views(connection)
            insert(connection, NEW_TILE)
            check_tiles(connection)
            columns = connection.execute("DESCRIBE association.object").fetchall()
            assert all(connection.execute(f"DESCRIBE association.object_{tile}").fetchall() == columns
                       for tile in (*upgrades.TILES, NEW_TILE))  # fmt: skip
            survey.publish()
        with dbpipe.open(root) as survey:
            assert survey.sql(query).fetchall() == expected(answer)
            assert survey.count("dia_object") == len(upgrades.TILES) + 1
            names = [name for name, *_ in columns]
            assert [name for name, *_ in survey.sql("DESCRIBE dia_object").fetchall()] == names


@pytest.mark.parametrize(
    "text",
    [
        "CREATE INDEX place ON association.object (hpx29)",
        "DROP TABLE association.object",
        "ALTER TABLE association.object_7 ADD COLUMN worth DOUBLE",
        "INSERT INTO association.object SELECT * FROM dia_object",
        "CREATE TABLE worth AS SELECT dia_object_id FROM association.object",
    ],
)
def test_what_would_not_reach_a_tile_is_refused(old, tmp_path, text):
    """A migration that means the tiles and does not reach them is refused, and the survey is as it was."""
    root = tmp_path / "survey"
    shutil.copytree(old, root)
    upgrades.make_migrations(tmp_path / "migrations", text)
    with upgrades.using(tmp_path / "migrations"), pytest.raises(CatalogError, match="tiles"):
        Survey.open(root, read_only=False).close()
    with Survey.open(root, read_only=False) as survey:
        assert survey.count("dia_object") == len(upgrades.TILES)
