"""The work row of every stage: the columns of the query ``work`` in its SQL file, a unit each.

The columns are explained by their tables (`dbpipe schema`). All that is not an address goes into the fingerprint, by
name and value: what is named here has results that hang from it.
"""

from typing import TypedDict


class _Image(TypedDict):
    visit: int
    detector: int
    band: str


class _TractGrid(TypedDict):
    tract: int
    tract_ra: float
    tract_dec: float
    pixel_scale_arcsec: float
    patch_size_pix: int


class IngestUnit(TypedDict):
    """A raw file that was asked for."""

    path: str
    size_byte: int
    mtime_ns: int
    instrument_sha256: str
    known_file: str | None
    known_made_from: str | None


class CalibrateUnit(_Image):
    """A raw exposure in use, and where to look for its reference stars."""

    path: str
    sha256: str
    made_from: str
    midpoint_mjd_tai: float
    parallactic_angle_deg: float | None
    ra: float
    dec: float
    radius_deg: float
    n_catalogue_star: int
    catalogue_hash: str
    magnitude_hash: str | None


class SkymapUnit(TypedDict):
    """A calibrated exposure and the tract that it may touch."""

    tract: int
    visit: int
    detector: int
    corner_ra: list[float]
    corner_dec: list[float]


class WarpUnit(_Image, _TractGrid):
    """An exposure of a template in force, and a patch that it overlaps."""

    template_id: int
    target_fwhm_pix: float
    target_beta: float | None
    patch: int
    x0: int
    y0: int
    nx: int
    ny: int
    path: str
    sha256: str
    njy_per_e: float
    psf_fwhm_pix: float


class CoaddUnit(_TractGrid):
    """A patch of a template in force, and the warps on it."""

    template_id: int
    patch: int
    band: str
    target_fwhm_pix: float
    warp_sha256: str


class DifferenceUnit(_Image, _TractGrid):
    """A calibrated exposure that has template beneath it."""

    path: str
    sha256: str
    psf_fwhm_pix: float
    njy_per_e: float
    template_id: int
    target_fwhm_pix: float
    target_beta: float | None
    coadd_sha256: str


class _DifferenceImage(_Image):
    path: str
    sha256: str
    njy_per_e: float


class _WithNoise(_DifferenceImage):
    midpoint_mjd_tai: float
    calexp_sha256: str
    science_noise_e: float
    template_noise_e: float
    diff_noise_e: float


class DetectUnit(_WithNoise):
    """A difference image whose sources are to be found."""

    template_id: int
    calexp_path: str
    shift_pix: float


class ForcedUnit(_WithNoise):
    """A difference image, the circle around it, and what is known of the objects in that."""

    circle_ra: float
    circle_dec: float
    circle_chord: float
    n_object: int
    place_hash: int


class InjectUnit(_DifferenceImage):
    """A difference image, and how it and its sources were made."""

    template_id: int
    difference_version: int
    difference_settings: str
    calibrate_settings: str
    detect_fingerprint: str
    detect_version: int
    detect_settings: str
