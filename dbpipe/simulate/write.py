"""Write a simulated survey to disk: phosim-style eimages, a reference catalog, and the truth."""

import gzip
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

from dbpipe.disk.beside import TEMPORARY_PREFIX
from dbpipe.disk.ledger import LEDGER, is_own, plain_errors, write_output
from dbpipe.disk.places import find_files, is_folder
from dbpipe.errors import ConfigError
from dbpipe.simulate import truth
from dbpipe.simulate.camera.detector import dead_lines
from dbpipe.simulate.camera.exposure import simulate_exposure
from dbpipe.simulate.camera.visits import CCD, EXPOSURE_S, PIXEL_SCALE_ARCSEC
from dbpipe.simulate.scene import Density, make_survey
from dbpipe.simulate.sky import bands as filters
from dbpipe.simulate.sky.fixed import offset_position

if TYPE_CHECKING:
    import pandas as pd

    from dbpipe.simulate.camera.visits import Visit
    from dbpipe.simulate.scene import Sky

FIELD_RA, FIELD_DEC = 53.0091, -27.4389
"""The Twinkles field [deg]."""
REFERENCE_MAG_RANGE = (14.0, 22.0)
TAI_MINUS_UTC_S = 37.0
"""Since 2017 (IERS Bulletin C 52)."""


def write_survey(
    out: str | os.PathLike[str],
    *,
    seed: int = 1,
    n_visit: Mapping[str, int] | int = 10,
    bands: Sequence[str] = ("g", "r"),
    size_pix: int | tuple[int, int] = 512,
    scene: Sequence[str] = (),
    density: Density | None = None,
    ra: float = FIELD_RA,
    dec: float = FIELD_DEC,
) -> list[Path]:
    """Simulate a survey of one CCD.

    Parameters
    ----------
    out : path
        Gets raw/*.fits.gz, refcat.csv and truth/; the raw images are as a pipeline would find them. What was simulated
        there before is replaced; a file of these folders that was not is an error.
    seed : int
        The same seed and settings give the same bytes.
    n_visit : int or dict
        Good visits in all, shared between the bands as evenly as can be, or a number for each band.
    bands : sequence of str
        From u, g, r, i, z, y; not used if n_visit is a dict.
    size_pix : int or (nx, ny)
    scene : sequence of names from `dbpipe.simulate.scene.SCENES`
        What goes wrong, e.g. ("cosmic_rays", "nan_block").
    density : Density, optional
        How crowded the sky is.
    ra, dec : float
        Center of the field [deg].

    Returns
    -------
    list of pathlib.Path: the raw images, in order of time.

    Raises
    ------
    ConfigError
        If a band, a scene or a number makes no sense, or something else is in the way.
    """
    size_pix = (size_pix, size_pix) if isinstance(size_pix, int) else size_pix
    if min(size_pix) < 64:
        raise ConfigError(f"images must be at least 64 pixels wide and high, not {size_pix[0]} x {size_pix[1]}")
    n_per_band = _visits_per_band(n_visit, bands)
    visits, sky = make_survey(
        n_per_band, ra=ra, dec=dec, size_pix=size_pix, scene=tuple(scene), density=density or Density(), seed=seed
    )
    _require_room(Path(out))
    return write_exposures(Path(out), visits, sky, seed=seed, scene=tuple(scene))


def _require_room(out: Path) -> None:
    """Raise ConfigError if raw/, truth/ or refcat.csv has something that was not simulated: it would be mixed up."""
    with plain_errors(out):
        if out.exists():
            list(out.iterdir())
        found = [Path(entry.path) for name in ("raw", "truth") for _, entry in find_files(out / name)]
        found += [out / name for name in ("raw", "truth") if os.path.lexists(out / name) and not is_folder(out / name)]
        found += [out / "refcat.csv"] if os.path.lexists(out / "refcat.csv") else []
        # a name that begins like this is what a kill left of a file
        strangers = [
            path for path in found if not path.name.startswith((LEDGER, TEMPORARY_PREFIX)) and not is_own(path)
        ]
    if strangers:
        raise ConfigError(
            f"{strangers[0]} is there and was not simulated, or it was changed since: give another folder"
        )


def write_exposures(
    out: Path, visits: "Sequence[Visit]", sky: "Sky", *, seed: int, scene: tuple[str, ...] = ()
) -> list[Path]:
    """Expose planned visits of a given sky and write them; arguments and result as for `write_survey`."""
    dead_boxes = dead_lines(visits[0].shape, np.random.default_rng([seed, 3]))
    utc = "utc_clock" in scene
    exposed, paths = [], []  # paths: those of each visit
    for number, visit in enumerate(visits):
        result = simulate_exposure(visit, sky, dead_boxes, np.random.default_rng([seed, 4, number]))
        exposed.append(result)
        paths.append([_write_raw(out / "raw", visit, result.image, utc=utc)])
        if "duplicate_id" in visit.problems:
            again = simulate_exposure(visit, sky, dead_boxes, np.random.default_rng([seed, 5, number]))
            paths[-1].append(_write_raw(out / "raw", visit, again.image, utc=utc, snap="E001"))
    write_reference_catalog(out / "refcat.csv", sky.stars)
    names = [[path.name for path in group] for group in paths]
    settings = {"seed": seed, "scene": list(scene)}
    truth.write_truth(out / "truth", visits, sky, exposed, files=names, manifest_extra=settings)
    return [path for group in paths for path in group]


