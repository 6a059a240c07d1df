"""A science image and a template of one sky on their own pixel grids, as two files or arrays from anywhere."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from starfield import moffat_stamp

SIZE = 400
GAIN = 2.0


@dataclass(frozen=True)
class TwoImages:
    """Two images in ADU, and the truth of what only the science image has."""

    science: np.ndarray
    template: np.ndarray
    science_wcs: WCS
    template_wcs: WCS
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray


def field_wcs(*, turn_deg=0.0, center=((SIZE - 1) / 2, (SIZE - 1) / 2), scale_arcsec=0.5, mirrored=False):
    """Return a WCS whose direction (10, -20) deg lies at ``center``."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [10.0, -20.0]
    wcs.wcs.crpix = [center[0] + 1, center[1] + 1]
    turn = np.radians(turn_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag(
        [1.0 if mirrored else -1.0, 1.0]
    )
    wcs.wcs.cd = matrix * scale_arcsec / 3600.0
    wcs.wcs.set()
    wcs.array_shape = (SIZE, SIZE)
    return wcs


def make_two(
    *,
    seed=1,
    science_fwhm_pix=3.6,
    template_fwhm_pix=3.0,
    template_wcs=None,
    n_star=110,
    n_new=12,
    new_flux_e=(5e3, 5e4),
    template_sky_e=4000.0,
    template_flux=0.7,
):
    """Simulate a pair of frames of gain `GAIN`; ``template_flux`` is the template's flux per science flux."""
    rng = np.random.default_rng(seed)
    wcs = field_wcs()
    template_wcs = wcs if template_wcs is None else template_wcs
    # stars beyond the edges too: a template on another grid sees them
    x, y = rng.uniform(-SIZE / 2, 1.5 * SIZE, (2, 4 * n_star))
    flux = 10 ** rng.uniform(3.6, 5.3, 4 * n_star)
    new_x, new_y = rng.uniform(40, SIZE - 40, (2, n_new))
    new_flux = np.exp(rng.uniform(*np.log(new_flux_e), n_new))
    science = paint(np.append(x, new_x), np.append(y, new_y), np.append(flux, new_flux), science_fwhm_pix)
    there = template_wcs.all_world2pix(*wcs.all_pix2world(x, y, 0), 0)
    area = abs(np.linalg.det(wcs.pixel_scale_matrix) / np.linalg.det(template_wcs.pixel_scale_matrix))
    template = paint(*there, flux * template_flux, template_fwhm_pix * np.sqrt(area))
    return TwoImages(
        (rng.poisson(science + 1500.0) + rng.normal(0.0, 6.0, science.shape)).astype(np.float32) / GAIN,
        (rng.poisson(template + template_sky_e) + rng.normal(0.0, 6.0, template.shape)).astype(np.float32) / GAIN,
        wcs,
        template_wcs,
        new_x,
        new_y,
        new_flux / GAIN,
    )


def paint(x, y, flux, fwhm_pix, *, margin=60, half=30):
    """Return an image (SIZE, SIZE) of stars [electron]."""
    padded = np.zeros((SIZE + 2 * margin, SIZE + 2 * margin))
    for xs, ys, fs in zip(x, y, flux, strict=True):
        column, row = int(np.floor(xs + 0.5)), int(np.floor(ys + 0.5))
        if min(column, row) < half - margin or max(column, row) >= SIZE + margin - half:
            continue
        stamp = moffat_stamp(fwhm_pix, dx=xs - column, dy=ys - row, size=2 * half + 1)
        box = np.s_[row + margin - half : row + margin + half + 1, column + margin - half : column + margin + half + 1]
        padded[box] += fs * stamp
    return padded[margin:-margin, margin:-margin]
