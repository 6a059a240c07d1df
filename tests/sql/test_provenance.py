"""From a DIASource back to the raw file."""

import hand_made
import pytest

from dbpipe.ask.provenance import explain
from dbpipe.errors import ConfigError

SOURCE = 10501
"""The supernova in the third night in r."""


def test_every_source_has_one_row_of_provenance(survey):
    """No source is lost or doubled by the joins, and every one is traced to its raw file and code."""
    n_source = survey.execute("SELECT count(*) FROM dia_source").fetchall()
    query = "SELECT count(*), count(DISTINCT dia_source_id), count(raw_sha256), count(code_version) {}"
    (row,) = survey.execute(query.format("FROM dia_source_provenance")).fetchall()
    assert [row] == [n_source[0] * 4]


def test_the_chain_is_that_of_its_visit(survey):
    """Images, template, inputs, units and code are those of the source's own visit and band."""
    row = survey.sql(f"SELECT * FROM dia_source_provenance WHERE dia_source_id = {SOURCE}").to_arrow_table()
    (found,) = row.to_pylist()
    expected = {
        "dia_object_id": hand_made.SUPERNOVA,
        "visit": 105,
        "diffim_sha256": "dif105",
        "convolved": "template",
        "template_version": 3,
        "n_template_input": 2,
        "coadd_paths": ["files/coadd/r.fits"],
        "calexp_path": "files/calexp/105.fits",
        "sip_order": 2,
        "raw_path": "/raw/105.fits",
        "raw_sha256": "raw105",
        "ingest_fingerprint": "ingest105",
        "detect_fingerprint": "detect105",
        "detect_run_id": 1,
        "code_version": "0.1.0",
    }
    assert {name: found[name] for name in expected} == expected
    inputs = [tuple(item.values()) for item in found["template_inputs"]]
    assert inputs == [(101, 7, 0.75), (103, 7, 0.25)]


def test_an_explanation_has_every_section(survey):
    """The sections come in the order from the detection to the code; inputs of the template are rows of their own."""
    sections = {section.name: section for section in explain(survey, SOURCE)}
    assert list(sections) == [
        "detection", "object", "difference_image", "template", "template_inputs", "exposure", "raw_file", "code",
    ]  # fmt: skip
    assert all(section.rows and section.title for section in sections.values())
    assert [row["template_visit"] for row in sections["template_inputs"].rows] == [101, 103]
    assert sections["object"].rows[0]["n_dia_source"] == 3
    assert sections["detection"].rows[0]["is_clean"]


def test_an_unknown_id_is_said_to_be_unknown(survey):
    """The message says what the id would mean, and whether that image has other sources."""
    with pytest.raises(ConfigError, match="no DIASource 5: dia_source has its visit and detector .0, 0. nowhere"):
        explain(survey, 5)
    with pytest.raises(ConfigError, match="no id of a DIASource"):
        explain(survey, -3)
