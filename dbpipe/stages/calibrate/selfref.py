"""A reference catalog out of one exposure, for fields that have none: frames can calibrate each other."""

import math
from typing import Any

import numpy as np
import pyarrow as pa

from dbpipe.errors import DataError
from dbpipe.imaging.measure.characterize import characterize
from dbpipe.imaging.measure.detection import detect_sources
from dbpipe.io.raw.image import RawImage, read_raw
from dbpipe.io.raw.instrument import INSTRUMENT_FILE, load_instrument
from dbpipe.sky.healpix import hpx29
from dbpipe.sky.wcs import pixel_to_sky
from dbpipe.stages.calibrate.pixels import clean_pixels, flag_after_detection
from dbpipe.stages.contracts.calibrate import CalibrateConfig

MIN_SIGNAL_TO_NOISE = 20.0
"""Of a star that becomes a reference."""
N_STAR_MIN = 5
"""Fewer stars make no reference catalog."""

NOMINAL_ZERO_POINT_MAG = 25.0
"""Magnitude given to one electron per second."""


def reference_from_visit(unit: Any, config: Any) -> Any:
    """Build the reference tables from one ingested exposure; see `reference_from_raw`.

    Parameters
    ----------
    unit : dict with the ``path`` of the raw file
    config : CalibrateConfig
    """
    instrument = load_instrument(INSTRUMENT_FILE)
    raw = read_raw(unit["path"], instrument, max_mib=math.inf)  # ingest has judged its size
    return reference_from_raw(raw, bleed=instrument.bleed, config=config)


def reference_from_raw(raw: RawImage, *, bleed: str, config: CalibrateConfig) -> tuple[pa.Table, pa.Table]:
    """Build reference tables from the isolated sources of one raw exposure.

    Positions are those of the frame's own header WCS, and magnitudes take a **nominal zero point of 25 mag for one
    electron per second**: survey positions are then as good as that header and fluxes are in arbitrary units, the same
    for all exposures. Other bands need their own frame.

    Parameters
    ----------
    raw : RawImage, the best exposure of the field
    bleed : str, direction in which charge bleeds, as in the instrument description
    config : CalibrateConfig

    Returns
    -------
    reference_star, reference_magnitude : pyarrow.Table, rows of these tables

    Raises
    ------
    DataError
        If fewer than `N_STAR_MIN` isolated sources are bright enough.
    """
    pixels = clean_pixels(raw, bleed, config)
    detections = detect_sources(pixels.image, pixels.variance, pixels.is_bad, threshold_sigma=config.detection_sigma)
    if len(detections) < N_STAR_MIN:
        raise DataError("too few isolated sources for a reference", n_source=len(detections), n_required=N_STAR_MIN)
    pixels, candidates = flag_after_detection(pixels, detections, config)
    measured = characterize(
        pixels.image, pixels.variance, pixels.unusable,
        candidates=candidates, size=config.psf.size_pix, degree_max=config.psf.degree_max,
    )  # fmt: skip
    with np.errstate(invalid="ignore"):
        bright = measured.psf_flux > MIN_SIGNAL_TO_NOISE * measured.psf_flux_err
    good = bright & candidates.is_clean & candidates.is_star & (candidates.share < 0.1)
    if good.sum() < N_STAR_MIN:
        raise DataError("too few isolated sources for a reference", n_source=int(good.sum()), n_required=N_STAR_MIN)
    flux, flux_err = measured.psf_flux[good], measured.psf_flux_err[good]
    ra, dec = pixel_to_sky(raw.wcs, measured.shapes.x[good], measured.shapes.y[good])
    return _star_table(raw, ra, dec), _magnitude_table(raw, flux, flux_err)


def _star_table(raw: RawImage, ra: np.ndarray, dec: np.ndarray) -> pa.Table:
    number = np.arange(1, len(ra) + 1)
    return pa.table({
        "reference_id": number,
        "original_id": [f"visit {raw.visit} detector {raw.detector} star {k}" for k in number],
        "ra": ra, "dec": dec,
        "epoch_mjd_tai": np.full(len(ra), raw.midpoint_mjd_tai),
        "pm_ra_mas_per_yr": pa.nulls(len(ra), pa.float64()),
        "pm_dec_mas_per_yr": pa.nulls(len(ra), pa.float64()),
        "hpx29": hpx29(ra, dec),
    })  # fmt: skip


def _magnitude_table(raw: RawImage, flux_e: np.ndarray, flux_err_e: np.ndarray) -> pa.Table:
    return pa.table({
        "reference_id": np.arange(1, len(flux_e) + 1),
        "band": [raw.band] * len(flux_e),
        "magnitude_ab": NOMINAL_ZERO_POINT_MAG - 2.5 * np.log10(flux_e / raw.exposure_s),
        "magnitude_err": 2.5 / np.log(10.0) * flux_err_e / flux_e,
    })  # fmt: skip
