"""A few exposures of one small sky, on disk, with everything that the stages from warp to difference ask for."""

import numpy as np
import pyarrow as pa
from pair import paint
from point_sources import gaussian_psf

from dbpipe.imaging.mask import DETECTED
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.io.exposure import Exposure, read_exposure
from dbpipe.sky.skymap import Tract, patch_wcs
from dbpipe.sky.wcs import pixel_to_sky, sky_to_pixel, tan_wcs
from dbpipe.stages.coadd import coadd
from dbpipe.stages.contracts.coadd import CoaddConfig
from dbpipe.stages.contracts.warp import WarpConfig
from dbpipe.stages.warp import warp_exposure

SHAPE, SKY_E, NJY_PER_E, TARGET = (340, 340), 600.0, 2.5, 4.4
TRACT = Tract(0, 150.0, -20.0, 0.2, 400)
PATCH = {"patch": 500500, "x0": -200, "y0": -200, "nx": 400, "ny": 400}
TRACT_COLUMNS = {
    "tract": 0,
    "tract_ra": TRACT.ra,
    "tract_dec": TRACT.dec,
    "pixel_scale_arcsec": TRACT.pixel_scale_arcsec,
    "patch_size_pix": TRACT.patch_size_pix,
}


def star_catalog(n=40, seed=5):
    """Return ra, dec [deg] and flux [nJy] of stars on the patch, brightest first."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-165, 165, (2, n))
    return *pixel_to_sky(patch_wcs(TRACT, 0, 0), x, y), np.sort(10 ** rng.uniform(4.2, 5.4, n))[::-1]


def make_exposure(path, visit, *, fwhm_pix=4.0, angle_deg=0.0, new=(), noise=True):
    """Write one exposure and return its work columns and the pixel positions of the stars.

    Parameters
    ----------
    new : list of (ra, dec, flux) [deg, nJy], sources that only this exposure has
    """
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    scale = 0.2 / 3600.0
    cd = scale * np.array([[-c, s], [s, c]])
    wcs = tan_wcs(TRACT.ra, TRACT.dec, crpix=(170.0 + 0.37 * visit, 169.0), cd=cd)
    added = np.array(new, float).reshape(-1, 3).T
    ra, dec, flux = (np.append(old, more) for old, more in zip(star_catalog(), added, strict=True))
    x, y = sky_to_pixel(wcs, ra, dec)
    # stars beyond the edge shine into the image
    margin = 60
    near = (np.minimum(x, y) > 25 - margin) & (np.maximum(x, y) < SHAPE[0] + margin - 25)
    wide = np.zeros((SHAPE[0] + 2 * margin, SHAPE[1] + 2 * margin))
    electron = flux[near] / NJY_PER_E
    paint(wide, x[near] + margin, y[near] + margin, electron, lambda dx, dy: gaussian_psf(41, fwhm_pix, dx, dy))
    image = wide[margin:-margin, margin:-margin]
    inside = (np.minimum(x, y) > 0) & (np.maximum(x, y) < SHAPE[0] - 1)
    variance = image + SKY_E
    if noise:
        image = image + np.random.default_rng(visit).normal(size=SHAPE) * np.sqrt(variance)
    mask = np.zeros(SHAPE, np.uint16)
    for u, v in zip(x[near].astype(int), y[near].astype(int), strict=True):
        mask[max(0, v - 12) : max(0, v + 14), max(0, u - 12) : max(0, u + 14)] = DETECTED
    psf = gaussian_psf(41, fwhm_pix)
    Exposure(
        image.astype(np.float32),
        variance.astype(np.float32),
        mask,
        wcs,
        PsfModel((psf / psf.sum())[None], SHAPE, 0),
    ).write(path)
    unit = {"template_id": 1, "visit": visit, "detector": 0, "band": "r", "path": str(path), "njy_per_e": NJY_PER_E}
    unit |= {"psf_fwhm_pix": fwhm_pix, "target_fwhm_pix": TARGET, "target_beta": None, **TRACT_COLUMNS}
    return unit, x[inside], y[inside]


def warp_unit(unit):
    """Run the warp stage and store its product; return (Outputs, path)."""
    made = warp_exposure(unit | PATCH, {}, WarpConfig())
    path = f"warp-{unit['visit']}.fits"
    made.files["warp"].write(path)
    return made, path


def coadd_warps(units, warps, *, path="coadd.fits", config=None):
    """Run the coadd stage on the warps (Outputs, path) of some units and store its product; return Outputs."""
    rows = [
        {"visit": u["visit"], "detector": 0, "path": p, "midpoint_mjd_tai": 61000.0 + 0.05 * u["visit"]}
        | {"sky_variance_njy2": SKY_E * NJY_PER_E**2}
        for u, (_, p) in zip(units, warps, strict=True)
    ]
    unit = {"template_id": 1, "patch": PATCH["patch"], "target_fwhm_pix": TARGET, "target_beta": None, **TRACT_COLUMNS}
    made = coadd(unit, {"warps": pa.Table.from_pylist(rows)}, config or CoaddConfig())
    made.files["coadd"].write(path)
    return made


def star_flux(unit, x, y):
    """Return the catalog flux [nJy] of stars at pixel positions of an exposure."""
    ra, dec, flux = star_catalog()
    star_x, star_y = sky_to_pixel(read_exposure(unit["path"]).wcs, ra, dec)
    return flux[np.hypot(star_x - x[:, None], star_y - y[:, None]).argmin(axis=1)]


def difference_inputs(unit, units, warps, made, x, y, *, path="coadd.fits"):
    """Return the named inputs of the difference stage."""
    coadd_inputs = [
        {k: row[k] for k in ("patch", "input_number", "visit", "detector", "weight")}
        for row in made.rows["coadd_input"]
    ]
    own = [
        {k: row[k] for k in ("patch", "input_number", "weight", "background_njy")} | {"path": warp_path}
        for row, (_, warp_path) in zip(made.rows["coadd_input"], warps, strict=True)
        if row["visit"] == unit["visit"]
    ]
    names = {"patch": pa.int32(), "path": pa.string(), "input_number": pa.int32()}
    schema = pa.schema([*names.items(), ("weight", pa.float64()), ("background_njy", pa.float64())])
    return {
        "coadds": pa.table({"patch": [PATCH["patch"]], "path": [path]}),
        "coadd_inputs": pa.Table.from_pylist(coadd_inputs),
        "own_warps": pa.Table.from_pylist(own, schema=schema),
        "stars": pa.table({"x": x, "y": y, "psf_flux_njy": star_flux(unit, x, y)}),
        "bright_stars": pa.table({"x": x, "y": y, "flux_njy": star_flux(unit, x, y), "is_saturated": x < 0}),
    }
