"""What the skies of two images took differently of a nebula."""

import numpy as np
import pytest
from point_sources import add_source

from dbpipe.imaging.clean.sky_structure import follow_structure, structure_image

SHAPE, SIGMA = (300, 420), 25.0


def nebula(amplitude_e, sigma_pix, x=200.0, y=140.0):
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return amplitude_e * np.exp(-0.5 * ((rows - y) ** 2 + (columns - x) ** 2) / sigma_pix**2)


def test_noise_alone_has_no_structure():
    """Of images that differ by noise alone nothing is changed, at all."""
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(0.0, SIGMA, SHAPE)
        assert not follow_structure(noise, np.ones(SHAPE, bool)).any()


@pytest.mark.parametrize("sigma_pix", [50.0, 80.0])
def test_a_smooth_surface_is_followed_to_a_part_of_the_noise(sigma_pix):
    """A difference of ten times a pixel's noise is followed to a tenth of that noise, to all of it at the edges."""
    truth = nebula(10.0 * SIGMA, sigma_pix)
    image = truth + np.random.default_rng(3).normal(0.0, SIGMA, SHAPE)
    usable = np.ones(SHAPE, bool)
    usable[:, 250:] = False
    image[~usable] = 1e6
    error = structure_image(follow_structure(image, usable), SHAPE) - truth
    assert np.std(error[30:270, 30:220]) < 0.1 * SIGMA
    assert np.abs(error[usable]).max() < SIGMA


def test_stars_that_are_left_do_not_count():
    """Residuals of stars are no structure of the sky."""
    rng = np.random.default_rng(4)
    image = rng.normal(0.0, SIGMA, SHAPE)
    for x, y in rng.uniform(20, 280, (40, 2)):
        add_source(image, x, y, 2e4, 4.0)
    assert np.abs(structure_image(follow_structure(image, np.ones(SHAPE, bool)), SHAPE)).max() < 0.3 * SIGMA


def test_an_image_without_usable_pixels_has_no_structure():
    """Where nothing is seen nothing is followed."""
    assert not follow_structure(np.full(SHAPE, 1e3), np.zeros(SHAPE, bool)).any()


def test_the_glow_of_a_star_is_none():
    """What a bright star leaves, beside its halo or as wide as a few bins, is left to those who follow its wings."""
    noise = np.random.default_rng(5).normal(0.0, SIGMA, SHAPE)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    distance = np.hypot(rows - 140.0, columns - 200.0)
    usable = np.ones(SHAPE, bool)
    assert not follow_structure(noise + nebula(2.0 * SIGMA, 25.0), usable).any()
    assert not follow_structure(noise + nebula(10.0 * SIGMA, 40.0), usable, distance < 100.0).any()
