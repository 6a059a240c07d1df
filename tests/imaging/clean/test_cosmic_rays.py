"""Cosmic rays."""

import numpy as np
from starfield import star_field

from dbpipe.imaging.clean.cosmic_rays import find_cosmic_rays

SKY_E, READ_NOISE_E = 300.0, 5.0


def test_cosmic_rays_are_found_and_stars_are_not():
    """Of injected hits nine in ten are found, and no pixel of a star with FWHM 3 is taken for one."""
    image, truth = star_field(seed=8, n_star=50, fwhm_pix=3.0, sky_e=SKY_E, flux_range=(2e3, 3e5))
    rng = np.random.default_rng(9)
    unusable = np.zeros(image.shape, bool)
    settings = {"sky_e": SKY_E, "read_noise_e": READ_NOISE_E}
    clean = find_cosmic_rays(image - SKY_E, unusable, **settings)
    at_star = np.zeros(image.shape, bool)
    for x, y in zip(truth["x"], truth["y"], strict=True):
        at_star[max(0, round(y) - 4) : round(y) + 5, max(0, round(x) - 4) : round(x) + 5] = True
    assert not (clean & at_star).any()
    rows, columns = rng.integers(20, 490, 40), rng.integers(20, 490, 40)
    hit = np.zeros(image.shape, bool)
    for row, column in zip(rows, columns, strict=True):
        hit[row, column : column + 4] = True
    hit &= ~at_star
    spoiled = image + 1500.0 * hit
    found = find_cosmic_rays(spoiled - SKY_E, unusable, **settings)
    assert found[hit].mean() > 0.9
    assert (found & ~hit).sum() < 0.5 * hit.sum()


def test_the_sky_under_the_image_may_vary():
    """A sky image gives what its constant gives, and a hit in the dark corner of a vignetted image is found."""
    rng = np.random.default_rng(6)
    sky = np.linspace(100.0, 900.0, 300, dtype=np.float32) * np.ones((300, 1), np.float32)
    image = rng.poisson(sky).astype(np.float32) - sky
    image[100, 5:8] += 300.0
    hit = find_cosmic_rays(image, np.zeros(image.shape, bool), sky_e=sky, read_noise_e=READ_NOISE_E)
    assert hit[100, 5:8].all()
    assert hit.sum() < 10
