"""Made-up catalogs of up to a billion DIASources, to see how every command does with the harvest of years.

There are no images: one empty file stands for all of them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.association.flow import link_alone
from dbpipe.association.images import find_due
from dbpipe.catalog.sql.queries import load_named, select_parameters
from dbpipe.catalog.store.connection import transaction
from dbpipe.catalog.store.lent import execute_with, fetch_with
from dbpipe.catalog.work import units
from dbpipe.catalog.work.offer import offer_work
from dbpipe.catalog.work.units import Verdict
from dbpipe.runner import order, outlook
from dbpipe.simulate import detections
from dbpipe.simulate.detections import Visit
from dbpipe.survey import Survey

NO_IMAGE = "files/no_image"
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_BATCH_VISITS = 50
"""Visits whose detections are inserted at a time."""
_ONCE = ("bands", "detectors", "tracts", "patches", "templates", "coadds", "files")
_OF_VISITS = ("visits", "raws", "calexps", "residuals", "overlaps", "diffims")
_MADE_BY = ("calibrate", "skymap", "difference", "detect")


def make_survey(root: Path, *, n_source: float, seed: int = 1, say: Callable[..., Any] = lambda text: None) -> int:
    """Make a survey whose catalog holds so many DIASources, linked to objects, and return the number of visits.

    The objects are those that `dbpipe.association.flow.associate` finds.

    Parameters
    ----------
    root : path
        New folder.
    n_source : float
        Rounded to whole visits of 10,000.
    seed : int
    say : callable
        Is told of the progress.
    """
    visits = detections.plan_visits(n_source)
    with Survey.init(root) as survey:
        (survey.root / NO_IMAGE).parent.mkdir(exist_ok=True)
        (survey.root / NO_IMAGE).touch()
        survey.connection.execute("SET memory_limit = '1GB'")  # sorted inserts of half a million rows need no more
        command = f"dbpipe simulate --catalog {n_source:g} --seed {seed}"
        run_id = units.start_run(survey.connection, command, outlook.versions(), survey.settings.as_dict())
        with transaction(survey.connection):
            _insert(survey, visits[:1], _ONCE, run_id)
            units.record_verdicts(survey.connection, [_done("ingest", _ingested(survey), "", 1, run_id)])
        add_visits(survey, visits, run_id)
        for begin in range(0, len(visits), _BATCH_VISITS):
            some = visits[begin : begin + _BATCH_VISITS]
            query = f"INSERT INTO dia_source BY NAME {_query('dia_sources')}"
            execute_with(survey.connection, query, {"made": _made(seed, some)}, _values(query))
            say(f"{begin + len(some)} of {len(visits)} visits written")
        _link(survey, visits, run_id, say)
        units.finish_run(survey.connection, run_id)
        survey.connection.execute("CHECKPOINT")
    return len(visits)


def add_visits(survey: Any, visits: Sequence[Visit], run_id: int) -> None:
    """Write down visits as they are before their detections come: all tables up to the difference images."""
    with transaction(survey.connection):
        _insert(survey, visits, _OF_VISITS, run_id)
        _record_units(survey, run_id)


def commit_detections(survey: Any, visit: Any, *, seed: int, run_id: int) -> None:
    """Write down the detections of a visit as the runner does it when a worker has found them."""
    query = _query("dia_sources")
    rows = fetch_with(survey.connection, query, {"made": _made(seed, [visit])}, _values(query))
    key = {"visit": visit.visit, "detector": detections.DETECTOR}
    stage = order.BY_NAME["detect"]
    unit_key = units.format_key(key)
    ((fingerprint,),) = survey.connection.execute(
        load_named("catalog", "unit")["fingerprint"], {"stage": stage.name, "unit_key": unit_key}
    ).fetchall()
    verdict = _done(stage.name, unit_key, fingerprint, stage.version, run_id)
    place = units.Place(key, ("dia_source",))
    units.commit_unit(survey.connection, verdict, units.Result({"dia_source": rows}), place)


def _insert(survey: Any, visits: Sequence[Visit], names: tuple[str, ...], run_id: int) -> None:
    centers = np.array([detections.field_centers()[visit.field] for visit in visits])
    columns = {
        name: [getattr(visit, name) for visit in visits] for name in ("visit", "night", "midpoint_mjd_tai", "band")
    }
    planned = pa.table(columns | {"ra": centers[:, 0], "dec": centers[:, 1]})
    values = {
        "path": NO_IMAGE,
        "raw_path": _raw_path(survey),
        "sha256": _EMPTY_SHA256,
        "size_pix": detections.SIZE_PIX,
        "radius_deg": detections.FIELD_RADIUS_DEG,
        "unit_key": _ingested(survey),
        "run_id": run_id,
    }
    for name in names:
        query = _query(name)
        execute_with(survey.connection, query, {"planned": planned}, _values(query, values))


def _record_units(survey: Any, run_id: int) -> None:
    """Write down that the stages have done their work, so that there is nothing left for them to do."""
    connection, verdicts = survey.connection, []
    for name in _MADE_BY:
        stage = order.BY_NAME[name]
        offer = offer_work(connection, stage, survey.settings[name])
        verdicts += [_done(name, task.unit_key, task.fingerprint, stage.version, run_id) for task in offer.due]
    units.record_verdicts(connection, verdicts)


def _done(stage: str, unit_key: str, fingerprint: str, version: int, run_id: int) -> Verdict:
    return units.Verdict(stage, unit_key, fingerprint, version, run_id, "done")


def _link(survey: Any, visits: Sequence[Visit], run_id: int, say: Callable[..., Any]) -> None:
    """Link the detections field by field: no two fields have an object in common, nor a body that moves in a night."""
    config = survey.settings["associate"]
    field = {visit.visit: visit.field for visit in visits}
    due = sorted(find_due(survey.connection, config)[1], key=lambda image: field[image.visit])
    for number, images in groupby(due, key=lambda image: field[image.visit]):
        link_alone(survey.connection, config, list(images), run_id)
        say(f"field {number + 1} of {max(field.values()) + 1} linked")


def _raw_path(survey: Survey) -> str:
    return str((survey.root / NO_IMAGE).resolve())


def _ingested(survey: Survey) -> str:
    """The unit that took in the one file that there is."""
    return units.format_key({"path": _raw_path(survey)})


def _query(name: str) -> str:
    return load_named("simulate", "catalog")[name]


def _values(query: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The values of the parameters that a query has."""
    known = {
        "bands": list(detections.BANDS),
        "detector": detections.DETECTOR,
        "pixel_scale_arcsec": detections.PIXEL_SCALE_ARCSEC,
    }
    return select_parameters(query, known | dict(more or {}))


def _made(seed: int, visits: Sequence[Visit]) -> pa.Table:
    """The detections of some visits as a pyarrow.Table."""
    parts = []
    for visit in visits:
        columns = detections.make_detections(seed, visit)
        n = len(columns["ra"])
        same = ("visit", "midpoint_mjd_tai", "band")
        parts.append(pa.table(columns | {name: pa.repeat(getattr(visit, name), n) for name in same}))
    return pa.concat_tables(parts)
