"""The decision which exposures make the template: a query on seeing, kept as rows.

Seeing here is ``psf_fwhm_det_pix``, 2.355 times the determinant radius in native pixels: the measure that the classic
cut of 4.85 pix was made in.  The exposures that pass also decide the model PSF that they are matched to.
"""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from dbpipe.catalog import units
from dbpipe.catalog.arrow import to_table
from dbpipe.catalog.connection import transaction
from dbpipe.catalog.queries import fetch_table, load_named
from dbpipe.errors import ConfigError
from dbpipe.imaging.depth import predict_flux_err
from dbpipe.imaging.homogenise import moffat_beta
from dbpipe.units import ab_magnitude

DECIDED = ("how", "how_value", "target_fwhm_pix", "target_beta", "predicted_depth_mag")
"""What a decision says, besides its inputs."""
WAYS = ("auto", "quantile", "max_psf_fwhm_pix", "sql")


class NoTemplate(ConfigError):
    """No exposure of a band may go into its template; the keyword arguments are the numbers behind it."""

    def __init__(self, message, **numbers):
        super().__init__(message)
        self.numbers = numbers


@dataclass(frozen=True)
class TemplateConfig:
    """Settings of the template decision, used when a band has none yet."""

    choose: str = "auto"
    """How: auto, quantile, max_psf_fwhm_pix or sql."""
    max_psf_fwhm_pix: float = 4.85
    """The cut when choose is max_psf_fwhm_pix, in native pixels."""
    quantile: float = 0.33
    """Best part of the exposures by seeing, when choose is quantile."""
    sql: str = ""
    """A SELECT that gives visit and detector, when choose is sql."""
    max_depth_loss_mag: float = 1.0
    """An exposure this much shallower than the median of its band never goes in: clouds."""
    max_ellipticity: float = 0.25
    """An exposure with a PSF ellipticity above this never goes in."""
    max_astrom_rms_ratio: float = 3.0
    """An exposure whose positions scatter this many times more than the median never goes in."""
    min_gain_mag: float = 0.002
    """auto takes the sharpest cut that is within this much of the deepest."""
    max_sharpening: float = 1.2
    """auto takes no cut above this many times the FWHM of the sharpest exposure: the wider ones would have to be
    sharpened much to be coadded, which makes noise and shows every error of the PSF."""
    min_model_fwhm_pix: float = 2.8
    """The model PSF is never sharper than this, in native pixels: a sharper one cannot be resampled."""
    min_input: int = 3
    """But auto goes on to at least this many exposures."""

    def __post_init__(self):
        if self.choose not in WAYS:
            raise ValueError(f"choose must be one of {', '.join(WAYS)}, found {self.choose!r}")


@dataclass(frozen=True)
class Decision:
    """Which exposures make the template of a tract and band."""

    tract: int
    band: str
    how: str
    how_value: str | None
    target_fwhm_pix: float
    """[pix] of the tract"""
    target_beta: float | None
    """Moffat beta of the model PSF; None for a Gaussian."""
    predicted_depth_mag: float | None
    exposures: list
    """Rows visit, detector, psf_fwhm_pix, psf_fwhm_det_pix, depth_5sigma_mag, selected, reason; the sharpest first."""
    curve: list = field(default_factory=list)
    """Rows of template_curve, for auto."""

    @property
    def n_input(self):
        """Number of exposures that go in."""
        return sum(row["selected"] for row in self.exposures)


def decide_missing(connection, settings, run_id):
    """Decide for every band that has no template yet; what was decided before stays.

    A band that cannot have one, say with a single exposure, gets a verdict in the table ``unit`` that says why, and the
    other bands go on.
    """
    config = settings["template"]
    value = {"quantile": config.quantile, "max_psf_fwhm_pix": config.max_psf_fwhm_pix, "sql": config.sql}
    for target in _targets(connection, None):
        unit_key = units.format_key({"tract": target["tract"], "band": target["band"]})
        if target["template_id"] is None:
            try:
                decision = _propose(connection, config, target, config.choose, value.get(config.choose))
            except NoTemplate as error:
                _record_refusal(connection, unit_key, error, run_id)
                continue
            _record(connection, decision, run_id)
        units.remove_unit(connection, "template", unit_key, key={}, writes=())  # the verdict of a time without template


def _record_refusal(connection, unit_key, error, run_id):
    verdict = units.Verdict("template", unit_key, "", 1, run_id, "failed", str(error), error.numbers)
    units.commit_unit(connection, verdict, units.Result(), units.Place({}, ()))


