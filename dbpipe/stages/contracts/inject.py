"""Put point sources of known flux into copies of an exposure and find them again."""

from dataclasses import dataclass
from typing import Annotated

from dbpipe.declared import group
from dbpipe.errors import ConfigError
from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import InjectUnit

_Snr = Annotated[float, Range(above=0.0, at_most=1e4)]


@dataclass(frozen=True)
class Places(Ranged):
    """Where sources are put."""

    spacing_fwhm: Annotated[float, Range(at_least=5.0, at_most=1000.0)] = 20.0
    """One source per square of this side, in FWHM."""
    separation_fwhm: Annotated[float, Range(at_least=2.0, at_most=1000.0)] = 10.0
    """Least distance of two sources of one copy, in FWHM."""
    galaxy_fraction: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.25
    """Part of the sources that is put on galaxies."""
    bright_star_fraction: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.15
    """Part that is put near bright stars."""
    star_fraction: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.15
    """Part that is put on stars, as variable ones; the rest is put on blank sky."""
    kernel_star_fraction: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.05
    """Largest part of the stars of the matching kernel that a source may touch in one copy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (total := self.galaxy_fraction + self.bright_star_fraction + self.star_fraction) > 1.0:
            raise ConfigError(
                f"galaxy_fraction + bright_star_fraction + star_fraction = {total:g}: must be at most 1; the rest is "
                "put on blank sky"
            )


@dataclass(frozen=True)
class Strengths(Ranged):
    """How strong the sources are."""

    snr: tuple[_Snr, _Snr] = (2.0, 20.0)
    """Range of the true S/N."""
    dense_snr: tuple[_Snr, _Snr] = (3.0, 8.0)
    """Where most of the sources are wanted."""
    dense_fraction: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.6
    """Part of the sources that is drawn from there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("snr", "dense_snr"):
            low, high = getattr(self, name)
            if low >= high:
                raise ConfigError(f"{name} = [{low}, {high}]: the first must be smaller than the second")


@dataclass(frozen=True)
class InjectConfig(Ranged):
    """Settings of the injection of sources of known flux."""

    seed: Annotated[int, Range(at_least=0, at_most=2**63 - 1)] = 1
    """The same seed gives the same sources."""
    rounds: Annotated[int, Range(at_least=1, at_most=100)] = 2
    """Copies of each exposure; more sources without crowding."""
    match_radius_fwhm: Annotated[float, Range(at_least=0.1, at_most=2.0)] = 0.5
    """A source is found if a DIASource is within this distance, in FWHM: 1.2 standard deviations of the PSF."""
    place: Places = group(Places, prefix="")
    strength: Strengths = group(Strengths, prefix="")


INJECT = Stage(
    "inject",
    key=("visit", "detector"),
    version=4,
    writes=("injected_source", "injection_summary"),
    unit=InjectUnit,
    run=Later("dbpipe.stages.inject.stage", "inject"),
    config=InjectConfig,
    inputs=(
        "static_sources",
        "real_sources",
        "difference.work",
        "difference.coadds",
        "difference.coadd_inputs",
        "difference.own_warps",
        "difference.stars",
        "difference.bright_stars",
        "detect.work",
        "detect.stars",
    ),
)
