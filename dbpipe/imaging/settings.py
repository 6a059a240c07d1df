"""What a user may set of the algorithms on pixels, apart from them: to know the settings takes no compiled code."""

from dataclasses import dataclass
from typing import Annotated, Literal

from dbpipe.errors import ConfigError
from dbpipe.ranges import Range, Ranged

FIT_RADIUS_FWHM = 2.5
"""Radius of a PSF fit unless the settings say otherwise: what a Gaussian has outside is 3e-8 of its flux, and the wings
of a star with beta 3 hold less than the noise of more pixels would cost."""


@dataclass(frozen=True)
class RejectionLimits(Ranged):
    """When a pixel of one input is an artifact."""

    seed_sigma: Annotated[float, Range(at_least=2.0, at_most=1000.0)] = 4.0
    """Deviation from the median of the inputs that makes a pixel suspect, in standard deviations."""
    grow_sigma: Annotated[float, Range(at_least=0.5, at_most=1000.0)] = 1.5
    """Deviation of the pixels that belong to a suspect one, in standard deviations."""
    min_contrast: Annotated[float, Range(at_least=0.0, at_most=1000.0)] = 3.0
    """Smallest deviation relative to the brightest median flux within a FWHM; variables, supernovae in their hosts and
    residuals of stars are fainter."""
    max_witness_gap_day: Annotated[float, Range(at_least=0.0, at_most=36525.0)] = 2.0
    """A point source is an artifact if half of the inputs at most this far in time from the one with it lack it."""
    trail_length_fwhm: Annotated[float, Range(at_least=2.0, at_most=1000.0)] = 8.0
    """What is longer than this is an artifact in any case."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grow_sigma > self.seed_sigma:
            raise ConfigError(f"grow_sigma = {self.grow_sigma}: must be at most seed_sigma = {self.seed_sigma}")


@dataclass(frozen=True)
class KernelSettings(Ranged):
    """How the matching kernel is made."""

    degree: tuple[Annotated[int, Range(at_least=0, at_most=8)], ...] = (6, 4, 2)
    """Largest polynomial degrees of the three Gaussians of the matching kernel; `choice` takes smaller ones where the
    stars do not ask for more."""
    order: Annotated[int, Range(at_least=0, at_most=4)] = 2
    """Largest degree of the kernel's variation over the image, chosen likewise."""
    sum_order: Annotated[int, Range(at_least=0, at_most=4)] = 0
    """Degree of the variation of the flux ratio over the image."""
    background_order: Annotated[int, Range(at_least=0, at_most=4)] = 1
    """Degree of the differential background."""
    max_size_pix: Annotated[int, Range(at_least=11, at_most=101)] = 51
    """Largest side of the kernel, in pixels."""
    flux_floor: Annotated[float, Range(at_least=0.0, at_most=0.5)] = 0.005
    """Model error of bright stars in the fit, as a fraction of their flux."""
    convolve: Literal["auto", "template", "science"] = "auto"
    """Which side to convolve."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.degree) <= 3:
            raise ConfigError(f"degree has {len(self.degree)} entries: must be 1 to 3, one per Gaussian")


@dataclass(frozen=True)
class Splitting(Ranged):
    """When one source is two."""

    score: Annotated[float, Range(at_least=1.0, at_most=1000.0)] = 5.0
    """Standard deviations by which the data must prefer two sources to one."""
    model_error: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.05
    """Error of the PSF model that must not look like a second source, as a fraction of its power."""


@dataclass(frozen=True)
class Trailing(Ranged):
    """When a source is a trail."""

    snr: Annotated[float, Range(at_least=3.0, at_most=1000.0)] = 8.0
    """Smallest S/N at which a trail is tried."""
    score: Annotated[float, Range(at_least=1.0, at_most=1000.0)] = 4.5
    """Standard deviations by which the data must prefer a trail to a point."""


@dataclass(frozen=True)
class DipoleLimits(Ranged):
    """When a pair of lobes is one source that is displaced."""

    separation_fwhm: Annotated[float, Range(at_least=0.1, at_most=10.0)] = 1.0
    """Lobes further apart are two sources, in FWHM."""
    flux_ratio: Annotated[float, Range(at_least=1.0, at_most=1000.0)] = 3.0
    """Largest ratio of the fluxes of a displaced source in the two images."""
    shift_fwhm: Annotated[float, Range(at_least=0.0, at_most=1.0)] = 0.03
    """Displacement that is usual where the registration of the image was not measured, in FWHM."""
