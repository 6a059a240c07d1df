"""The command for two images without a survey: subtract."""

from pathlib import Path
from typing import Annotated, Any

import typer

from dbpipe.cli.commands.work import Overwrite, prepare_picture
from dbpipe.cli.terminal.console import console, finite, print_table


def subtract(
    science: Annotated[Path, typer.Argument(metavar="SCIENCE", help="FITS file.")],
    template: Annotated[Path, typer.Argument(metavar="TEMPLATE", help="FITS file of the same field.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="For difference.fits and sources.parquet.")],
    gain: Annotated[
        float | None,
        typer.Option(metavar="X", callback=finite, help="Electrons per unit; else of the header, or measured."),
    ] = None,
    template_gain: Annotated[
        float | None, typer.Option(metavar="X", callback=finite, help="That of the template.")
    ] = None,
    read_noise_e: Annotated[
        float | None,
        typer.Option("--read-noise", metavar="E", callback=finite, help="Electrons; else of the header, or measured."),
    ] = None,
    template_read_noise_e: Annotated[
        float | None, typer.Option("--template-read-noise", metavar="E", callback=finite, help="That of the template.")
    ] = None,
    saturation: Annotated[
        float | None,
        typer.Option(metavar="X", callback=finite, help="Level in pixel units; else of the header, or found."),
    ] = None,
    template_saturation: Annotated[
        float | None, typer.Option(metavar="X", callback=finite, help="That of the template.")
    ] = None,
    hdu: Annotated[
        str | None, typer.Option(metavar="HDU", help="Number or name of the science image in its file.")
    ] = None,
    template_hdu: Annotated[str | None, typer.Option(metavar="HDU", help="That of the template.")] = None,
    settings: Annotated[
        Path | None,
        typer.Option(metavar="TOML", help="Sections calibrate, difference and detect, as of a survey.toml."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw science, template and difference.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Subtract a template from a science image: two FITS files, no survey.

    Sky, PSF and stars are measured on both; a template on another pixel grid is laid on that of the science image, by
    WCS and stars. Difference, variance, mask and score are written in the unit of the science image, with the sources
    that were found. `score_std` is the noise of the score on blank sky: 1 if the noise that is claimed is the noise
    that there is.

        dbpipe subtract science.fits template.fits --out difference
    """
    from dbpipe import pair
    from dbpipe.disk.ledger import adopt, check_output
    from dbpipe.runner.order import sections
    from dbpipe.survey.settings import read_settings

    chosen = read_settings(settings, {name: sections()[name] for name in ("calibrate", "difference", "detect")})
    prepare_picture(plot, overwrite)
    for name in (pair.IMAGE_FILE, pair.SOURCE_FILE):
        if overwrite:
            adopt(out / name)
        check_output(out / name)
    with console().status("subtracting; the first time on a machine some functions are compiled"):
        result = pair.subtract(
            science,
            template,
            gain=gain,
            template_gain=template_gain,
            read_noise_e=read_noise_e,
            template_read_noise_e=template_read_noise_e,
            saturation=saturation,
            template_saturation=template_saturation,
            hdu=_hdu(hdu),
            template_hdu=_hdu(template_hdu),
            **{name: chosen[name] for name in ("calibrate", "difference", "detect")},
        )
    paths = result.write(out)
    _print(result)
    if plot is not None:
        paths.append(_draw(plot, result))
    console().print(", ".join(map(str, paths)))


def _hdu(text: str | None) -> Any | None:
    return int(text) if text is not None and text.isdigit() else text


def _print(result: Any) -> None:
    """Print what was assumed, how good the difference is, and the best sources."""
    out, quality = console(), result.quality
    for name, notes in result.notes.items():
        for note in notes:
            out.print(f"{name}: {note}")
    names = ("science_fwhm_pix", "template_fwhm_pix", "convolved", "n_common_star", "offset_pix", "is_resampled",
             "n_kernel_star", "kernel_sum", "template_coverage", "noise", "score_std")  # fmt: skip
    print_table(("quality", "value"), [(name, quality[name]) for name in names])
    clean = result.sources[result.sources.is_clean]
    columns = [name for name in ("x", "y", "ra", "dec", "score", "psf_flux", "psf_flux_err") if name in clean]
    title = f"{len(clean)} clean sources" + (", the best of them" if len(clean) > 10 else "")
    print_table(columns, clean[columns].head(10).itertuples(index=False), title=title)


def _draw(plot: Path, result: Any) -> Path:
    from dbpipe.pictures.charts import draw_triplet

    images = {"science": result.science, "template": result.template, "difference": result.difference}
    scale = result.pixel_scale_arcsec or 1.0
    return draw_triplet(plot, images, noise=result.quality["noise"], pixel_scale_arcsec=scale)
