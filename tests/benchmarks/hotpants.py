"""The same simulated pair through HOTPANTS and through dbpipe, side by side.

HOTPANTS (Becker 2015, ascl:1504.004) is not part of dbpipe.  Build it from its repository, for instance

    git clone https://github.com/acbecker/hotpants && cd hotpants
    make hotpants CFITSIOINCDIR=/usr/include LIBDIR=/usr/lib COPTS="-O3 -std=c99 -D_GNU_SOURCE -fcommon"

with cfitsio's development files (libcfitsio-dev), and from the root of this repository run

    PYTHONPATH=.:tests/helpers python tests/benchmarks/hotpants.py --hotpants ../hotpants/hotpants

Both codes see the same pixels and are searched by the same peak finder, with the same masks and the same PSF model. A
quarter of the stars is kept from both; of the others each code takes its own choice. HOTPANTS has the noise image
that it writes. The injected sources are many: what of their light is too faint to be detected shifts the sky by up to
0.2 sigma of the score (column score_sky).

Columns: direction of the convolution (t, template; i or s, science image); chi2 per pixel of held-out stars within 2
FWHM: median of all, and of the brightest quarter; blank-sky width of the score; its median there over the width; how
steeply the score over its width rises with the true S/N, relative to the best linear filter (a score that is offset
finds more, or fewer, without seeing better); correlation of adjacent pixels; false detections at 5 sigma per square
degree, both signs together, on blank sky and on all sky (sources that did not change included), and on all sky if the
threshold is 5 times the blank-sky width, as one would set it who measures it; true S/N (in the science image) at
which half of the injected sources are found at 5 sigma and at that threshold; fraction found between S/N 6 and 8; CPU
seconds. The line above a table gives the half point that the best linear filter could reach, from the PSFs and the
noise of both images.
"""

import argparse
import math
import resource
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from astropy.io import fits
from one_pair import calibrate_side, raw_image, subtract_sides
from scipy.optimize import minimize
from scipy.special import ndtr
from scipy.stats import norm

from dbpipe.constants import FWHM_PER_SIGMA, robust_sigma
from dbpipe.imaging import mask as bits
from dbpipe.imaging.convolve import KernelField, block_centers
from dbpipe.imaging.difference.score_image import blank_statistics, score_image
from dbpipe.imaging.kernel import match
from dbpipe.imaging.noise import kernel_transfer
from dbpipe.imaging.sources.peaks import find_peaks, score_response
from dbpipe.simulate.camera.exposure import simulate_exposure
from dbpipe.simulate.camera.visits import FULL_WELL_E, PIXEL_SCALE_ARCSEC, READ_NOISE_E
from dbpipe.simulate.scene import Density, make_survey
from dbpipe.simulate.sky.fixed import offset_position

SKY_E = 700.0
SPACING_PIX = 56
"""Injected sources stand on a disturbed grid of this step."""
SNR_RANGE = (2.0, 14.0)
EDGE_PIX = 40
BLOCK_PIX = 128
MATCH_PIX = 2.5
HIDDEN_RADIUS_PIX = 15


@dataclass(frozen=True)
class SimulatedPair:
    """Both images [electron], the template a mean of exposures, and the injected sources (x, y, snr)."""

    science: np.ndarray
    template: np.ndarray
    n_exposure: int
    injected: pd.DataFrame


@dataclass(frozen=True)
class Result:
    """What a code made of a pair."""

    name: str
    difference: np.ndarray
    variance: np.ndarray
    unusable: np.ndarray
    psf: KernelField
    cpu_s: float