def propose(connection, config, *, band=None, max_psf_fwhm=None, quantile=None, auto=None, sql=None):
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
    if sql is not None:
        how, value = "sql", Path(sql).read_text(encoding="utf-8")
    elif max_psf_fwhm is not None:
        how, value = "max_psf_fwhm_pix", max_psf_fwhm
    elif quantile is not None:
        how, value = "quantile", quantile
    else:
        how, value = "auto", None
    return [_propose(connection, config, target, how, value) for target in _targets(connection, band)]


def decide(connection, decisions, run_id):
    """Make decisions the ones in force; one that changes nothing makes no new version."""
    for decision in decisions:
        current = [d for d in in_force(connection, band=[decision.band]) if d.tract == decision.tract]
        if not current or _essence(current[0]) != _essence(decision):
            _record(connection, decision, run_id)


def in_force(connection, *, band=None):
    """Return the decisions in force."""
    found = []
    for row in fetch_table(connection, _query("in_force"), {"band": band}).to_pylist():
        inputs = fetch_table(connection, _query("inputs"), {"template_id": row["template_id"]}).to_pylist()
        found.append(Decision(**{key: row[key] for key in ("tract", "band", *DECIDED)}, exposures=inputs))
    return found


def _essence(decision):
    chosen = {(row["visit"], row["detector"]) for row in decision.exposures if row["selected"]}
    return chosen, round(decision.target_fwhm_pix, 9), decision.target_beta and round(decision.target_beta, 9)


def _query(name):
    return load_named("stages", "template")[name]


def _targets(connection, band):
    return fetch_table(connection, _query("targets"), {"band": band}).to_pylist()


def _propose(connection, config, target, how, value):
    parameters = {"tract": target["tract"], "band": target["band"], **asdict(config)}
    candidates = fetch_table(connection, _query("candidates"), parameters)
    curve = _curve(candidates.to_pylist()) if how == "auto" else []
    connection.register("candidate", candidates)
    try:
        if how == "sql":
            exposures, limit = _chosen_by_sql(connection, candidates.to_pylist(), value)
        else:
            limit = _limit(connection, how, value, curve, config, candidates)
            if limit is None:
                n_vetoed = len(candidates) - candidates["veto"].null_count
                message = f"too few {target['band']} exposures for a template"
                raise NoTemplate(message, n_exposure=len(candidates), n_vetoed=n_vetoed, n_required=2)
            exposures = fetch_table(connection, _query("chosen"), {"max_psf_fwhm_pix": limit}).to_pylist()
    finally:
        connection.unregister("candidate")
    if not any(row["selected"] for row in exposures):
        sharpest = min((row["psf_fwhm_det_pix"] for row in exposures), default=math.nan)
        raise NoTemplate(
            f"no {target['band']} exposure would go into the template ({how} {value}; the sharpest has a FWHM of "
            f"{sharpest:.2f} pix)",
            n_exposure=len(exposures),
        )
    chosen = {(row["visit"], row["detector"]) for row in exposures if row["selected"]}
    target_fwhm_pix, target_beta = _model_psf(chosen, candidates.to_pylist(), config)
    return Decision(
        tract=target["tract"],
        band=target["band"],
        how=how,
        how_value=None if value is None else str(value),
        target_fwhm_pix=target_fwhm_pix * _native_over_tract(connection, target["tract"], candidates),
        target_beta=target_beta,
        predicted_depth_mag=_predicted_depth(candidates.to_pylist(), chosen),
        exposures=exposures,
        curve=curve,
    )


def _model_psf(chosen, candidates, config):
    """Return FWHM [native pix] and Moffat beta of the model PSF.

    It lies half-way between the sharpest and the widest exposure that go in, so that neither the one needs a template
    sharpened much nor the other has to be, and has the wings of their median.
    """
    inputs = [row for row in candidates if (row["visit"], row["detector"]) in chosen]
    fwhm = np.array([row["psf_fwhm_pix"] for row in inputs])
    long_axis = np.array([row["psf_fwhm_pix"] * row["psf_axis_ratio"] ** -0.5 for row in inputs])
    area = np.array([row["psf_effective_area_pix"] for row in inputs])
    target = max(math.sqrt(fwhm.min() * long_axis.max()), config.min_model_fwhm_pix)
    return float(target), moffat_beta(1.0, float(np.median(area / fwhm**2)))


