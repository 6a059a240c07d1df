"""The command that asks how deep the survey is: inject."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dbpipe.cli.commands.work import Debug, Overwrite, RetryFailed, SurveyArgument, Workers, end_with, prepare_picture
from dbpipe.cli.terminal.console import Progressing, console, print_table, reading, writing

if TYPE_CHECKING:
    from dbpipe.ask.completeness import Recovery


def inject(
    survey: SurveyArgument,
    where: Annotated[str | None, typer.Option(metavar="SQL", help="Only images that meet this condition.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="PNG", help="Draw completeness, pulls and flux bias.")] = None,
    overwrite: Overwrite = False,
    workers: Workers = None,
    retry_failed: RetryFailed = False,
    debug: Debug = False,
) -> None:
    """Measure depth and flux errors with sources of known flux.

    Point sources are put into copies of the calibrated exposures: on blank sky, on galaxies, near bright stars and on
    stars. They are subtracted and detected like anything else, and what became of them is in the tables
    `injected_source` and `injection_summary` and the views `injection_completeness` and `difference_image`. The images
    and DIASources of the survey stay as they are. How many, how bright: section `inject` of `survey.toml`.

        dbpipe inject my_survey --where "band = 'r'" --plot depth.png
    """
    from dbpipe.ask import completeness
    from dbpipe.pictures import charts

    prepare_picture(plot, overwrite)
    with writing(survey) as opened, Progressing() as report:
        summary = opened.inject(where=where, n_worker=workers, retry_failed=retry_failed, report=report)
    with reading(survey) as opened:
        sources = completeness.fetch_sources(opened)
    if not len(sources):
        console().print(f"No injected source is on record: is there a difference image? (`dbpipe status {survey}`)")
        end_with(survey, summary)
        return
    columns = ("band", "place", "n", "S/N 50%", "mag 50%", "found > 7", "flagged", "bias %", "pull std", "robust",
               "forced: bias %", "pull mean", "pull std", "robust")  # fmt: skip
    print_table(columns, [_row(recovery) for recovery in completeness.summarize(sources)], title="Injected sources")
    if plot:
        console().print(f"{charts.draw_injection(plot, sources)}")
    end_with(survey, summary)


def _row(recovery: "Recovery") -> tuple[int | str | None, ...]:
    flux, forced = recovery.flux, recovery.forced
    return (
        recovery.band,
        recovery.place,
        recovery.n,
        _with_error(recovery.half_snr),
        _with_error(recovery.half_mag),
        f"{recovery.completeness:.3f}",
        f"{recovery.detected - recovery.completeness:.3f}",
        f"{100 * flux.bias:+.2f} +- {100 * flux.bias_err:.2f}",
        f"{flux.pull_std:.2f}",
        f"{flux.pull_robust_std:.2f}",
        f"{100 * forced.bias:+.2f} +- {100 * forced.bias_err:.2f}",
        f"{forced.pull_mean:+.2f}",
        f"{forced.pull_std:.2f}",
        f"{forced.pull_robust_std:.2f}",
    )


def _with_error(half: Any) -> str | None:
    return None if half is None else f"{half.value:.2f} +- {half.err:.2f}"
