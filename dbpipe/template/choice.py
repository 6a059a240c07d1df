"""The decision which exposures make the template: a query on seeing, kept as rows.

Seeing here is ``psf_fwhm_det_pix``, 2.355 times the determinant radius in native pixels: the measure that the classic
cut of 4.85 pix was made in.  Exposures are compared on the sky: native pixels are those of the band's median exposure,
so that a visit is not the sharpest because it was binned.  The exposures that pass also decide the model PSF that they
are matched to.  Vetoes (too shallow, too bright a sky, too few stars) stand in the query ``candidates`` of
`sql/stages/template.sql`.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.catalog.sql.queries import fetch_table
from dbpipe.catalog.sql.questions import asking, check_select
from dbpipe.catalog.store.arrow import to_table
from dbpipe.catalog.store.connection import is_disk_failure, transaction
from dbpipe.catalog.store.lent import insert
from dbpipe.catalog.store.undisturbed import undisturbed
from dbpipe.catalog.work import units
from dbpipe.catalog.work.units import Verdict
from dbpipe.declared import flatten
from dbpipe.errors import ConfigError, TransientError
from dbpipe.failures import DATA, MAX_RUN, Failure, failure_of, stops_run
from dbpipe.template.contract import TEMPLATE, TemplateConfig
from dbpipe.template.cuts import Cut, choose, model_psf, weigh
from dbpipe.template.decision import Decision, NoTemplate
from dbpipe.template.depth import DepthModel
from dbpipe.template.due import find_basis, find_outdated, find_targets, query, unit_key

DECIDED = ("how", "how_value", "target_fwhm_pix", "target_beta", "predicted_depth_mag")
"""What a decision says, besides its inputs."""
_AT_ONCE = 200
"""Difference images predicted together: bounds the memory."""

log = logging.getLogger("dbpipe")


def decide_missing(connection: duckdb.DuckDBPyConnection, config: TemplateConfig, run_id: int) -> list[Verdict]:
    """Decide for every band that has no template yet; what was decided before stays.

    But where an exposure that went in has turned out to be of another band, it is decided anew in the same way.

    A band that cannot have one, say with a single exposure, gets a verdict in the table ``unit`` that says why, and the
    other bands go on. So does one that waits for exposures which the next run may still calibrate, `MAX_RUN` runs long.

    Returns
    -------
    list of dbpipe.catalog.work.units.Verdict
        On the bands that were decided, and on those that could not be. Only failures are on record in ``unit``: a
        decision is a row of ``template``.
    """
    _decide_again(connection, config, run_id)
    verdicts = []
    for target in find_targets(connection):
        if target["template_id"] is None or target["is_astray"]:
            failures = _attempt(_decide_one, connection, config, target, run_id=run_id)
            verdicts += failures or [units.Verdict("template", unit_key(target), "", TEMPLATE.version, run_id, "done")]
        else:
            _forget(connection, target)  # the verdict of a time without template
    for target in find_targets(connection):
        if target["template_id"] is not None:
            verdicts += _attempt(_predict_one, connection, config, target, run_id=run_id)
    return verdicts


def _attempt(
    step: Callable[..., Any],
    connection: duckdb.DuckDBPyConnection,
    config: TemplateConfig,
    target: Mapping[str, Any],
    *,
    run_id: int,
) -> list[Verdict]:
    """Do a step for one tract and band; what it cannot do is recorded and returned, a list of one verdict or none."""
    try:
        with undisturbed():
            step(connection, config, target, run_id)
    except NoTemplate as error:
        failure = Failure(DATA, str(error), error.numbers)
    except Exception as error:
        if stops_run(error) or is_disk_failure(error):
            raise
        failure = failure_of(error)
    else:
        return []
    verdict = units.Verdict("template", unit_key(target), "", TEMPLATE.version, run_id, "failed").failed(failure)
    units.commit_unit(connection, verdict, units.Result(), units.Place({}, ()))
    return [verdict]


def _decide_again(connection: duckdb.DuckDBPyConnection, config: TemplateConfig, run_id: int) -> None:
    """Decide anew, in the same way, what was decided by an older dbpipe.

    Not every exposure can be matched to the model PSF of then: one after the other would be lost. Where the same way
    leads to no template any more, the old one stays.
    """
    for row in find_outdated(connection):
        target = {"tract": row["tract"], "band": row["band"]}
        try:
            decision = _propose(connection, config, target, row["how"], _value(row))
        except ConfigError as error:
            log.warning("template of %s stays as an older dbpipe decided: %s", row["band"], error)
            continue
        _record(connection, decision, run_id)


def _value(row: Any) -> Any:
    """What a decision on record was made with; of auto nothing is needed."""
    return float(row["how_value"]) if row["how"] in ("quantile", "max_psf_fwhm_pix") else row["how_value"]


def _forget(connection: duckdb.DuckDBPyConnection, target: Mapping[str, Any]) -> None:
    units.remove_unit(connection, "template", unit_key(target), key={}, writes=())


def _decide_one(
    connection: duckdb.DuckDBPyConnection, config: TemplateConfig, target: Mapping[str, Any], run_id: int
) -> None:
    _wait(connection, target)
    value: dict[str, Any] = {
        "quantile": config.quantile,
        "max_psf_fwhm_pix": config.max_psf_fwhm_pix,
        "sql": config.sql,
    }
    how = target["how"] if target["is_astray"] else config.choose
    _record(connection, _propose(connection, config, target, how, target["how_value"] or value.get(how)), run_id)
    _forget(connection, target)


def _wait(connection: duckdb.DuckDBPyConnection, target: Mapping[str, Any]) -> None:
    """Raise TransientError if exposures of the band may still be calibrated by a later run; log what is left out."""
    parameters = {"tract": target["tract"], "band": target["band"], "max_run": MAX_RUN}
    missing = fetch_table(connection, query("missing"), parameters).to_pylist()[0]
    if missing["n_coming"] and missing["n_run"] < MAX_RUN:
        text = "the template waits for exposures that the next run tries again (dbpipe template --auto decides now)"
        numbers: dict[str, Any] = {
            "n_exposure": missing["n_coming"],
            "n_run": missing["n_run"] + 1,
            "n_run_at_most": MAX_RUN,
        }
        raise TransientError(text, **numbers, example=missing["example"])
    if missing["n_missing"]:
        what = (unit_key(target), missing["n_missing"], missing["example"])
        log.warning("template %s is decided without %d exposures whose calibration broke off, %s among them", *what)


def propose(
    connection: duckdb.DuckDBPyConnection,
    config: TemplateConfig,
    *,
    band: Sequence[str] | None = None,
    max_psf_fwhm: float | None = None,
    quantile: float | None = None,
    auto: bool | None = None,
    sql: str | os.PathLike[str] | None = None,
) -> list[Decision]:
    """Work out what a choice would give, without deciding it.

    Parameters
    ----------
    connection : duckdb connection
    config : TemplateConfig
    band : list of str, optional
        Only these bands.
    max_psf_fwhm, quantile, auto, sql : the choice; exactly one
        [native pix], fraction, bool, path of a file with a SELECT of visit and detector

    Returns
    -------
    list of Decision

    Raises
    ------
    ConfigError
        If nothing would go in, or the SELECT is wrong.
    """
    limits: dict[str, Any] = {"max_psf_fwhm_pix": max_psf_fwhm, "quantile": quantile}
    replace(config, **{name: value for name, value in limits.items() if value is not None})  # refuses what is no limit
    if sql is not None:
        how, value = "sql", _read_select(sql)
        with _naming_select():
            check_select(connection, value)
    elif max_psf_fwhm is not None:
        how, value = "max_psf_fwhm_pix", max_psf_fwhm
    elif quantile is not None:
        how, value = "quantile", quantile
    else:
        how, value = "auto", None
    return [_propose(connection, config, target, how, value) for target in find_targets(connection, band)]


@contextmanager
def _naming_select() -> Iterator[None]:
    """Say of what is wrong with a SELECT what it is for."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"the template needs one SELECT of visit and detector: {error}") from error


