"""Commands that make a sky to try things on: simulate, demo."""

from pathlib import Path
from typing import Annotated

import typer

from dbpipe.cli.commands.work import Workers
from dbpipe.cli.terminal.console import console, finite


def simulate(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder for raw/, refcat.csv and truth/; or a survey.")],
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="The same seed gives the same sky.")] = 1,
    n_visit: Annotated[int, typer.Option(min=1, max=100_000, help="Exposures, shared between the bands.")] = 10,
    bands: Annotated[str, typer.Option(help="Filters out of ugrizy.")] = "gr",
    size: Annotated[int, typer.Option(min=64, max=16_384, metavar="PIX", help="Side of the images.")] = 512,
    scene: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="What goes wrong, e.g. cosmic_rays. Repeatable.")
    ] = None,
    catalog: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=1,
            max=1e9,
            callback=finite,
            help="No images: make the survey OUT with a catalog of N DIASources.",
        ),
    ] = None,
) -> None:
    """Simulate LSST-like exposures in which every source is known, or the catalog of years.

    Supernovae, variable stars, asteroids and lensed quasars among stars and galaxies, with the truth beside them.

        dbpipe simulate sky --n-visit 12 --size 1024 --scene cosmic_rays --scene nan_block

    Again into the same folder it replaces what it made there; other files in raw/ or truth/ are an error.

    A catalog is linked to objects and answers every question; it has no images, so that a run finds nothing to do
    but the forced photometry, which fails.

        dbpipe simulate years --catalog 1e6
    """
    if catalog is not None:
        _simulate_catalog(out, n_source=catalog, seed=seed)
        return
    from dbpipe.simulate import write_survey

    paths = write_survey(out, seed=seed, n_visit=n_visit, bands=tuple(bands), size_pix=size, scene=tuple(scene or ()))
    console().print(f"{len(paths)} raw images in {out / 'raw'}, reference catalog {out / 'refcat.csv'}")


def _simulate_catalog(out: Path, *, n_source: float, seed: int) -> None:
    from dbpipe.survey.synthetic import make_survey

    with console().status("") as status:
        n_visit = make_survey(out, n_source=n_source, seed=seed, say=status.update)
    console().print(f"survey {out}: {n_visit} visits of 10,000 DIASources")


def demo(
    out: Annotated[Path, typer.Argument(metavar="[OUT]", help="New folder for everything.")] = Path("dbpipe_demo"),
    workers: Workers = None,
) -> None:
    """Simulate a small sky, run everything on it and compare with the truth, in a few minutes.

    dbpipe demo my_demo
    """
    from dbpipe.cli.commands.demo import run

    run(out, workers=workers)