def _visits_per_band(n_visit: Mapping[str, int] | int, bands: Sequence[str]) -> dict[str, int]:
    counts = dict(n_visit) if isinstance(n_visit, Mapping) else {band: n_visit // len(bands) for band in bands}
    if not isinstance(n_visit, Mapping):
        for band in list(counts)[::-1][: n_visit % len(bands)]:
            counts[band] += 1
    unknown = [band for band in counts if band not in filters.NAMES]
    if unknown:
        raise ConfigError(f"no such band: {', '.join(unknown)}; there are {', '.join(filters.NAMES)}")
    if sum(counts.values()) < 1 or min(counts.values()) < 0:
        raise ConfigError(f"a survey needs at least one visit, not {counts}")
    return counts


def _write_raw(directory: Path, visit: "Visit", image: np.ndarray, *, utc: bool, snap: str = "E000") -> Path:
    """Write one eimage and return its path."""
    name = visit.file_name.replace("E000", snap)
    if "filter_mismatch" in visit.problems:
        wrong = filters.NAMES[(filters.filter_number(visit.band) + 3) % len(filters.NAMES)]
        name = name.replace(f"_f{filters.filter_number(visit.band)}_", f"_f{filters.filter_number(wrong)}_")
    header = make_header(visit, utc=utc, name=name.removesuffix(".fits.gz"))
    buffer = io.BytesIO()
    fits.PrimaryHDU(image, header).writeto(buffer)
    data = gzip.compress(buffer.getvalue(), compresslevel=1, mtime=0)
    if "truncated" in visit.problems:
        data = data[: len(data) * 2 // 3]
    path = directory / name
    write_output(path, lambda beside: beside.write_bytes(data))
    return path


def make_header(visit: "Visit", *, utc: bool, name: str) -> fits.Header:
    """Return the cards that phosim writes and a pipeline may use, with the header's wrong WCS."""
    header = fits.Header()
    east, north = visit.header_offset_arcsec
    ra, dec = (float(value) for value in offset_position(visit.ra, visit.dec, east, north))
    if "no_wcs" not in visit.problems:
        cd = visit.header_cd_matrix()
        header.update({"CTYPE1": "RA---TAN", "CRPIX1": visit.nx / 2, "CRVAL1": ra})
        header.update({"CTYPE2": "DEC--TAN", "CRPIX2": visit.ny / 2, "CRVAL2": dec})
        header.update({f"CD{i + 1}_{j + 1}": float(cd[i, j]) for i in range(2) for j in range(2)})
        header.update({"RADESYS": "ICRS", "EQUINOX": 2000.0})
    header["OBSID"] = (visit.obsid, "Observation ID")
    header["TAI"] = (visit.mjd_start_tai, "International Atomic Time scale")
    start = visit.mjd_start_tai - (TAI_MINUS_UTC_S / 86400.0 if utc else 0.0)
    header["MJD-OBS"] = (start, "Modified Julian date" + ("" if utc else " (also TAI)"))
    header["OUTFILE"] = (name, "Output file name")
    header["BACMODE"] = (1, "Background mode (0=off/1=on)")
    header["SATMODE"] = (1, "Saturation mode (0=off/1=on)")
    header["BLOOMNG"] = (1, "Blooming mode (0=off/1=on)")
    header["PLTSCAL"] = (20.0, "Approx. Plate scale (arcsec/mm)")
    header["EXPTIME"] = (EXPOSURE_S, "Exposure time")
    header["DARKTIME"] = (EXPOSURE_S, "Actual exposed time")
    header["FILTNM"] = (filters.filter_number(visit.band), "Filter/optics configuration number")
    header["FILTER"] = (visit.band, "Filter")
    header["RA_DEG"] = (ra, "Pointing RA (decimal degrees)")
    header["DEC_DEG"] = (dec, "Pointing Dec (decimal degrees)")
    header["AIRMASS"] = (visit.airmass, "Airmass")
    header["ROTANG"] = (visit.rotation_deg + visit.header_rotation_arcsec / 3600.0, "Rotation angle (degrees)")
    header["PIXSIZE"] = (PIXEL_SCALE_ARCSEC / 20.0 * 1000.0, "Pixel Size (microns)")
    header["CHIPID"] = (CCD, "Chip/Amplifier ID")
    header["PAIRID"] = (0, "Pair ID")
    header["PIXX"] = (visit.nx, "Chip x pixels")
    header["PIXY"] = (visit.ny, "Chip y pixels")
    return header


def write_reference_catalog(path: Path, stars: "pd.DataFrame") -> None:
    """Write the bright stars as CSV: id, ra, dec at the catalog's epoch, and AB magnitudes."""
    low, high = REFERENCE_MAG_RANGE
    bright = stars[(stars.mag_r > low) & (stars.mag_r < high)]
    table = bright[["ra", "dec"]].copy()
    table.insert(0, "id", 5_000_000_000 + bright.star_id)
    for band in filters.NAMES:
        table[band] = bright[f"mag_{band}"]
    write_output(path, lambda beside: table.to_csv(beside, index=False, float_format="%.9f"))
