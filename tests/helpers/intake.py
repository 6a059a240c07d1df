"""Taking tiny raw files into a survey in this process, and what the catalog then says of them."""

import os
from pathlib import Path

from make_fits import sky_image, write_eimage

from dbpipe.catalog.work.offer import offer_work
from dbpipe.io.raw.instrument import load_instrument
from dbpipe.runner.intake import run_ingest
from dbpipe.stages.contracts.calibrate import CALIBRATE
from dbpipe.survey import Survey

OBSERVED = {
    "visit": "SELECT visit.* FROM visit SEMI JOIN raw USING (visit)",
    "visit_zenith": "SELECT visit_zenith.* FROM visit_zenith SEMI JOIN raw USING (visit)",
    "detector": "SELECT detector.* FROM detector SEMI JOIN raw USING (detector)",
    "raw": "SELECT * FROM raw",
    "raw_content": "SELECT path, visit, detector, content_sha256 FROM raw_content",
}
"""Table -> what it says of the images in use."""


class InlinePool:
    """Runs the calls here and now."""

    def __init__(self, root):
        self._root = root

    def run_ordered(self, calls):
        """Yield (call, outcome)."""
        before = os.getcwd()
        for function, *arguments in calls:
            os.chdir(self._root)
            try:
                outcome = function(*arguments)
            finally:
                os.chdir(before)
            yield (function, *arguments), outcome


def take_in(survey, *paths):
    """Ingest files and return the Summary."""
    with survey._run_record() as run_id:
        return run_ingest(
            survey.connection,
            survey.settings["ingest"],
            [str(path) for path in paths],
            instrument_sha256=load_instrument(survey.root / "instrument.toml").sha256,
            run_id=run_id,
            pool=InlinePool(survey.root),
            root=survey.root,
        )


def write_chip(folder, visit=1234, detector=0, *, name=None, **changes):
    """Write a raw file of one of a few sensors and return its path; its pixels are its own."""
    chip = ("R22_S11", "R22_S12", "R22_S10")[detector]
    if "band" in changes:
        changes |= {"FILTNM": "ugrizy".index(changes["band"]), "FILTER": changes.pop("band")}
    name = name or f"{visit}_{detector}.fits"
    image = sky_image(seed=[visit, detector])
    return write_eimage(Path(folder), name=name, image=image, OBSID=visit, CHIPID=chip, **changes)


def change_description(survey, old, new):
    """Edit the survey's instrument description."""
    path = survey.root / "instrument.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def observed(survey):
    """Return what the catalog says of the images in use, table -> rows."""
    return {name: survey.sql(f"{query} ORDER BY ALL").fetchall() for name, query in OBSERVED.items()}


def observed_afresh(root, survey, *paths):
    """Return what a new survey with the same description says of these files."""
    with Survey.init(root, instrument=survey.root / "instrument.toml") as fresh:
        take_in(fresh, *paths)
        return observed(fresh)


def calibrate_fingerprints(survey):
    """Return unit key -> fingerprint of the calibration of every image."""
    units = offer_work(survey.connection, CALIBRATE, survey.settings["calibrate"]).units
    return dict(zip(units["unit_key"].to_pylist(), units["fingerprint"].to_pylist(), strict=True))
