"""Look at one raw file and put on record what it is, or why it cannot be used."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS

from dbpipe.constants import ARCSEC_PER_DEG
from dbpipe.errors import DataError
from dbpipe.io.fits.quiet import quiet
from dbpipe.io.raw.image import RawImage, read_raw
from dbpipe.io.raw.instrument import INSTRUMENT_FILE, Instrument, load_instrument
from dbpipe.sky.zenith import zenith_direction
from dbpipe.stage import Outputs
from dbpipe.stages.contracts.ingest import IngestConfig

_DATES = ("DATE", "MJD", "TIME")


def ingest(unit: Mapping[str, Any], inputs: Mapping[str, Any], config: IngestConfig) -> Outputs:
    """Read one raw file, check it, and describe it in rows.

    Parameters
    ----------
    unit : path, size_byte, mtime_ns, instrument_sha256, known_file, known_made_from
        Size and time of change are there so that a file that changed is looked at again; what is known is that of the
        image which is in use from this file, if any.
    """
    instrument = load_instrument(INSTRUMENT_FILE)
    raw = read_raw(unit["path"], instrument, max_mib=config.max_file_mib)
    n_bad = check_pixels(raw.image, raw.bad, max_bad_fraction=config.max_bad_fraction)
    visit = {
        "visit": raw.visit,
        "band": raw.band,
        "instrument": instrument.name,
        "midpoint_mjd_tai": raw.midpoint_mjd_tai,
        "exposure_s": raw.exposure_s,
        "airmass": raw.airmass,
        "night": raw.night,
    }
    footprint = measure_footprint(raw.wcs, raw.image.shape)
    row = {
        "visit": raw.visit,
        "detector": raw.detector,
        "path": unit["path"],
        "sha256": raw.sha256,
        "size_byte": raw.size_byte,
        "instrument_sha256": unit["instrument_sha256"],
        "nx": raw.image.shape[1],
        "ny": raw.image.shape[0],
        **footprint,
        "gain_e_per_adu": raw.gain,
        "read_noise_e": raw.read_noise_e,
        "saturation_e": raw.saturation_e,
        "sky_e": raw.sky_e,
        "n_bad_pix": n_bad,
    }
    content = hash_content(raw, instrument)
    # taken in before contents were hashed: what was made from the same bytes is not made again
    is_known = unit["known_file"] == f"{raw.sha256} {unit['instrument_sha256']}"
    identity = {name: row[name] for name in ("path", "visit", "detector")}
    rows = {
        "band": [{"band": raw.band}],
        "visit": [visit],
        "detector": [{"detector": raw.detector, "name": raw.detector_name}],
        "raw": [row],
        "raw_note": {
            "path": pa.array([unit["path"]] * len(raw.notes), pa.string()),
            "note": pa.array(raw.notes, pa.string()),
        },
        "raw_content": [
            {**identity, "content_sha256": content, "made_from": unit["known_made_from"] if is_known else content}
        ],
    }
    if instrument.site_longitude_deg is not None and instrument.site_latitude_deg is not None:
        rows["visit_zenith"] = [_zenith(raw, footprint, instrument)]
    return Outputs(rows=rows, n_pix=raw.image.size)


def _zenith(raw: RawImage, footprint: Mapping[str, float], instrument: Instrument) -> dict[str, float]:
    """Return the row of visit_zenith: where the zenith is, seen from the middle of the image."""
    site: dict[str, Any] = {
        "longitude_deg": instrument.site_longitude_deg,
        "latitude_deg": instrument.site_latitude_deg,
    }
    altitude_deg, angle_deg = zenith_direction(footprint["ra"], footprint["dec"], raw.midpoint_mjd_tai, **site)
    return {"visit": raw.visit, "altitude_deg": altitude_deg, "parallactic_angle_deg": angle_deg}


def hash_content(raw: RawImage, instrument: Instrument) -> str:
    """Return the hash of all that calibration reads of a raw file, however that is packed and called.

    Time and band are not among it: they are facts of the visit.
    """
    facts = {name: getattr(raw, name) for name in ("gain", "read_noise_e", "saturation_e", "exposure_s")}
    words = json.dumps([raw.image.shape, facts, instrument.bleed, _wcs_text(raw.wcs)], sort_keys=True)
    whole = hashlib.sha256(words.encode())
    for plane in (raw.image, raw.bad, raw.saturated):
        whole.update(np.ascontiguousarray(plane).data)
    return whole.hexdigest()


def _wcs_text(wcs: WCS) -> list[str]:
    """Return the words of a WCS without the date, which wcslib adds."""
    with quiet():
        cards = wcs.to_header(relax=True)
    exact = [*wcs.wcs.crval, *wcs.wcs.crpix, *wcs.pixel_scale_matrix.ravel()]  # a header rounds
    return [f"{key}={value}" for key, value in cards.items() if not key.startswith(_DATES)] + [repr(v) for v in exact]


def check_pixels(image: np.ndarray, bad: np.ndarray, *, max_bad_fraction: float) -> int:
    """Return the number of bad pixels.

    Raises
    ------
    DataError
        If there are too many of them, or if all the others have one value: nothing was exposed, or nothing was read.
    """
    n_bad = int(np.count_nonzero(bad))
    if n_bad > max_bad_fraction * bad.size:
        raise DataError("too many bad pixels", bad_fraction=n_bad / bad.size, limit=max_bad_fraction, n_bad_pix=n_bad)
    lowest, highest = float(image.min()), float(image.max())  # bad pixels hold the median of the good ones
    if lowest == highest:
        raise DataError("all pixels have the same value", value_e=lowest, n_pix=image.size)
    return n_bad


def measure_footprint(wcs: WCS, shape: tuple[int, int]) -> dict[str, float]:
    """Return where an image lies by its WCS.

    Returns
    -------
    dict of ra, dec : center [deg]; radius_deg : from there to the farthest corner; pixel_scale_arcsec : at the center

    Raises
    ------
    DataError
        If a corner has no place on the sky.
    """
    ny, nx = shape
    x0, y0 = (nx - 1) / 2, (ny - 1) / 2
    x = np.array([x0, -0.5, nx - 0.5, nx - 0.5, -0.5, x0 - 0.5, x0 + 0.5, x0, x0])
    y = np.array([y0, -0.5, -0.5, ny - 0.5, ny - 0.5, y0, y0, y0 - 0.5, y0 + 0.5])
    ra, dec = wcs.all_pix2world(x, y, 0)
    if not np.all(np.isfinite(ra) & np.isfinite(dec)):
        raise DataError("header WCS does not reach the corners of the image", nx=nx, ny=ny)
    a, d = np.radians(ra), np.radians(dec)
    unit = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=-1)
    chord = np.linalg.norm(unit[1:5] - unit[0], axis=-1).max()
    pixel_area = np.linalg.norm(np.cross(unit[6] - unit[5], unit[8] - unit[7]))  # [sr]
    return {
        "ra": float(ra[0] % 360.0),
        "dec": float(dec[0]),
        "radius_deg": float(np.degrees(2.0 * np.arcsin(chord / 2.0))),
        "pixel_scale_arcsec": float(np.degrees(np.sqrt(pixel_area)) * ARCSEC_PER_DEG),
    }
