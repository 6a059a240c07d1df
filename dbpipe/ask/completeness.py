"""What injected sources say, band by band: where half are found, and how right their fluxes are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dbpipe.catalog.sql.queries import load_named
from dbpipe.imaging.injection.completeness import (
    FluxQuality,
    HalfPoint,
    fit_half_magnitude,
    fit_half_point,
    measure_fluxes,
)

if TYPE_CHECKING:
    import pandas as pd

STRONG_SNR = 7.0
"""True S/N above which a source should be found, and its flux is free of what the threshold selects."""
PLACES = ("blank", "galaxy", "bright_star", "star")


@dataclass(frozen=True)
class Recovery:
    """What one set of injected sources says."""

    band: str
    place: str
    """One of `PLACES`, or all."""
    n: int
    half_snr: HalfPoint | None
    half_mag: HalfPoint | None
    """Its value is a magnitude."""
    n_strong: int
    completeness: float
    """Fraction of the strong ones that is recovered, NaN if there are none."""
    detected: float
    """The same with flagged detections."""
    flux: FluxQuality
    """PSF fluxes of the strong ones that are recovered. A place that is fitted raises them by 1 / (S/N)^2."""
    forced: FluxQuality
    """PSF fluxes of all at their true places."""


def fetch_sources(survey: Any) -> "pd.DataFrame":
    """Return the injected sources of the present difference images, without the confused ones, as a DataFrame."""
    sources = survey.fetch(load_named("reports", "injection")["sources"]).to_pandas()
    return sources.assign(true_mag=31.4 - 2.5 * np.log10(sources.true_flux_njy), place=sources.place.astype(str))


def summarize(sources: "pd.DataFrame") -> list[Recovery]:
    """Return a `Recovery` for each band and place, all places first."""
    found = []
    for band, mine in sources.groupby("band"):
        found.append(measure(mine, band, "all"))
        found += [measure(mine[mine.place == place], band, place) for place in PLACES if (mine.place == place).any()]
    return found


def measure(sources: "pd.DataFrame", band: str, place: str) -> Recovery:
    """Return the `Recovery` of some injected sources."""
    strong = sources[sources.true_snr > STRONG_SNR]
    measured = strong[strong.is_recovered]
    true = ("true_flux_njy", "true_flux_err_njy")
    return Recovery(
        band=band,
        place=place,
        n=len(sources),
        half_snr=fit_half_point(sources.true_snr, sources.is_recovered, width=1.0),
        half_mag=fit_half_magnitude(
            sources.true_flux_njy, sources.is_recovered, flux_err_njy=float(sources.true_flux_err_njy.median())
        ),
        n_strong=len(strong),
        completeness=float(strong.is_recovered.mean()) if len(strong) else np.nan,
        detected=float(strong.is_detected.mean()) if len(strong) else np.nan,
        flux=measure_fluxes(*(measured[name] for name in ("psf_flux_njy", "psf_flux_err_njy", *true))),
        forced=measure_fluxes(*(sources[name] for name in ("forced_flux_njy", "forced_flux_err_njy", *true))),
    )