def _read_select(path: Any) -> Any:
    if Path(path).exists() and not Path(path).is_file():  # a pipe would be waited for
        raise ConfigError(f"the SELECT of the template cannot be read from {path}: it is not a file")
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"the SELECT of the template cannot be read from {path}: {reason}") from error


def decide(
    connection: duckdb.DuckDBPyConnection, config: TemplateConfig, decisions: Sequence[Decision], run_id: int
) -> None:
    """Make decisions the ones in force; one that changes nothing makes no new version."""
    for decision in decisions:
        current = [d for d in in_force(connection, band=[decision.band]) if d.place == decision.place]
        if not current or _essence(current[0]) != _essence(decision):
            _record(connection, decision, run_id)
    predict(connection, config)


def in_force(connection: duckdb.DuckDBPyConnection, *, band: Sequence[str] | None = None) -> list[Decision]:
    """Return the decisions in force."""
    found = []
    for row in fetch_table(connection, query("in_force"), {"band": band}).to_pylist():
        inputs = fetch_table(connection, query("inputs"), {"template_id": row["template_id"]}).to_pylist()
        curve = fetch_table(connection, query("curve"), {"template_id": row["template_id"]}).to_pylist()
        found.append(Decision(**{key: row[key] for key in ("tract", "band", *DECIDED)}, exposures=inputs, curve=curve))
    return found


