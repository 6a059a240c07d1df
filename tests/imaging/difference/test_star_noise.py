"""What bright stars leave, each in its own way, is noise of a known size."""

import numpy as np
import pytest

from dbpipe.imaging.difference.star_noise import (
    NOISE_EDGES_FWHM,
    measure_star_noise,
    own_star_noise,
    shaped_stars,
    star_noise,
)
from dbpipe.imaging.psf.model import UniformPsf
from dbpipe.imaging.psf.rings import Profile, Stars

SIZE, FWHM = 700, 4.0


def gaussian(sigma_x, sigma_y):
    """A PSF image with these widths along the axes [pix]."""
    u = np.arange(-15, 16)
    stamp = np.outer(np.exp(-0.5 * (u / sigma_y) ** 2), np.exp(-0.5 * (u / sigma_x) ** 2))
    return UniformPsf(stamp / stamp.sum())


ROUND = gaussian(FWHM / 2.355, FWHM / 2.355)


@pytest.mark.parametrize("part", [0.0, 0.003])
def test_the_part_of_the_flux_that_is_wrong_is_measured(part):
    """Stars whose residual is a random part of their flux give that part, to 40%; noise alone gives next to none."""
    rng = np.random.default_rng(3)
    shape, n = (SIZE, SIZE), 60
    stars = Stars(*rng.uniform(40, SIZE - 40, (2, n)), np.full(n, 1e6))
    flux_err = np.full(shape, 300.0, np.float32)
    score = rng.normal(0.0, 1.0, shape)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for x, y in zip(stars.x, stars.y, strict=True):
        core = np.hypot(columns - x, rows - y) < 0.5 * FWHM
        score[core] += rng.normal() * part * 1e6 / 300.0
    profile = measure_star_noise(score, flux_err, shaped_stars(stars, ROUND), fwhm_pix=FWHM)
    assert profile.value[0] == pytest.approx(part, rel=0.4, abs=2e-4)
    assert profile.value[4:].max() < 2e-4


def test_star_noise_follows_the_flux():
    """A star of twice the flux adds twice the noise, and beside two stars the larger counts."""
    profile = Profile(np.array(NOISE_EDGES_FWHM[:3]) * FWHM, np.array([0.01, 0.002]))
    stars = Stars(np.array([50.0, 150.0, 50.0]), np.array([50.0, 50.0, 50.0]), np.array([1e5, 2e5, 1e4]))
    noise = star_noise((100, 200), profile, shaped_stars(stars, ROUND), faintest=1.0)
    assert noise[50, 50] == pytest.approx(1000.0) and noise[50, 150] == pytest.approx(2000.0)
    assert noise[10, 100] == 0.0


def test_a_star_worse_than_others_has_its_own_noise():
    """What a star shows more than all others beyond its core counts for it; its core takes the common part."""
    common = Profile(np.array(NOISE_EDGES_FWHM) * FWHM, np.full(len(NOISE_EDGES_FWHM) - 1, 1e-4))
    score = np.random.default_rng(2).normal(0.0, 5.0, (SIZE, SIZE))
    star = Stars(np.array([300.0]), np.array([300.0]), np.array([1e7]))
    own = own_star_noise(score, np.full(score.shape, 1000.0), shaped_stars(star, ROUND), common)
    assert own.value[0] == 1e-4
    assert own.value[-1] == pytest.approx(np.sqrt(24.0) * 1000.0 / 1e7, rel=0.05)


def test_variable_stars_are_no_noise():
    """One star in eight that changes by ten times what constant stars leave does not change the measured part much."""
    rng = np.random.default_rng(5)
    stars = Stars(*rng.uniform(40, SIZE - 40, (2, 64)), np.full(64, 1e6))
    score = rng.normal(0.0, 1.0, (SIZE, SIZE))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for k in range(64):
        core = np.hypot(columns - stars.x[k], rows - stars.y[k]) < 1.5 * FWHM
        score[core] += rng.normal() * (0.003 if k % 8 else 0.03) * 1e6 / 300.0
    profile = measure_star_noise(score, np.full(score.shape, 300.0), shaped_stars(stars, ROUND), fwhm_pix=FWHM)
    assert profile.value[0] == pytest.approx(0.003, rel=0.4)


def test_the_noise_has_the_shape_of_the_psf():
    """Beside a star with a PSF three times longer than wide, the noise of one contour is three times further out."""
    profile = Profile(np.array([0.0, 4.0, 8.0, 12.0]), np.array([0.01, 0.01, 0.001]))
    star = Stars(np.array([100.0]), np.array([100.0]), np.array([1e5]))
    noise = star_noise((201, 201), profile, shaped_stars(star, gaussian(1.2, 3.6)), faintest=1.0)
    assert noise[100 + 9, 100] == pytest.approx(noise[100, 100 + 3], rel=1e-3)
    assert noise[100 + 12, 100] > 3 * noise[100, 100 + 6 + 1]


def test_a_round_psf_of_typical_size_counts_pixels():
    """With the same round PSF everywhere, distances are those in pixels."""
    stars = Stars(np.array([50.0, 20.0]), np.array([40.0, 30.0]), np.array([1.0, 1.0]))
    window, distance = shaped_stars(stars, ROUND).distances(0, (100, 100), 10.0)
    rows, columns = np.ogrid[window]
    assert np.allclose(distance, np.hypot(columns - 50.0, rows - 40.0), rtol=1e-4)
    assert distance.max() >= 10.0
