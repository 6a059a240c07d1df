"""Commands that change a survey: init, ingest, refcat, template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dbpipe.catalog.sql.queries import load_named
from dbpipe.cli.terminal.console import Progressing, Shell, console, finite, print_table, reading, writing
from dbpipe.errors import ConfigError
from dbpipe.runner.report import Summary
from dbpipe.survey import Survey
from dbpipe.survey.discover import NOT_FITS, LeftAlone

SurveyArgument = Annotated[Path, typer.Argument(metavar="SURVEY", help="Folder of the survey.")]
Workers = Annotated[int | None, typer.Option(min=1, max=1024, help="Worker processes; by default one per core.")]
RetryFailed = Annotated[bool, typer.Option(help="Try again what failed before although nothing has changed.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that dbpipe did not make, too.")]
Debug = Annotated[bool, typer.Option(help="Show the traceback of an error.")]
EXIT_FAILED_UNITS = 3
"""Units met an error that nobody foresaw, lost their worker or ran into a limit; with --strict: or were refused."""


def init(
    survey: SurveyArgument,
    instrument: Annotated[
        str, typer.Option(help="A name that comes with dbpipe, or your own TOML file.")
    ] = "phosim-eimage",
) -> None:
    """Make an empty survey.

    The folder gets `survey.toml` (every setting with its explanation), `instrument.toml` (what the headers of the raw
    files mean; copy and edit one for a new camera) and the database. If the folder has one of the two already, that
    one stays.

        dbpipe init my_survey --instrument phosim-eimage
    """
    with Survey.init(survey, instrument=instrument) as made:
        print_kept(console(), made)
    console().print(f"{survey} is ready. Next: dbpipe ingest {survey} FILES_OR_FOLDERS")


def print_kept(out: Shell, made: Any) -> None:
    """Say which files of the folder a new survey has kept."""
    for name in made.kept:
        out.print(f"{made.root / name} was there and is kept as it is.", markup=False)


def ingest(
    survey: SurveyArgument,
    files: Annotated[list[str], typer.Argument(help="Raw files, folders that are searched, or quoted patterns.")],
    workers: Workers = None,
    retry_failed: RetryFailed = False,
    debug: Debug = False,
) -> None:
    """Take raw exposures into a survey.

    Each file is opened and judged: used, or refused with the reason. Raw files stay where they are; the survey
    remembers path, size and hash. Repeat the command when new files have arrived: what is known is not read again.
    A file that was corrected, or every file if `instrument.toml` was, is read again and followed; one that was moved,
    renamed or compressed is known by what it holds: name its new place, and nothing is computed again.
    Folders that are links are searched too. What is found and not taken is counted with an example: files not named
    like FITS, links to nothing, pipes and devices, folders that cannot be read, names that are not UTF-8.

        dbpipe ingest my_survey /data/night1 /data/extra/lsst_e_840_f2.fits.gz
    """
    with writing(survey) as opened, Progressing() as report:
        summary, left_alone = opened.ingest(files, n_worker=workers, retry_failed=retry_failed, report=report)
        print_ingest(console(), opened, summary, left_alone)
    end_with(survey, summary)


def end_with(survey: Path, *summaries: Summary) -> None:
    """Leave the command with an exit code of its own if a unit failed in a way that no input should bring about."""
    n_unexpected = sum(summary.n_unexpected for summary in summaries)
    if n_unexpected:
        console().print(f"{n_unexpected} units met an error or a limit: dbpipe status {survey} --traceback")
        raise typer.Exit(EXIT_FAILED_UNITS)


def print_ingest(out: Any, opened: Any, summary: Summary, left_alone: LeftAlone, n_left: int = 0) -> None:
    """Print how raw files were judged, what is odd about those used, and how many images there are."""
    n_changed = {change: n for change, n in summary.changes.items() if change in ("read again", "moved")}
    n_used = summary.n_done - sum(n_changed.values())
    rows = [("used", n_used)] if n_used else []
    rows += [(f"used: {change}", n) for change, n in n_changed.items()]
    rows += [(reason.replace("failed:", "refused:"), n) for reason, n in summary.reasons.items()]
    for kind, n in left_alone.counts.items():
        example = "" if kind == NOT_FITS else f", {left_alone.examples[kind]}"
        rows.append((f"left alone: {kind}{example}", n))
    if n_left:
        rows.append(("left for next time: still being copied", n_left))
    notes = opened.fetch(load_named("reports", "status")["notes_of_ingest"]).to_pylist() if summary.n_done else []
    rows += [(f"used, but: {note['note']}, {note['example']}", note["n_file"]) for note in notes]
    if rows and not out.quiet:
        print_table(("verdict", "files"), rows)
    if summary.lost and not out.quiet:
        title = f"{len(summary.lost)} images were in use and are no more; the next run takes back what they gave"
        print_table(("image and why",), [(line,) for line in summary.lost], title=title)
    out.print(f"{opened.root} has {opened.count('raw')} raw images.")


def refcat(
    survey: SurveyArgument,
    file: Annotated[Path | None, typer.Argument(help="CSV, Parquet, FITS, ECSV or VOTable.")] = None,
    map: Annotated[
        list[str] | None,
        typer.Option(metavar="MEANING=COLUMN", help="E.g. ra=RA_ICRS, or magnitudes.r=rmag. Repeatable."),
    ] = None,
    from_exposure: Annotated[
        int | None,
        typer.Option(
            metavar="VISIT", min=0, max=2**63 - 1, help="Use the stars of this raw exposure instead of a file."
        ),
    ] = None,
) -> None:
    """Give the survey its reference catalog: star positions and AB magnitudes.

    Usual column names are found by themselves; say the others with `--map`, or once and for all in the section
    `refcat` of `survey.toml`. Where no catalog exists, `--from-exposure` makes one from the stars of one exposure:
    everything is then relative to it. A new catalog takes the place of the old one. Positions are in degrees unless
    the file says otherwise; `--map ra_unit=rad` (or `hourangle`) says it for a file that does not. One of several
    tables in a FITS file is `stars.fits[2]`.

        dbpipe refcat my_survey gaia.fits --map ra=RA_ICRS --map dec=DE_ICRS --map magnitudes.r=rmag
    """
    if (file is None) == (from_exposure is None):
        raise ConfigError("give either a catalog file or --from-exposure VISIT")
    with writing(survey) as opened:
        if file is not None:
            found = opened.set_reference_catalog(file, mapping=_mapping(map or []))
        elif from_exposure is not None:
            found = opened.set_reference_from_exposure(from_exposure)
        print_refcat(console(), opened, *found)


def print_refcat(out: Shell, opened: Survey, n_star: int, n_magnitude: int) -> None:
    """Print what the reference catalog has."""
    queries = load_named("reports", "reference")
    bands = opened.fetch(queries["bands"])
    (motion,) = opened.fetch(queries["motion"]).to_pylist()
    text = ", ".join(f"{row['band']} {row['n_star']}" for row in bands.to_pylist())
    (sky,) = opened.fetch(queries["sky"]).to_pylist()
    out.print(f"{n_star} reference stars with {n_magnitude} magnitudes ({text}),")
    out.print("RA {ra_min:.4f} to {ra_max:.4f}, Dec {dec_min:.4f} to {dec_max:.4f} degrees.".format(**sky))
    (fields,) = opened.fetch(load_named("catalog", "refcat")["uncovered"]).to_pylist()
    if fields["n_uncovered"]:
        out.print(
            f"In {fields['n_uncovered']} of {fields['n_field']} exposures looked at there is none of these stars: "
            "are the columns and the unit right? (`--map`)"
        )
    if motion["n_known"]:
        out.print(f"{motion['n_moved']} of them are moved to the epoch of each exposure.")
    if motion["n_known"] > motion["n_moved"]:
        n = motion["n_known"] - motion["n_moved"]
        out.print(f"{n} have a proper motion but no epoch and stay where they are: say `--map epoch=2016.0`.")


def _mapping(pairs: Sequence[Any]) -> dict[str, Any]:
    """Turn ra=RA_ICRS and magnitudes.r=rmag into the dictionary that the reader wants."""
    mapping: dict[str, Any] = {}
    for pair in pairs:
        meaning, equals, column = pair.partition("=")
        if not (meaning and equals and column):
            raise ConfigError(f"--map {pair}: write MEANING=COLUMN, e.g. ra=RA_ICRS or magnitudes.r=rmag")
        group, dot, band = meaning.partition(".")
        if dot:
            mapping.setdefault(group, {})[band] = column
        else:
            mapping[meaning] = column
    return mapping


def template(
    survey: SurveyArgument,
    max_psf_fwhm: Annotated[
        float | None,
        typer.Option(
            metavar="PIX", min=0, callback=finite, help="Largest FWHM, native pixels (of the median exposure)."
        ),
    ] = None,
    quantile: Annotated[
        float | None, typer.Option(min=0, max=1, callback=finite, help="Best part of the exposures by FWHM.")
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="The cut that makes the difference images deepest.")] = False,
    sql: Annotated[Path | None, typer.Option(metavar="FILE", help="Your own SELECT of visit and detector.")] = None,
    band: Annotated[list[str] | None, typer.Option(help="Only this filter. Repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be chosen, change nothing.")] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="PNG", help="Draw the cuts that were weighed, and the depths reached.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show or decide which exposures make the template.

    Without options the decisions in force are shown, with the depth that was predicted for each difference image and,
    once there is one, the depth that it reached. With one, a new decision is made: a new version of the template,
    from which the next `dbpipe run` redoes warps, coadds and differences. `--max-psf-fwhm 4.85` is the classic cut.

        dbpipe template my_survey --band r --max-psf-fwhm 4.85
    """
    options = {"max_psf_fwhm": max_psf_fwhm, "quantile": quantile, "auto": auto or None, "sql": sql}
    choice: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if len(choice) > 1:
        raise ConfigError("choose one of --max-psf-fwhm, --quantile, --auto and --sql")
    prepare_picture(plot, overwrite)
    if choice and not dry_run:
        with writing(survey) as opened:
            decisions = opened.propose_template(band=band, **choice)
            opened.decide_template(decisions)
            depths = opened.template_depth(band=band).to_pylist()
    else:
        with reading(survey) as opened:
            decisions = opened.propose_template(band=band, **choice) if choice else opened.templates(band=band)
            depths = [] if choice else opened.template_depth(band=band).to_pylist()
    for decision in decisions:
        _print_decision(decision, [row for row in depths if (row["tract"], row["band"]) == decision.place])
    if plot is not None and decisions:
        from dbpipe.pictures.charts import draw_template_curve

        console().print(f"{draw_template_curve(plot, decisions, depths)}")
    if not decisions:
        console().print(f"No template is decided yet; `dbpipe run {survey}` or one of the options does it.")


