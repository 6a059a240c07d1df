"""The command that shows one object: lightcurve."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from dbpipe.cli.commands.work import Overwrite, SurveyArgument, prepare_picture
from dbpipe.cli.terminal.console import console, print_table
from dbpipe.survey import Survey


def lightcurve(
    survey: SurveyArgument,
    name: Annotated[str, typer.Argument(metavar="OBJECT", help='A dia_object_id, or "RA,DEC" in degrees.')],
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw a page with cutouts.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show the light curve of an object.

    Every image that covers it is a row, detected or not: PSF flux on the difference, and the total flux, which is that
    plus the matched template. A template column with "in" marks epochs that are inputs of the template themselves. A
    direction finds the nearest object within 2 arcsec; an id that was given up leads to what it has become.

        dbpipe lightcurve my_survey 53.0062,-27.4359 --plot object.png
    """
    from dbpipe.ask import light_curves

    prepare_picture(plot, overwrite)
    with Survey.open(survey) as opened:
        found = light_curves.find_object(opened.connection, name)
        epochs = light_curves.fetch_light_curve(opened.connection, found.dia_object_id).to_pylist()
        bands = light_curves.fetch_bands(opened.connection, found.dia_object_id)
        drawn = opened.draw_light_curve(plot, found.dia_object_id) if plot else None
    if found.note:
        console().print(found.note)
    columns = ("MJD TAI", "band", "flux [nJy]", "error", "S/N", "total [nJy]", "error", "state", "template", "visit")
    title = f"DIAObject {found.dia_object_id} at {found.row['ra']:.6f}, {found.row['dec']:+.6f}"
    print_table(columns, map(_epoch, epochs), title=title)
    if not epochs:
        console().print(f"It has not been measured on the images yet: `dbpipe run {survey}` does it (stage forced).")
    columns = ("band", "n", "detected", "mean [nJy]", "error", "chi2", "J", "slope [nJy/d]", "error", "MAD [nJy]")
    print_table(columns, map(_band, bands), title="Difference flux by band, clean rows")
    if drawn:
        console().print(f"{drawn}")


def _number(value: float, form: str) -> str:
    return None if value is None else format(value, form)


def _epoch(row: Mapping[str, Any]) -> tuple[Any, ...]:
    flux, flux_err = row["psf_flux_njy"], row["psf_flux_err_njy"]
    state = "detected" if row["detected"] else "" if row["is_clean"] else "flagged"
    return (
        f"{row['midpoint_mjd_tai']:.5f}",
        row["band"],
        _number(flux, ".0f"),
        _number(flux_err, ".0f"),
        None if flux is None else f"{flux / flux_err:.1f}",
        _number(row["total_flux_njy"], ".0f"),
        _number(row["total_flux_err_njy"], ".0f"),
        state,
        f"{row['n_template_input']} visits" + (", in" if row["in_template"] else ""),
        row["visit"],
    )


def _band(row: Mapping[str, Any]) -> tuple[int | str, ...]:
    return (
        row["band"],
        row["n"],
        row["n_detected"],
        _number(row["psf_flux_weighted_mean_njy"], ".1f"),
        _number(row["psf_flux_weighted_mean_err_njy"], ".1f"),
        _number(row["psf_flux_chi2"], ".1f"),
        _number(row["psf_flux_stetson_j"], ".2f"),
        _number(row["psf_flux_slope_njy_per_day"], ".2f"),
        _number(row["psf_flux_slope_err_njy_per_day"], ".2f"),
        _number(row["psf_flux_mad_njy"], ".1f"),
    )