def simulate_pair(science_arcsec, template_arcsec, *, n_exposure, size_pix, seed):
    """Expose one sky twice on one pixel grid; the science image has sources that the template lacks."""
    visits, sky = make_survey(
        {"r": 2}, ra=53.0, dec=-27.4, size_pix=(size_pix, size_pix), scene=("static",), density=Density(), seed=seed
    )
    common = {"sky_e": SKY_E, "transparency": 1.0, "airmass": 1.2, "ra": 53.0, "dec": -27.4, "rotation_deg": 0.0}
    geometry = ("flipped", "distortion_radial_pix", "distortion_quadratic_pix")
    common |= {name: getattr(visits[0], name) for name in geometry}
    science, template = (
        replace(visit, **common, psf=replace(visit.psf, fwhm_pix=arcsec / PIXEL_SCALE_ARCSEC))
        for visit, arcsec in zip(visits, (science_arcsec, template_arcsec), strict=True)
    )
    rng = np.random.default_rng([seed, 7])
    sky = replace(sky, curves=_new_sources(science, rng))
    exposed = simulate_exposure(science, sky, [], rng)
    total = np.sum([simulate_exposure(template, sky, [], rng).image for _ in range(n_exposure)], axis=0)
    new = exposed.variables
    return SimulatedPair(exposed.image, total / n_exposure, n_exposure, new[["x", "y", "snr"]])


def _new_sources(visit, rng):
    half = visit.nx / 2 - EDGE_PIX
    steps = np.arange(-half, half, SPACING_PIX)
    east, north = (g.ravel() + rng.uniform(-12, 12, g.size) for g in np.meshgrid(steps, steps))
    ra, dec = offset_position(visit.ra, visit.dec, east * PIXEL_SCALE_ARCSEC, north * PIXEL_SCALE_ARCSEC)
    snr = rng.uniform(*SNR_RANGE, ra.size)
    noise_e = math.sqrt((SKY_E + READ_NOISE_E**2) * visit.psf.central_widths().effective_area_pix)
    mag = visit.zero_point_mag - 2.5 * np.log10(snr * noise_e)
    return pd.DataFrame({"obsid": visit.obsid, "ra": ra, "dec": dec, "mag": mag, "snr": snr})


def calibrate_pair(pair):
    """Return both sides as dbpipe calibrates them, the template in electrons of one exposure."""
    n = pair.n_exposure
    settings = {"bleed": "rows", "find_cosmic_rays": False}
    science = calibrate_side(raw_image(pair.science, read_noise_e=READ_NOISE_E, saturation_e=FULL_WELL_E), **settings)
    summed = raw_image(pair.template * n, read_noise_e=READ_NOISE_E * math.sqrt(n), saturation_e=0.99 * n * FULL_WELL_E)
    template = calibrate_side(summed, **settings)
    plane = replace(template.plane, image=template.plane.image / n, variance=template.plane.variance / n**2)
    return science, replace(template, plane=plane)


def run_dbpipe(science, template, stars, convolve):
    """Subtract with dbpipe."""
    start = time.process_time()
    match.MIN_STAR_CONTROL = len(stars) + 1  # HOTPANTS fits all of them
    result, _, unusable = subtract_sides(science, template, stars=stars, convolve=convolve)
    cpu_s = time.process_time() - start
    name = f"dbpipe {convolve} ({result.convolved[0]})"
    return Result(name, result.difference, result.variance, unusable, result.whitening.psf, cpu_s)


