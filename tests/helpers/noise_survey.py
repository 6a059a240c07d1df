"""A survey of blank sky: exposures that show nothing but noise and a sparse grid of stars to calibrate on.

What is far from all stars is noise alone, and the whole pipeline has worked on it as on any sky.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import ndimage
from scipy.special import ndtr

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.imaging import mask as bits
from dbpipe.imaging.noise import autocovariance, kernel_power
from dbpipe.imaging.psf.shapes import psf_size
from dbpipe.imaging.psf.spline import spline_coefficients
from dbpipe.imaging.sources.forced_fit import joint_flux
from dbpipe.io.difference import read_difference
from dbpipe.simulate.camera.visits import sky_to_pixel
from dbpipe.simulate.scene import Density, make_survey
from dbpipe.simulate.sky import bands
from dbpipe.simulate.sky.fixed import offset_position
from dbpipe.simulate.write import FIELD_DEC, FIELD_RA, write_exposures
from dbpipe.survey import Survey

STAR_MAG_RANGE = (18.0, 20.5)
"""Bright enough for positions, PSF and kernel, too faint to saturate or to have wings at `CLEAR_PIX`."""
STAR_SPACING_PIX = 170
CLEAR_PIX = 45
"""No pixel nearer to a star counts."""
THRESHOLDS = (4.0, 4.5, 5.0)
N_DRAW = 200_000


def simulate_noise(folder, fwhm_pix, *, seed, size_pix):
    """Write exposures in r of this seeing [pix] each, with sky, dither, rotation and parity of their own.

    Returns
    -------
    dict of visit to (x, y), where the stars are [pix]
    """
    visits, sky = make_survey(
        {"r": len(fwhm_pix)}, ra=FIELD_RA, dec=FIELD_DEC, size_pix=(size_pix, size_pix), scene=("noise_only",),
        density=Density(), seed=seed,
    )  # fmt: skip
    visits = [replace(v, psf=replace(v.psf, fwhm_pix=float(f))) for v, f in zip(visits, fwhm_pix, strict=True)]
    stars = _star_grid(sky.field, np.random.default_rng([seed, 7]))
    write_exposures(folder, visits, replace(sky, stars=stars), seed=seed)
    return {v.obsid: sky_to_pixel(v, stars.ra, stars.dec) for v in visits}


def _star_grid(field, rng):
    step = 0.2 * STAR_SPACING_PIX
    line = np.arange(-0.5 * field.side_arcsec + 0.5 * step, 0.5 * field.side_arcsec, step)
    east, north = (g.ravel() + rng.uniform(-0.2, 0.2, g.size) * step for g in np.meshgrid(line, line))
    ra, dec = offset_position(field.ra, field.dec, east, north)
    mag = rng.uniform(*STAR_MAG_RANGE, len(ra))
    table = {"star_id": np.arange(1, len(ra) + 1), "ra": ra, "dec": dec}
    table |= {f"mag_{band}": mag for band in bands.NAMES} | {"pm_ra_cosdec": 0.0, "pm_dec": 0.0}
    return pd.DataFrame(table)


def calibrate(root, folder, *, n_worker=1):
    """Make a survey of the exposures, up to their calibration."""
    with Survey.init(root) as survey:
        survey.ingest([folder / "raw"], n_worker=n_worker)
        survey.set_reference_catalog(folder / "refcat.csv")
        survey.run(to="skymap", n_worker=n_worker)


def subtract_template_of(root, visits, *, n_worker=1):
    """Decide that these visits make the template, and run to the end."""
    choice = root / "choice.sql"
    choice.write_text(f"SELECT visit, detector FROM calexp WHERE visit IN ({', '.join(map(str, visits))})")
    with Survey.open(root, read_only=False) as survey:
        survey.decide_template(survey.propose_template(sql=choice))
        survey.run(n_worker=n_worker)
        survey.delete_garbage()


@dataclass(frozen=True)
class Expected:
    """False detections of one sign to expect of each pixel, (n_threshold,) each, in Gaussian noise."""

    kaiser: np.ndarray
    """nu exp(-nu^2/2) / (2^(5/2) pi^(3/2) sigma_g^2), 2.355 sigma_g being the FWHM of `psf_size`."""
    continuous: np.ndarray
    """Maxima of a continuous score image above nu, which rows are: (2 pi)^(-3/2) sqrt(det L) nu exp(-nu^2/2), L the
    second derivative of its correlation function at 0 (Adler 1981, The Geometry of Random Fields, theorem 6.3.1)."""
    sampled: np.ndarray
    """Pixels of the score image above nu that none of their eight neighbors beats."""


def expect(psf, thresholds=THRESHOLDS):
    """Return what pure noise gives in a score image made with this PSF of the difference, (size, size)."""
    nu = np.asarray(thresholds)
    size = 2 * psf.shape[0] + 1
    power = kernel_power(psf / psf.sum(), size)
    # where the kernel is even, the filter of a white image leaves noise with the power of the PSF
    k = 2.0 * np.pi * np.fft.fftfreq(size)
    kx, ky = np.meshgrid(k, k)
    xx, xy, yy = (np.sum(power * p) / np.sum(power) for p in (kx**2, kx * ky, ky**2))
    peak = nu * np.exp(-0.5 * nu**2)
    sigma_g = psf_size(psf).fwhm_pix / FWHM_PER_SIGMA
    return Expected(
        kaiser=peak / (2.0**2.5 * np.pi**1.5 * sigma_g**2),
        continuous=peak * np.sqrt(xx * yy - xy**2) / (2.0 * np.pi) ** 1.5,
        sampled=_sampled_peaks(autocovariance(power / power.mean(), 2), nu),
    )


def _sampled_peaks(correlation, nu):
    """Rate of pixels above nu that beat their neighbors, from the correlation at lags of up to 2 pix.

    Given the value t of a pixel, its neighbors are r t + e with e Gaussian: t beats them all if it is above
    max(e / (1 - r)). The mean over e of the probability that t is above that and nu is the rate.
    """
    dy, dx = (g.ravel() for g in np.mgrid[-1:2, -1:2])
    around = (dy != 0) | (dx != 0)
    dy, dx = dy[around], dx[around]
    r = correlation[2 + dy, 2 + dx]
    joint = correlation[2 + dy[:, None] - dy[None, :], 2 + dx[:, None] - dx[None, :]]
    value, vector = np.linalg.eigh(joint - np.outer(r, r))
    draws = np.random.default_rng(1).normal(size=(N_DRAW, len(r)))
    beaten = np.max(draws @ (vector * np.sqrt(np.maximum(value, 0.0))).T / (1.0 - r), axis=1)
    return np.array([np.mean(ndtr(-np.maximum(beaten, level))) for level in nu])


def clear_sky(image, star_x, star_y):
    """Mark the pixels of a Difference that have a score and are far from stars."""
    ny, nx = image.score.shape
    x, y = np.rint(star_x).astype(int), np.rint(star_y).astype(int)
    near = (x > -CLEAR_PIX) & (x < nx + CLEAR_PIX) & (y > -CLEAR_PIX) & (y < ny + CLEAR_PIX)
    lamps = np.ones((ny + 2 * CLEAR_PIX, nx + 2 * CLEAR_PIX), bool)
    lamps[y[near] + CLEAR_PIX, x[near] + CLEAR_PIX] = False
    distance = ndimage.distance_transform_edt(lamps)[CLEAR_PIX:-CLEAR_PIX, CLEAR_PIX:-CLEAR_PIX]
    return (distance > CLEAR_PIX) & (image.score != 0) & (image.mask & (bits.UNFIT | bits.NEAR_SATURATED) == 0)


def measure_noise(path, sources, star_x, star_y, *, rng):
    """Measure what the noise of one difference image does.

    Parameters
    ----------
    path : of the file
    sources : DataFrame of its rows in dia_source: x, y, score
    star_x, star_y : (n,) arrays [pix]
    rng : numpy.random.Generator

    Returns
    -------
    dict: n_pix, score_mean, score_std, skewness, kurtosis, lag1, pull_mean, pull_std; expected numbers in both signs
    together (kaiser_4.0 ..), pixels that are maxima (peak+_4.0, peak-_4.0 ..) and rows (row+_4.0, row-_4.0 ..); row_x
    and row_y, lists of where the rows above the highest threshold are
    """
    image = read_difference(path)
    clear = clear_sky(image, star_x, star_y)
    values = image.score[clear].astype(float)
    mean, std = values.mean(), values.std()
    standard = (values - mean) / std
    found = {
        "n_pix": int(clear.sum()),
        "score_mean": mean,
        "score_std": std,
        "skewness": np.mean(standard**3),
        "kurtosis": np.mean(standard**4) - 3.0,
        "lag1": 0.5 * (lag(image.difference, clear, 0, 1) + lag(image.difference, clear, 1, 0)),
    }
    found |= _pulls(image, clear, rng)
    n_y, n_x = image.psf_field.kernels.shape[:2]
    rates = [expect(image.psf_field.kernels[j, i]) for j in (n_y // 4, 3 * n_y // 4) for i in (n_x // 4, 3 * n_x // 4)]
    x, y = (np.rint(sources[c].to_numpy()).astype(int) for c in ("x", "y"))
    inside = clear[y.clip(0, clear.shape[0] - 1), x.clip(0, clear.shape[1] - 1)]
    for sign, name in ((1.0, "+"), (-1.0, "-")):
        peaks = sign * image.score[_maxima(sign * image.score) & clear]
        rows = sign * sources.score.to_numpy()[inside]
        for nu in THRESHOLDS:
            found |= {f"peak{name}_{nu}": int(np.sum(peaks >= nu)), f"row{name}_{nu}": int(np.sum(rows >= nu))}
    high = sources[inside & (np.abs(sources.score.to_numpy()) >= THRESHOLDS[-1])]
    found |= {"row_x": high.x.tolist(), "row_y": high.y.tolist()}
    for name in ("kaiser", "continuous", "sampled"):
        rate = np.mean([getattr(r, name) for r in rates], axis=0)
        found |= {f"{name}_{nu}": 2.0 * found["n_pix"] * v for nu, v in zip(THRESHOLDS, rate, strict=True)}
    return found


def lag(image, clear, dy, dx):
    """Correlation of clear pixels with their clear neighbors at (dy, dx), about a mean of zero."""
    ny, nx = image.shape
    first, second = np.s_[: ny - dy, : nx - dx], np.s_[dy:, dx:]
    both = clear[first] & clear[second]
    a, b = image[first][both].astype(float), image[second][both].astype(float)
    return float(np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b)))


def _maxima(score):
    around = np.ones((3, 3), bool)
    around[1, 1] = False
    return score > ndimage.maximum_filter(score, footprint=around)


def _pulls(image, clear, rng, n=4000):
    """Forced fluxes at random places over their errors."""
    y, x = np.nonzero(clear)
    chosen = rng.choice(len(x), n, replace=False)
    x, y = x[chosen] + rng.uniform(-0.5, 0.5, n), y[chosen] + rng.uniform(-0.5, 0.5, n)
    stamps = np.array([image.psf_field.at(*place) for place in zip(x, y, strict=True)])
    flux, err = joint_flux(
        image.difference, image.variance, image.mask, psf_spline=spline_coefficients(stamps), x=x, y=y, radius_pix=10.0
    )
    pull = flux / err
    return {"pull_mean": float(np.mean(pull)), "pull_std": float(np.std(pull)), "n_pull": n}
