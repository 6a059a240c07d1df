"""Write what is true of a simulated survey, for judging only: nothing in the pipeline reads it.

Tables (Parquet, in truth/): visits, stars, star_visits, galaxies, objects, lightcurves, variable_visits, bad_regions,
and manifest.json. Positions in degrees, pixels 0-based, fluxes in nJy or electrons of the visit.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from dbpipe.disk.ledger import write_output
from dbpipe.simulate.camera.visits import CCD, EXPOSURE_S, FULL_WELL_E, PIXEL_SCALE_ARCSEC, READ_NOISE_E
from dbpipe.simulate.scene import VISIT_TROUBLE
from dbpipe.simulate.sky import bands
from dbpipe.simulate.sky.fixed import offset_position

if TYPE_CHECKING:
    from dbpipe.simulate.camera.exposure import Exposed
    from dbpipe.simulate.camera.visits import Visit
    from dbpipe.simulate.scene import Sky

VARIABLE_COLUMNS = [
    "obj_id", "kind", "obsid", "ccd", "filter", "mjd_mid", "ra", "dec", "x", "y", "mag", "flux_njy", "flux_e",
    "bg_e_px", "edge_px", "mask_bits",
]  # fmt: skip
STAR_COLUMNS = [
    "star_id", "obsid", "ccd", "filter", "ra", "dec", "x", "y", "mag", "flux_e", "flux_njy", "saturated",
]  # fmt: skip


def write_truth(
    directory: Path,
    visits: "Sequence[Visit]",
    sky: "Sky",
    exposed: "Sequence[Exposed]",
    *,
    files: Sequence[list[str]],
    manifest_extra: Mapping[str, Any],
) -> None:
    """Write every truth table.

    Parameters
    ----------
    directory : pathlib.Path
    visits : list of Visit
    sky : Sky
    exposed : list of Exposed, one for each visit
    files : list of lists of str
        Names of the raw files of each visit.
    manifest_extra : dict
        What else the manifest should say.
    """
    star_parts, variable_parts = [], []
    for visit, result in zip(visits, exposed, strict=True):
        star_parts.append(result.stars.assign(obsid=visit.obsid, ccd=CCD, filter=visit.band))
        variable_parts.append(result.variables.assign(ccd=CCD))
    tables = {
        "visits": pd.DataFrame([visit_row(visit, names[0]) for visit, names in zip(visits, files, strict=True)]),
        "stars": sky.stars,
        "galaxies": sky.galaxies,
        "objects": sky.objects,
        "lightcurves": sky.curves.drop(columns="kind"),
        "star_visits": pd.concat(star_parts, ignore_index=True)[STAR_COLUMNS],
        "variable_visits": pd.concat(variable_parts, ignore_index=True)[VARIABLE_COLUMNS],
        "bad_regions": pd.concat([result.bad_regions for result in exposed], ignore_index=True),
    }
    for name, table in tables.items():
        write_output(directory / f"{name}.parquet", partial(table.to_parquet, index=False))
    entries = [_manifest_entry(visit, names) for visit, names in zip(visits, files, strict=True)]
    manifest = {**manifest_extra, "read_noise_e": READ_NOISE_E, "saturation_e": FULL_WELL_E, "visits": entries}
    text = json.dumps(manifest, indent=1) + "\n"
    write_output(directory / "manifest.json", lambda path: path.write_text(text))


def is_scored(visit: "Visit") -> bool:
    """Return whether the sources of a visit should be found."""
    return not any(problem in VISIT_TROUBLE for problem in visit.problems)


def visit_row(visit: "Visit", file: str) -> dict[str, Any]:
    """Return the truth about a visit as one row; file is the name of its raw image."""
    widths = visit.psf.central_widths()
    cd = visit.cd_matrix()
    ra_header, dec_header = offset_position(visit.ra, visit.dec, *visit.header_offset_arcsec)
    g1, g2 = visit.psf.g1[0], visit.psf.g2[0]
    to_distortion = 2.0 / (1.0 + g1**2 + g2**2)  # from (1-q)/(1+q) to (1-q^2)/(1+q^2)
    row = {
        "obsid": visit.obsid, "ccd": CCD, "file": file, "obsid_header": visit.obsid,
        "filter": visit.band, "filter_header": visit.band, "mjd_obs": visit.mjd_start_tai,
        "mjd_mid": visit.mjd_mid_tai, "exptime": EXPOSURE_S, "airmass": visit.airmass, "nx": visit.nx, "ny": visit.ny,
        "fwhm_px": widths.fwhm_pix, "fwhm_arcsec": widths.fwhm_pix * PIXEL_SCALE_ARCSEC,
        "fwhm_hsm_px": widths.fwhm_det_pix, "neff_px": widths.effective_area_pix,
        "e_hsm": to_distortion * math.hypot(g1, g2), "e1_hsm": to_distortion * g1, "e2_hsm": to_distortion * g2,
        "psf_kind": "moffat", "psf_beta": visit.psf.beta,
        "psf_fwhm_input_arcsec": visit.psf.fwhm_pix * PIXEL_SCALE_ARCSEC,
        "zp": visit.zero_point_mag, "transparency": visit.transparency, "sky_e": visit.sky_e,
        "sky_grad_x": visit.sky_gradient[0], "sky_grad_y": visit.sky_gradient[1],
        "read_noise_e": READ_NOISE_E, "saturation_e": FULL_WELL_E,
        "ra_true": visit.ra, "dec_true": visit.dec, "rotang_true": visit.rotation_deg,
        "crpix1": visit.nx / 2, "crpix2": visit.ny / 2,
        "cd1_1": cd[0, 0], "cd1_2": cd[0, 1], "cd2_1": cd[1, 0], "cd2_2": cd[1, 1],
        "dist_radial_px": visit.distortion_radial_pix, "center_x": (visit.nx - 1) / 2, "center_y": (visit.ny - 1) / 2,
        **{f"dist_quad{k}": value for k, value in enumerate(visit.distortion_quadratic_pix)},
        "ra_header": float(ra_header), "dec_header": float(dec_header),
        "rotang_header": visit.rotation_deg + visit.header_rotation_arcsec / 3600.0,
        "wcs_off_e_arcsec": visit.header_offset_arcsec[0], "wcs_off_n_arcsec": visit.header_offset_arcsec[1],
        "wcs_rot_err_arcsec": visit.header_rotation_arcsec, "problems": ",".join(visit.problems),
        "score": is_scored(visit), "template_ok": is_scored(visit),
    }  # fmt: skip
    return row


def _manifest_entry(visit: "Visit", files: Sequence[str]) -> dict[str, Any]:
    expected = [VISIT_TROUBLE[name][1] for name in visit.problems if name in VISIT_TROUBLE]
    return {
        "obsid": visit.obsid,
        "obsid_header": visit.obsid,
        "files": files,
        "filter": visit.band,
        "filter_number": bands.filter_number(visit.band),
        "problems": list(visit.problems),
        "expect": "; ".join(expected) or "process normally",
        "score": is_scored(visit),
        "template_ok": is_scored(visit),
    }