def run_hotpants(binary, pair, science, template, held_out, direction, folder):
    """Subtract with HOTPANTS's usual settings: three Gaussians of degree 6, 4, 2, scaled by the seeing, order 2.

    HOTPANTS chooses its stars itself.  The kernel is fitted with the held-out stars masked, then applied to all pixels.
    """
    names = ("science", "template", "difference", "noise", "mask", "hidden", "kernel")
    paths = {name: folder / f"{name}.fits" for name in names}
    fits.writeto(paths["science"], pair.science.astype(np.float32), overwrite=True)
    fits.writeto(paths["template"], pair.template.astype(np.float32), overwrite=True)
    hidden = _disks(pair.science.shape, science.star_x[held_out], science.star_y[held_out], HIDDEN_RADIUS_PIX)
    fits.writeto(paths["hidden"], hidden.astype(np.int16), overwrite=True)
    wide, narrow = (f(science.plane.fwhm_pix, template.plane.fwhm_pix) for f in (max, min))
    sigma = math.sqrt(max(wide**2 - narrow**2, 1.0)) / FWHM_PER_SIGMA
    half = math.ceil(2.5 * wide)
    n, n_stamp = pair.n_exposure, max(4, pair.science.shape[0] // 100)
    values = {
        "inim": paths["science"], "tmplim": paths["template"], "outim": paths["difference"], "oni": paths["noise"],
        "omi": paths["mask"], "ig": 1.0, "ir": READ_NOISE_E, "tg": n, "tr": READ_NOISE_E * math.sqrt(n),
        "iu": 0.99 * FULL_WELL_E, "tu": 0.99 * FULL_WELL_E, "iuk": 0.8 * FULL_WELL_E, "tuk": 0.8 * FULL_WELL_E,
        "il": 0.5 * SKY_E, "tl": 0.5 * SKY_E, "r": half, "rss": half + 6, "nsx": n_stamp, "nsy": n_stamp, "nss": 3,
        "ko": 2, "bgo": 1, "n": "i", "v": 0,
        "ng": f"3 6 {0.5 * sigma:.3f} 4 {sigma:.3f} 2 {2 * sigma:.3f}",
    }  # fmt: skip
    if direction != "auto":
        values["c"] = direction
    words = [str(binary), *(word for key, value in values.items() for word in (f"-{key}", *str(value).split()))]
    subprocess.run([*words, "-imi", paths["hidden"], "-hki"], check=True, capture_output=True)
    paths["difference"].rename(paths["kernel"])
    with fits.open(paths["kernel"], mode="update") as file:  # what -ki reads and -hki forgets to write
        file[0].header["KERINFO"] = True
        file[-1].header["PHOTNORM"] = values["n"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([*words, "-ki", paths["kernel"]], check=True, capture_output=True)
    cpu_s = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    difference, header = fits.getdata(paths["difference"], header=True)
    noise, masked = (fits.getdata(paths[name]) for name in ("noise", "mask"))
    convolved = "t" if header["CONVOL00"].startswith("TEMPL") else "i"
    psf = (science if convolved == "t" else template).plane.psf
    unusable = (masked != 0) | ~(noise > 0)
    variance = np.where(unusable, 1.0, noise.astype(np.float32) ** 2).astype(np.float32)
    field = _psf_field(psf, difference.shape)
    name = f"HOTPANTS {direction} ({convolved})"
    return Result(name, np.where(unusable, 0, difference).astype(np.float32), variance, unusable, field, cpu_s)


def _psf_field(psf, shape):
    x, y = block_centers(shape, BLOCK_PIX)
    grid_x, grid_y = np.meshgrid(x, y)
    stamps = psf.at_many(grid_x.ravel(), grid_y.ravel()).astype(np.float32)
    return KernelField(stamps.reshape(len(y), len(x), *stamps.shape[1:]), BLOCK_PIX)


def judge(result, pair, science, template, held_out):
    """Return the row of the table that belongs to one result."""
    shape, fwhm = result.difference.shape, max(science.plane.fwhm_pix, template.plane.fwhm_pix)
    score = score_image(result.difference, result.variance, result.unusable, result.psf)
    valid = np.zeros(shape, bool)
    valid[EDGE_PIX:-EDGE_PIX, EDGE_PIX:-EDGE_PIX] = True
    valid &= ~(science.unusable | template.unusable | result.unusable) & (score.flux_err > 0)
    clear = valid & ~_disks(shape, pair.injected.x, pair.injected.y, 3.0 * fwhm)
    detected = ((science.plane.mask | template.plane.mask) & bits.DETECTED) != 0
    blank = clear & ~detected
    _, lag1 = blank_statistics(score.score, result.difference, blank)
    # not a clipped deviation, which would flatter a score that is too wide
    width = robust_sigma(score.score[blank])
    response = score_response(result.psf.at(shape[1] / 2, shape[0] / 2))
    peaks = find_peaks(score.score, science.plane.mask, response=response, threshold=4.0)
    chi2 = _held_out_chi2(result, valid, science.star_x[held_out], science.star_y[held_out], 2.0 * fwhm)
    return {
        "code": result.name,
        "chi2": np.median(chi2),
        "chi2_bright": np.median(chi2[: len(chi2) // 4]),
        "score_std": width,
        "score_sky": np.median(score.score[blank]) / width,
        "efficiency": _gain(score.score / width, pair.injected, valid) * ideal_half_point(science, template) / 5.0,
        "lag1": lag1,
        "false_blank": _false_per_deg2(peaks, blank, 5.0),
        "false_all": _false_per_deg2(peaks, clear, 5.0),
        "false_all_std": _false_per_deg2(peaks, clear, 5.0 * width),
        "snr50": half_point(pair.injected, peaks, valid, 5.0),
        "snr50_std": half_point(pair.injected, peaks, valid, 5.0 * width),
        "found_6_8": found_fraction(pair.injected, peaks, valid, (6.0, 8.0)),
        "cpu_s": result.cpu_s,
    }


def _gain(score, injected, valid):
    """Return by how much the score at an injected source rises with its true S/N."""
    x, y = (np.rint(injected[name]).astype(int) for name in ("x", "y"))
    inside = valid[y, x]
    return np.polyfit(injected.snr[inside], score[y[inside], x[inside]], 1)[0]


def _false_per_deg2(peaks, where, threshold):
    high = np.abs(peaks.score) >= threshold
    return np.sum(where[peaks.y[high], peaks.x[high]]) / (where.sum() * (PIXEL_SCALE_ARCSEC / 3600.0) ** 2)


def _disks(shape, x, y, radius_pix):
    inside = np.zeros(shape, bool)
    r = math.ceil(radius_pix)
    v, u = np.mgrid[-r : r + 1, -r : r + 1]
    disk = u**2 + v**2 <= radius_pix**2
    for column, row in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
        y0, x0 = max(row - r, 0), max(column - r, 0)
        part = inside[y0 : max(row + r + 1, 0), x0 : max(column + r + 1, 0)]
        part |= disk[y0 - row + r :, x0 - column + r :][: part.shape[0], : part.shape[1]]
    return inside


def _held_out_chi2(result, valid, x, y, radius_pix):
    """Mean of difference^2 / variance within a radius of each star that is wholly usable."""
    r = math.ceil(radius_pix)
    v, u = np.mgrid[-r : r + 1, -r : r + 1]
    disk = u**2 + v**2 <= radius_pix**2
    chi2 = []
    for column, row in zip(np.rint(x).astype(int), np.rint(y).astype(int), strict=True):
        box = np.s_[row - r : row + r + 1, column - r : column + r + 1]
        if row >= r and column >= r and valid[box].shape == disk.shape and valid[box][disk].all():
            chi2.append(np.mean((result.difference[box] ** 2 / result.variance[box])[disk]))
    return np.array(chi2)


def _found(injected, peaks, valid, threshold):
    """Return S/N of the injected sources on valid pixels and whether a positive peak above the threshold is there."""
    x, y = injected.x.to_numpy(), injected.y.to_numpy()
    inside = valid[np.rint(y).astype(int), np.rint(x).astype(int)]
    good = peaks.score >= threshold
    distance = np.hypot(x[inside, None] - peaks.x[None, good], y[inside, None] - peaks.y[None, good])
    return injected.snr.to_numpy()[inside], (distance < MATCH_PIX).any(axis=1)


def found_fraction(injected, peaks, valid, snr_range):
    """Return the fraction found at 5 sigma of the sources with an S/N in a range."""
    snr, found = _found(injected, peaks, valid, 5.0)
    return found[(snr >= snr_range[0]) & (snr < snr_range[1])].mean()


def half_point(injected, peaks, valid, threshold):
    """Return the true S/N at which half are found: maximum likelihood of a normal ogive."""
    snr, found = _found(injected, peaks, valid, threshold)

    def cost(parameters):
        p = np.clip(ndtr((snr - parameters[0]) / abs(parameters[1])), 1e-4, 1 - 1e-4)
        return -np.sum(np.where(found, np.log(p), np.log(1 - p)))

    return minimize(cost, (threshold, 1.0), method="Nelder-Mead").x[0]


def expected_false(fwhm_pix):
    """Kaiser's number of peaks beyond 5 sigma per square degree, both signs, of a Gaussian PSF in white noise."""
    sigma = fwhm_pix / FWHM_PER_SIGMA
    per_pix = 5.0 * math.sqrt(2 * math.pi) * norm.pdf(5.0) / (2**2.5 * math.pi**1.5 * sigma**2)
    return 2.0 * per_pix * (3600.0 / PIXEL_SCALE_ARCSEC) ** 2


def ideal_half_point(science, template):
    """Return the true S/N in the science image of a source that has 5 sigma in the best possible difference.

    For known PSFs and white noise its (S/N)^2 is the sum over frequencies of F^2 P_S^2 / (s_S^2 + s_T^2 P_S^2 / P_T^2)
    (Zackay, Ofek & Gal-Yam 2016 ApJ 830 27, eq. 12); without the template's term it is that of the science image.
    """
    ny, nx = science.plane.image.shape
    p_s, p_t = (np.abs(kernel_transfer(side.plane.psf.at(nx / 2, ny / 2), 96)) ** 2 for side in (science, template))
    v_s, v_t = (float(np.median(side.plane.variance)) for side in (science, template))
    return 5.0 * math.sqrt(np.sum(p_s / v_s) / np.sum(p_s / (v_s + v_t * p_s / np.maximum(p_t, 1e-12))))


def compare(binary, science_arcsec, template_arcsec, *, n_exposure, size_pix, seed):
    """Return the table of one seeing order."""
    pair = simulate_pair(science_arcsec, template_arcsec, n_exposure=n_exposure, size_pix=size_pix, seed=seed)
    science, template = calibrate_pair(pair)
    number = np.arange(len(science.star_x))
    stars, held_out = number[number % 4 != 1], number[number % 4 == 1]
    results = [run_dbpipe(science, template, stars, side) for side in ("auto", "template", "science")]
    with tempfile.TemporaryDirectory() as name:
        for direction in ("auto", "t", "i"):
            results.append(run_hotpants(binary, pair, science, template, held_out, direction, Path(name)))
    print(
        f"science {science.plane.fwhm_pix:.2f} pix, template {template.plane.fwhm_pix:.2f} pix, mean of {n_exposure}, "
        f"{len(stars)} stars fitted, {len(held_out)} held out, {len(pair.injected)} sources; Kaiser's expectation "
        f"{expected_false(science.plane.fwhm_pix):.0f} false per square degree, both signs; best half point "
        f"{ideal_half_point(science, template):.2f}"
    )
    return pd.DataFrame([judge(result, pair, science, template, held_out) for result in results])


def main():
    """Compare both codes in both seeing orders and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hotpants", required=True, type=Path, help="path of the binary that you built")
    parser.add_argument("--size-pix", type=int, default=2048)
    parser.add_argument("--template-exposures", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeing", nargs=2, type=float, action="append", metavar=("SCIENCE", "TEMPLATE"))
    options = parser.parse_args()
    for science_arcsec, template_arcsec in options.seeing or [(1.1, 0.7), (0.7, 1.1)]:
        table = compare(
            options.hotpants, science_arcsec, template_arcsec,
            n_exposure=options.template_exposures, size_pix=options.size_pix, seed=options.seed,
        )  # fmt: skip
        print(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"), flush=True)


if __name__ == "__main__":
    main()