def _native_over_tract(connection, tract, candidates):
    native = float(np.median(candidates["pixel_scale_arcsec"].to_numpy()))
    return native / fetch_table(connection, _query("scale"), {"tract": tract})["pixel_scale_arcsec"][0].as_py()


def _limit(connection, how, value, curve, config, candidates):
    """Return the seeing limit of a choice; an exposure passes up to it. None if there is none."""
    if how == "max_psf_fwhm_pix":
        return float(value)
    if how == "quantile":
        limit = fetch_table(connection, _query("limit_of_quantile"), {"quantile": value})["max_psf_fwhm_pix"][0].as_py()
        if limit is not None:
            return limit
    if not curve:
        return None
    sharpest = min(row["psf_fwhm_det_pix"] for row in candidates.to_pylist() if row["veto"] is None)
    first = curve[0]["n_input"]
    allowed = [
        row
        for row in curve
        if row["max_psf_fwhm_pix"] <= config.max_sharpening * sharpest or row["n_input"] <= max(config.min_input, first)
    ]
    deepest = max(row["predicted_depth_mag"] for row in allowed)
    return next(r["max_psf_fwhm_pix"] for r in allowed if r["predicted_depth_mag"] >= deepest - config.min_gain_mag)


def _chosen_by_sql(connection, candidates, select):
    try:
        kinds = [statement.type for statement in connection.extract_statements(select)]
        if kinds != [duckdb.StatementType.SELECT]:
            raise ConfigError(
                f"the template needs one SELECT of visit and detector, found: {select.strip()[:80] or 'nothing'}"
            )
        rows = connection.sql(select).select("visit", "detector").fetchall()
    except duckdb.Error as error:
        raise ConfigError(f"the template SELECT does not give visit and detector: {error}") from error
    wanted = set(rows)
    exposures = []
    for row in candidates:
        selected = (row["visit"], row["detector"]) in wanted
        reason = "chosen by the SELECT" if selected else "not chosen by the SELECT"
        exposures.append({**row, "selected": selected, "reason": reason})
    widest = max((row["psf_fwhm_det_pix"] for row in exposures if row["selected"]), default=math.nan)
    return exposures, widest


def _curve(candidates):
    """Weigh every cut: the exposures in order of seeing, one more each time."""
    allowed = [row for row in candidates if row["veto"] is None]
    curve = []
    for n in range(min(2, len(allowed)), len(allowed) + 1):
        chosen = {(row["visit"], row["detector"]) for row in allowed[:n]}
        limit = allowed[n - 1]["psf_fwhm_det_pix"]
        curve.append(
            {
                "max_psf_fwhm_pix": limit,
                "target_fwhm_pix": limit,
                "n_input": n,
                "predicted_depth_mag": _predicted_depth(candidates, chosen),
            }
        )
    return [row for row in curve if row["predicted_depth_mag"] is not None]


def _predicted_depth(candidates, chosen):
    """5 sigma depth of the median difference image, each without itself in the template."""
    depths = []
    for science in candidates:
        if science["veto"] is not None:
            continue
        mine = science["visit"], science["detector"]
        inputs = [row for row in candidates if (row["visit"], row["detector"]) in chosen - {mine}]
        noise = np.array([row["sky_noise_njy"] for row in inputs])
        error = predict_flux_err(
            _sigma_pix(science),
            science["sky_noise_njy"],
            input_sigma_pix=np.array([_sigma_pix(row) for row in inputs]),
            input_noise=noise,
            weight=1.0 / noise**2,
        )
        depths.append(ab_magnitude(5.0 * error) if math.isfinite(error) else -math.inf)
    median = float(np.median(depths)) if depths else -math.inf
    return median if math.isfinite(median) else None


def _sigma_pix(row):
    """Gaussian width with the exposure's effective area (4 pi sigma^2)."""
    return math.sqrt(row["psf_effective_area_pix"] / (4.0 * math.pi))


def _record(connection, decision, run_id):
    identity = {"tract": decision.tract, "band": decision.band}
    number = fetch_table(connection, _query("next_id"), identity).to_pylist()[0]
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
                _insert(connection, name, to_table(rows))


def _insert(connection, name, table: pa.Table):
    connection.register("decision_rows", table)
    try:
        connection.execute(f"INSERT INTO {name} BY NAME SELECT * FROM decision_rows")
    finally:
        connection.unregister("decision_rows")
