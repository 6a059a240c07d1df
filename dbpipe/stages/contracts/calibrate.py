"""Calibrate one exposure."""

from dataclasses import dataclass, field
from typing import Annotated

from dbpipe.declared import group
from dbpipe.later import Later
from dbpipe.ranges import Range, Ranged
from dbpipe.stage import Stage
from dbpipe.stages.contracts.units import CalibrateUnit


@dataclass(frozen=True)
class PsfSettings(Ranged):
    """How the PSF is modeled."""

    size_pix: Annotated[int, Range(odd=True, at_least=11, at_most=151)] = 41
    """Side of the PSF images, odd [pix]."""
    degree_max: Annotated[int, Range(at_least=0, at_most=2)] = 2
    """Largest degree of the PSF's change across the image; fewer than 30 (10) stars allow 1 (0)."""
    star_max: Annotated[int, Range(at_least=10, at_most=10000)] = 200
    """Most stars that make the PSF model."""
    size_min_fwhm: Annotated[float, Range(at_least=3.0, at_most=20.0)] = 4.0
    """An exposure whose PSF image would be narrower than this many FWHM is refused."""
    max_ellipticity: Annotated[float, Range(above=0.0, at_most=1.0)] = 0.6
    """An exposure with a PSF ellipticity (a^2 - b^2) / (a^2 + b^2) above this is refused as trailed; 0.6: b = a / 2."""


@dataclass(frozen=True)
class AstrometrySettings(Ranged):
    """How positions are fitted."""

    max_pointing_error_arcsec: Annotated[float, Range(at_least=1.0, at_most=600.0)] = 60.0
    """How far the header's WCS may be off; the reference stars are fetched with a margin of 72 arcsec."""
    sip_order_max: Annotated[int, Range(at_least=1, at_most=5)] = 3
    """Largest degree of the fitted distortion."""


@dataclass(frozen=True)
class ZeroPointSettings(Ranged):
    """How fluxes are tied to the reference catalog."""

    min_signal_to_noise: Annotated[float, Range(at_least=3.0, at_most=1000.0)] = 20.0
    """Fainter stars do not enter the zero point."""
    color_terms: dict[str, Annotated[float, Range(at_least=-5.0, at_most=5.0)]] = field(default_factory=dict)
    """Known color terms by band [mag/mag]: catalog minus instrumental magnitude = zero point + term (color -
    reference color), the color being bluer band minus the band; others are measured and used where significant."""
    reference_colors: dict[str, Annotated[float, Range(at_least=-10.0, at_most=10.0)]] = field(default_factory=dict)
    """By band, the color at which zero points and fluxes hold [mag]; others: the median of the field's catalog."""


@dataclass(frozen=True)
class CalibrateConfig(Ranged):
    """Settings of the calibrate stage."""

    background_bin_pix: Annotated[int, Range(at_least=16, at_most=4096)] = 128
    """Side of the bins in which the sky is averaged [pix]."""
    detection_sigma: Annotated[float, Range(at_least=3.0, at_most=100.0)] = 5.0
    """Threshold of the source detection, in standard deviations of the lightly smoothed image."""
    min_source: Annotated[int, Range(at_least=3, at_most=10000)] = 8
    """An exposure with fewer sources is refused as empty."""
    find_cosmic_rays: bool = True
    """Look for cosmic rays; not needed where another program took them out, or a simulation has none."""
    cosmic_ray_sigma: Annotated[float, Range(at_least=3.0, at_most=1000.0)] = 5.0
    """Threshold of the cosmic-ray search, in standard deviations."""
    find_streaks: bool = True
    """Look for satellites."""
    halo_scale: Annotated[float, Range(at_least=0.0, at_most=10.0)] = 0.5
    """Radius of a saturated star's halo beyond two FWHM, in square roots of the saturated area."""
    aperture_radius_fwhm: Annotated[float, Range(at_least=0.5, at_most=5.0)] = 1.5
    """Radius of the aperture flux, in FWHM."""
    psf: PsfSettings = group(PsfSettings, max_ellipticity="max_ellipticity")
    astrometry: AstrometrySettings = group(AstrometrySettings, prefix="")
    zero_point: ZeroPointSettings = group(
        ZeroPointSettings, color_terms="colour_terms", reference_colors="reference_colours"
    )


CALIBRATE = Stage(
    "calibrate",
    key=("visit", "detector"),
    version=12,
    writes=("calexp", "calexp_residual", "source", "streak", "calexp_saturation"),
    address=("path", "sha256"),
    unit=CalibrateUnit,
    run=Later("dbpipe.stages.calibrate.stage", "calibrate"),
    config=CalibrateConfig,
    reads_raw=True,
    inputs=("refcat",),
)
