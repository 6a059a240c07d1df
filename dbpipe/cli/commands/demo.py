"""The demo: simulate a small sky, run everything on it, and compare what was found with what is true.

The demo alone may look at the truth.
"""

import time
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.table import Table

from dbpipe.catalog.sql.queries import load_named
from dbpipe.cli.terminal.console import Progressing, console, writing
from dbpipe.disk.ledger import plain_errors
from dbpipe.errors import ConfigError, DbpipeError
from dbpipe.io.difference import read_difference
from dbpipe.pictures import charts
from dbpipe.simulate import write_survey
from dbpipe.simulate.camera.visits import PIXEL_SCALE_ARCSEC
from dbpipe.simulate.judge import judge, read_truth, true_differences
from dbpipe.simulate.scene import Density
from dbpipe.survey import Survey

if TYPE_CHECKING:
    import pandas as pd

N_VISIT = {"g": 4, "r": 8}
SIZE_PIX = 640
DENSITY = Density(supernova=5.0, variable_star=1.5, agn=0.5, lens=0.12, asteroid=0.2)
"""More transients than the real sky has, so that a small field says something."""
PICTURE_HALF_PIX = 60


def run(out: Path, *, workers: int | None = None, seed: int = 1) -> Any:
    """Run the demo and print a report.

    Parameters
    ----------
    out : path
        New folder: gets simulated/, survey/ and pictures/.
    workers : int, optional
        Processes; by default one per core.
    seed : int
        Of the simulated sky.

    Returns
    -------
    Judgment

    Raises
    ------
    ConfigError
        If the folder is not empty.
    """
    out, started, screen = Path(out), time.monotonic(), console()
    with plain_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise ConfigError(f"{out} is not empty; the demo wants a new folder (dbpipe demo NEW_FOLDER)")
    simulated, root = out / "simulated", out / "survey"
    screen.print(f"Simulating {sum(N_VISIT.values())} visits of {SIZE_PIX} x {SIZE_PIX} pixels ...")
    write_survey(simulated, seed=seed, n_visit=N_VISIT, size_pix=SIZE_PIX, density=DENSITY)
    process(simulated, root, workers=workers)
    screen.print(f"{root} is done, {time.monotonic() - started:.0f} s after the start.\n")
    judgment = compare(simulated, root, out / "pictures")
    screen.print(f"Done in {time.monotonic() - started:.0f} s. To try next:\n")
    for line in suggestions(root, _best_object(root, judgment)):
        screen.print(f"  {line}")
    return judgment


def process(simulated: Path, root: Path, *, workers: int | None = None) -> None:
    """Make a survey of simulated images and run every stage on it."""
    Survey.init(root, instrument="phosim-eimage").close()
    with writing(root) as survey, Progressing() as progress:
        survey.ingest([simulated / "raw"], n_worker=workers, report=progress)
        survey.set_reference_catalog(simulated / "refcat.csv")
        survey.run(n_worker=workers, report=progress)


def compare(simulated: Path, root: Path, folder: Path) -> Any:
    """Print how the survey compares with the truth, draw pictures into the folder and return the Judgment.

    Raises
    ------
    DbpipeError
        If the survey has no difference image.
    """
    with Survey.open(root) as survey:
        answers = {name: _ask(survey, name) for name in ("clean_sources", "template_weights", "visits", "noise")}
        if answers["noise"].n_diffim.iloc[0] == 0:
            raise DbpipeError(f"no difference image was made: see `dbpipe status {root}`")
        truth = read_truth(simulated)
        judgment = judge(answers["clean_sources"], answers["template_weights"], truth)
        console().print(report(judgment, answers, truth))
        drawn = draw_pictures(survey, judgment, answers, truth, folder)
    console().print(f"\nPictures in {folder}: {', '.join(path.name for path in drawn)}")
    return judgment


def _ask(survey: Survey, name: str, **parameters: Any) -> Any:
    return survey.fetch(load_named("reports", "demo")[name], **parameters).to_pandas()


def report(judgment: Any, answers: Any, truth: "Mapping[str, pd.DataFrame]") -> Any:
    """Return the comparison with truth as a table to print."""
    table = Table(title="Compared with the truth", title_justify="left", header_style="bold", pad_edge=False)
    for name in ("quantity", "measured", "ideal"):
        table.add_column(name, justify="left" if name == "quantity" else "right")
    strong = judgment.expected[judgment.expected.true_snr.abs() >= 5.0]
    visits = answers["visits"].merge(truth["visits"], left_on="visit", right_on="obsid")
    zero_point = visits.zero_point - visits.zp
    noise = answers["noise"].iloc[0]
    rows = [
        ("difference sources, no flag set", str(len(answers["clean_sources"])), ""),
        ("found of the true sources with S/N above 5", f"{strong.found.sum()} of {len(strong)}", ""),
        ("true S/N where half are found", _number(judgment.snr_at_half, ".2f"), "5.0"),
        ("found of the true sources with S/N above 7", _number(judgment.completeness_above_7, ".1%"), "100%"),
        ("real among the detections", _number(judgment.purity, ".1%"), "100%"),
        ("spurious detections", str(judgment.n_spurious), "0"),
        ("flux bias", _number(judgment.flux_bias, "+.2%"), "0"),
        ("flux pull, standard deviation", _number(judgment.pull_std, ".2f"), "1"),
        ("distance from truth, S/N above 10", _number(judgment.astrometry_mas, ".0f", " mas"), ""),
        ("noise of the S/N image on blank sky", _number(noise.score_std, ".3f"), "1"),
        ("correlation of neighboring pixels", _number(noise.lag1_correlation, ".3f"), "0"),
        ("PSF FWHM over truth", _number((visits.seeing_fwhm_px / visits.fwhm_px).median(), ".4f"), "1"),
        ("zero points against truth, scatter", _number(1000.0 * zero_point.std(ddof=0), ".1f", " mmag"), "0"),
    ]
    for row in rows:
        table.add_row(*row)
    return table