def prepare_picture(plot: Path | None, overwrite: bool) -> None:
    """See to it, before the work, that a picture can be written; no picture is fine."""
    if plot is not None:
        from dbpipe.pictures.charts import check_picture

        check_picture(plot, overwrite=overwrite)


def _print_decision(decision: Any, depths: Sequence[dict[str, Any]]) -> None:
    """Print which exposures go into a template, why, and what was predicted and reached."""
    value = "" if decision.how_value is None else f" {decision.how_value}"
    title = f"{decision.band}, tract {decision.tract}: {decision.n_input} of {len(decision.exposures)} exposures, "
    title += f"chosen by {decision.how}{value}; model PSF {decision.target_fwhm_pix:.3f} pix"
    if decision.predicted_depth_mag is not None:
        title += f"; a typical difference image reaches {decision.predicted_depth_mag:.2f} mag"
    columns = ("visit", "detector", "psf_fwhm_pix", "psf_fwhm_det_pix", "depth_5sigma_mag", "selected", "reason")
    more = ("predicted_depth_mag", "measured_depth_mag", "difference_mag") if depths else ()
    found = {(row["visit"], row["detector"]): row for row in depths}
    rows = []
    for row in decision.exposures:
        row = found.get((row["visit"], row["detector"]), dict.fromkeys(more)) | row
        rows.append([round(row[name], 3) if isinstance(row[name], float) else row[name] for name in columns + more])
    print_table(columns + more, rows, title=title)
    differences = [row["difference_mag"] for row in depths if row["difference_mag"] is not None]
    if differences:
        mean = sum(differences) / len(differences)
        largest = max(differences, key=abs)
        text = f"measured minus predicted depth of {len(differences)} difference images: mean {mean:+.3f} mag"
        console().print(f"{text}, largest {largest:+.3f} mag")