def _essence(decision: Decision) -> tuple[set[tuple[int, int]], float, float | None]:
    chosen = {(row["visit"], row["detector"]) for row in decision.exposures if row["selected"]}
    return chosen, round(decision.target_fwhm_pix, 9), decision.target_beta and round(decision.target_beta, 9)


def _propose(
    connection: duckdb.DuckDBPyConnection,
    config: TemplateConfig,
    target: Mapping[str, Any],
    how: str,
    value: Any,
) -> Decision:
    parameters = {"tract": target["tract"], "band": target["band"], **flatten(config)}
    candidates = fetch_table(connection, query("candidates"), parameters)
    rows = candidates.to_pylist()
    weighed = weigh(rows) if how in ("auto", "quantile") else []
    cut = None
    connection.register("candidate", candidates)
    try:
        if how == "sql":
            exposures = _chosen_by_sql(connection, rows, value)
        else:
            cut = _cut(connection, how, value, weighed, config, rows)
            if cut is None:
                n_vetoed = len(candidates) - candidates["veto"].null_count
                message = f"too few {target['band']} exposures for a template"
                raise NoTemplate(message, n_exposure=len(candidates), n_vetoed=n_vetoed, n_required=2)
            exposures = _chosen_by_cut(rows, cut)
    finally:
        connection.unregister("candidate")
    if not any(row["selected"] for row in exposures):
        sharpest = min((row["psf_fwhm_det_pix"] for row in exposures), default=math.nan)
        raise NoTemplate(
            f"no {target['band']} exposure would go into the template ({how} {value}; the sharpest has a FWHM of "
            f"{sharpest:.2f} pix)",
            n_exposure=len(exposures),
        )
    model_fwhm_pix, target_beta = model_psf([row for row in exposures if row["selected"]])
    return Decision(
        tract=target["tract"],
        band=target["band"],
        how=how,
        how_value=str(cut) if how == "auto" else str(value),
        target_fwhm_pix=model_fwhm_pix * _native_over_tract(connection, target["tract"], candidates),
        target_beta=target_beta,
        predicted_depth_mag=_predicted_depth(rows, exposures),
        exposures=exposures,
        curve=[row | {"is_chosen": each == cut} for each, row in weighed] if how == "auto" else [],
    )


def _native_over_tract(connection: duckdb.DuckDBPyConnection, tract: int, candidates: pa.Table) -> float:
    native = float(np.median(candidates["pixel_scale_arcsec"].to_numpy()))
    return native / fetch_table(connection, query("scale"), {"tract": tract})["pixel_scale_arcsec"][0].as_py()


def _cut(
    connection: duckdb.DuckDBPyConnection,
    how: str,
    value: Any,
    weighed: "Sequence[tuple[Cut, dict[str, Any]]]",
    config: TemplateConfig,
    candidates: Sequence[dict[str, Any]],
) -> "Cut | None":
    """Return the Cut of a choice, or None if there is none."""
    if how == "max_psf_fwhm_pix":
        return Cut(float(value))
    if how == "quantile":
        limit = fetch_table(connection, query("limit_of_quantile"), {"quantile": float(value)})["max_psf_fwhm_pix"][
            0
        ].as_py()
        if limit is not None:
            return Cut(limit)
    limits: dict[str, Any] = {
        name: getattr(config.auto, name) for name in ("max_sharpening", "min_input", "min_gain_mag")
    }
    chosen = choose(weighed, candidates, **limits)
    return None if chosen is None else chosen[0]