def _number(value: Any, form: str, unit: str = "") -> Any:
    return "-" if value is None or not np.isfinite(value) else f"{value:{form}}{unit}"


def draw_pictures(
    survey: Survey, judgment: Any, answers: Any, truth: "Mapping[str, pd.DataFrame]", folder: Path
) -> Any:
    """Draw what is worth seeing and return the files."""
    visits = answers["visits"]
    cut = visits[visits.in_template].groupby("band").seeing_fwhm_px.max().to_dict()
    expected = judgment.expected
    drawn = [
        charts.draw_completeness(
            folder / "completeness.png", expected.true_snr, expected.found, snr_at_half=judgment.snr_at_half
        ),
        charts.draw_seeing(
            folder / "seeing.png",
            visits.midpoint_mjd_tai,
            visits.seeing_fwhm_px,
            visits.band.tolist(),
            visits.in_template,
            cut_pix=cut,
        ),
    ]
    best = best_transient(judgment)
    if best is None:
        return drawn
    drawn.append(_draw_transient(survey, best, folder / "transient.png"))
    drawn.append(_draw_light_curve(best, judgment, answers, truth, folder / "light_curve.png"))
    drawn += _draw_object(survey, best, folder / "object.png")
    return drawn


def best_transient(judgment: Any) -> Any:
    """Return the row of the most significant brightening of a supernova, or of anything real if there is none."""
    sources = judgment.sources
    brighter = sources[sources.real & sources.usable & (sources.psf_flux_njy > 0.0)]
    supernovae = brighter[brighter.kind == "supernova"]
    candidates = supernovae if len(supernovae) else brighter
    return None if candidates.empty else candidates.loc[candidates.snr.idxmax()]


def _draw_transient(survey: Survey, best: Any, path: Any) -> Any:
    where: dict[str, Any] = {"visit": int(best.visit), "detector": int(best.detector)}
    with chdir(survey.root):  # paths in the catalog and in its files are relative to the survey
        difference = read_difference(_ask(survey, "difference_file", **where).path.iloc[0])
    window, center = _window(difference.difference.shape, best.x, best.y)
    images: dict[str, Any] = {
        "science": np.asarray(difference.science)[window],
        "template": np.asarray(difference.template)[window],
        "difference": difference.difference[window],
    }
    noise = float(np.sqrt(np.nanmedian(difference.variance)))
    title = f"{best.kind} in visit {best.visit}, {best.band}: {best.psf_flux_njy:.0f} nJy, S/N {best.snr:.0f}"
    return charts.draw_triplet(
        path, images, noise=noise, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC, center=center, title=title
    )


def _window(shape: tuple[int, int], x: float, y: float) -> Any:
    """Return the slices around a place, cut at the edges, and the place within them."""
    row, column = round(y), round(x)
    first = max(0, row - PICTURE_HALF_PIX), max(0, column - PICTURE_HALF_PIX)
    last = min(shape[0], row + PICTURE_HALF_PIX + 1), min(shape[1], column + PICTURE_HALF_PIX + 1)
    return (slice(first[0], last[0]), slice(first[1], last[1])), (x - first[1], y - first[0])


def _draw_object(survey: Survey, best: Any, path: Path) -> list[Path]:
    """Draw the page of the object that a detection belongs to, a list of one file; of none if it is part of a track."""
    return [survey.draw_light_curve(path, dia_object_id) for dia_object_id in _objects_of(survey, best)]


def _objects_of(survey: Survey, best: Any) -> list[int]:
    query = load_named("reports", "demo")["object"]
    return [row[0] for row in survey.sql(query, source=int(best.dia_source_id)).fetchall()]


def _best_object(root: Path, judgment: Any) -> int | None:
    best = best_transient(judgment)
    if best is None:
        return None
    with Survey.open(root) as survey:
        return next(iter(_objects_of(survey, best)), None)


def _draw_light_curve(best: Any, judgment: Any, answers: Any, truth: "Mapping[str, pd.DataFrame]", path: Any) -> Any:
    mine = judgment.sources[judgment.sources.obj_id == best.obj_id]
    differences = true_differences(truth, answers["template_weights"])
    true = differences[differences.obj_id == best.obj_id]
    return charts.draw_light_curve(
        path,
        mine.midpoint_mjd_tai,
        mine.psf_flux_njy,
        mine.psf_flux_err_njy,
        mine.band.tolist(),
        title=f"Detections of {best.kind} {best.obj_id:.0f}",
        truth=(true.mjd_mid, true.true_flux_njy, true["filter"].tolist()),
    )


def suggestions(root: Path, dia_object_id: int | None = None) -> list[str]:
    """Return commands that are worth trying on the demo's survey, and on one of its objects."""
    return [
        f"dbpipe status {root}",
        f'dbpipe sql {root} "SELECT visit, band, psf_fwhm_pix, zero_point_mag FROM calexp JOIN visit USING (visit)"',
        f"dbpipe sql {root} --named repeated",
        f"dbpipe sql {root} --cookbook",
        *(
            []
            if dia_object_id is None
            else [f"dbpipe lightcurve {root} {dia_object_id} --plot {root.parent}/object.png"]
        ),
        f"dbpipe template {root} --band r --quantile 0.5 && dbpipe run {root}    # another template: the sharper half",
    ]
