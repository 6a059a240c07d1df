"""From pixels to PSF and fluxes, on simulated fields."""

import numpy as np
import pytest
import sep
from scipy.spatial import KDTree
from starfield import moffat_stamp, star_field

from dbpipe.errors import DataError
from dbpipe.imaging.clean.background import fit_background
from dbpipe.imaging.clean.variance import model_variance
from dbpipe.imaging.measure.characterize import characterize, find_star_candidates, is_clean, touches
from dbpipe.imaging.measure.detection import detect_sources
from dbpipe.imaging.psf.centroids import measure_windowed
from dbpipe.imaging.psf.model import measure_psf
from dbpipe.imaging.psf.stars import find_stellar_locus, is_star_like, tilt_locus


def _characterize(image, size=41):
    unusable = np.zeros(image.shape, bool)
    sky = fit_background(image, unusable)
    flat = image - sky.level
    variance = model_variance(flat, sky.level, 5.0)
    detections = detect_sources(flat, variance, unusable)
    candidates = find_star_candidates(flat, variance, unusable, detections=detections, noise_e=sky.noise_e)
    return characterize(flat, variance, unusable, candidates=candidates, size=size, degree_max=2), candidates


@pytest.mark.parametrize(("n_star", "fwhm_pix", "tolerance"), [(80, 4.0, 0.006), (200, 5.0, 0.015), (12, 3.0, 0.012)])
def test_width_and_flux_are_right_in_normal_crowded_and_sparse_fields(n_star, fwhm_pix, tolerance):
    """Width within a percent or so, fluxes unbiased to 0.6% (crowded 2%), positions as good as their errors."""
    image, truth = star_field(seed=n_star, n_star=n_star, fwhm_pix=fwhm_pix, flux_range=(5e3, 3e5), sky_e=400.0)
    result, candidates = _characterize(image)
    stamp = moffat_stamp(fwhm_pix, size=41)
    measured = measure_psf(result.psf.at(255.5, 255.5))
    assert measured.fwhm_pix == pytest.approx(measure_psf(stamp).fwhm_pix, rel=tolerance)
    distance, source = KDTree(np.column_stack([result.shapes.x, result.shapes.y])).query(
        np.column_stack([truth["x"], truth["y"]])
    )
    good = (distance < 0.5) & candidates.is_clean[source] & (candidates.share[source] < 0.1)
    ratio = (result.psf_flux[source] / truth["flux"])[good] / stamp.sum()
    error = (result.psf_flux_err[source] / truth["flux"])[good]
    bias = np.average(ratio, weights=1.0 / (error**2 + 0.003**2)) - 1.0
    assert abs(bias) < (0.02 if n_star == 200 else 0.006)
    pull = ((result.shapes.x[source] - truth["x"]) / result.shapes.x_err[source])[good]
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1.0, abs=0.5)


def test_windowed_centroid_is_that_of_sep():
    """The centroids agree with sep.winpos to a thousandth of a pixel."""
    image, truth = star_field(seed=21, n_star=15, flux_range=(3e4, 3e5))
    flat = image - 500.0
    ours = measure_windowed(
        flat, np.full(image.shape, 500.0, np.float32), np.zeros(image.shape, bool),
        x=truth["x"], y=truth["y"], window_sigma_pix=1.7,
    )  # fmt: skip
    x, y, _ = sep.winpos(flat, truth["x"], truth["y"], 1.7, subpix=0)
    both = np.isfinite(ours.x_err)
    assert both.sum() > 10
    np.testing.assert_allclose(ours.x[both], x[both], atol=2e-3)
    np.testing.assert_allclose(ours.y[both], y[both], atol=2e-3)


def test_locus_is_the_stars_not_the_galaxies():
    """The common size is found among twice as many galaxies, and no locus is invented from two sources."""
    rng = np.random.default_rng(5)
    sigma = np.concatenate([rng.normal(1.8, 0.02, 40), rng.uniform(1.9, 5.0, 80)])
    locus = find_stellar_locus(sigma, rng.uniform(30, 500, 120), np.ones(120, bool))
    assert locus.sigma_pix == pytest.approx(1.8, rel=0.02)
    with pytest.raises(DataError, match="too few stars"):
        find_stellar_locus(sigma[:2], np.ones(2), np.ones(2, bool))


def grown_field(growth, seed=7):
    """Return size, x, y and which are stars: 150 stars whose size grows by a factor over x, among 100 galaxies."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1800, (2, 250))
    is_star = np.arange(250) < 150
    sigma = 1.4 * growth ** (x / 1800) * np.where(is_star, rng.normal(1.0, 0.02, 250), rng.uniform(1.3, 3.0, 250))
    return sigma, x, y, is_star


@pytest.mark.parametrize("growth", [1.8, 1.05])
def test_stars_are_found_although_their_size_changes_over_the_image(growth):
    """Where stars at one side are 1.8 times as large as at the other, 95% are found, with few galaxies."""
    sigma, x, y, is_star = grown_field(growth)
    bright = np.full(250, 100.0)
    everything = np.ones(250, bool)
    locus = tilt_locus(find_stellar_locus(sigma, bright, everything), sigma, x, y, everything)
    chosen = is_star_like(sigma, bright, locus, x=x, y=y)
    assert chosen[is_star].mean() > 0.95 and chosen[~is_star].mean() < 0.05


def test_a_nearly_constant_size_stays_constant():
    """A change of the size that one locus holds leaves the locus as it is."""
    sigma, x, y, _ = grown_field(1.05)
    locus = find_stellar_locus(sigma, np.full(250, 100.0), np.ones(250, bool))
    assert tilt_locus(locus, sigma, x, y, np.ones(250, bool)) is locus


def test_blank_frame_has_no_stars():
    """Noise alone is refused with the number of sources."""
    image = np.random.default_rng(6).normal(100.0, 5.0, (200, 200)).astype(np.float32)
    with pytest.raises(DataError, match="too few"):
        _characterize(image)


def test_touching_and_inside_are_measured_in_pixels():
    """A flagged pixel 3 pix away is touched by a circle of 3, not of 2; a circle over the edge is not clean."""
    flag = np.zeros((20, 20), bool)
    flag[10, 13] = True
    x, y = np.array([10.0, 2.0]), np.array([10.0, 10.0])
    assert touches(flag, x, y, radius_pix=3.0).tolist() == [True, False]
    assert touches(flag, x, y, radius_pix=2.0).tolist() == [False, False]
    assert is_clean(flag, x, y, radius_pix=3.0).tolist() == [False, False]