def _chosen_by_cut(candidates: Sequence[dict[str, Any]], cut: "Cut") -> list[dict[str, Any]]:
    """Say of every candidate whether it goes in, and why."""
    exposures = []
    for row in candidates:
        fwhm_pix, limit_pix = row["psf_fwhm_det_pix"], cut.max_psf_fwhm_pix
        side = "within" if fwhm_pix <= limit_pix else "above"
        reason = f"FWHM {fwhm_pix:.2f} pix, {side} {limit_pix:.2f}"
        if side == "within":
            reason = cut.left_out(row) or reason
        exposures.append({**row, "selected": cut.passes(row), "reason": row["veto"] or reason})
    return exposures


def _chosen_by_sql(connection: duckdb.DuckDBPyConnection, candidates: Any, select: Any) -> Any:
    with _naming_select(), asking(connection, select) as relation:
        wanted = set(relation.select("visit", "detector").fetchall())
    exposures = []
    for row in candidates:
        selected = (row["visit"], row["detector"]) in wanted
        reason = "chosen by the SELECT" if selected else "not chosen by the SELECT"
        exposures.append({**row, "selected": selected, "reason": reason})
    return exposures


def _predicted_depth(candidates: Sequence[dict[str, Any]], exposures: Sequence[dict[str, Any]]) -> float | None:
    """5 sigma depth of the median difference image of the exposures that are no veto; None if it has no template."""
    asked = [k for k, row in enumerate(candidates) if row["veto"] is None]
    chosen = {_identity(row) for row in exposures if row["selected"]}
    prediction = DepthModel(candidates, asked).predict([_identity(row) in chosen for row in candidates])
    median = float(np.median(np.nan_to_num(prediction.depth_mag, nan=-math.inf))) if asked else -math.inf
    return median if math.isfinite(median) else None


def _identity(row: Mapping[str, Any]) -> tuple[int, int]:
    return row["visit"], row["detector"]


def predict(connection: duckdb.DuckDBPyConnection, config: TemplateConfig) -> None:
    """Predict the depth of every difference image of the templates in force, in the place of earlier predictions.

    It is asked from `calexp` as it is now, so that exposures that came after the decision have a prediction too.
    """
    for target in find_targets(connection):
        if target["template_id"] is not None:
            _predict_one(connection, config, target)


def _predict_one(
    connection: duckdb.DuckDBPyConnection, config: TemplateConfig, target: Mapping[str, Any], _run_id: int | None = None
) -> None:
    basis, template = find_basis(connection, config, target), {"template_id": target["template_id"]}
    if basis.is_predicted:
        return
    selected = np.array([_identity(row) in basis.chosen for row in basis.candidates], bool)
    rows = [template | row for row in _predict_rows(basis.candidates, selected)]
    with transaction(connection):
        connection.execute(query("forget_prediction"), template)
        connection.execute(query("forget_predicted_from"), template)
        if rows:
            insert(connection, "template_prediction", to_table(rows))
        insert(connection, "template_predicted_from", to_table([template | {"sha256": basis.sha256}]))


def _predict_rows(candidates: Sequence[dict[str, Any]], selected: np.ndarray) -> list[dict[str, float]]:
    rows = []
    for start in range(0, len(candidates), _AT_ONCE):
        asked = np.arange(start, min(start + _AT_ONCE, len(candidates)))
        prediction = DepthModel(candidates, asked).predict(selected)
        for k, depth, n, coverage in zip(
            asked.tolist(), prediction.depth_mag, prediction.n_input, prediction.coverage, strict=True
        ):
            identity = {"visit": candidates[k]["visit"], "detector": candidates[k]["detector"]}
            rows.append(identity | {"predicted_depth_mag": depth, "n_input": int(n), "coverage": coverage})
    return rows


def _record(connection: duckdb.DuckDBPyConnection, decision: Decision, run_id: int) -> None:
    identity = {"tract": decision.tract, "band": decision.band}
    number = fetch_table(connection, query("next_id"), identity).to_pylist()[0]
    template_id = {"template_id": number["template_id"]}
    template = {
        **number,
        **identity,
        **{
            k: getattr(decision, k)
            for k in ("how", "how_value", "target_fwhm_pix", "target_beta", "predicted_depth_mag", "n_input")
        },
        "run_id": run_id,
    }
    kept = ("visit", "detector", "selected", "reason")
    inputs = [template_id | {key: row[key] for key in kept} for row in decision.exposures]
    tables = {
        "template": [template],
        "template_input": inputs,
        "template_curve": [template_id | row for row in decision.curve],
    }
    with transaction(connection):
        for name, rows in tables.items():
            if rows:
                insert(connection, name, to_table(rows))
