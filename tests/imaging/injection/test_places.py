"""Candidate places are what their kind says."""

import numpy as np
import pytest

from dbpipe.imaging.injection.places import find_candidates
from dbpipe.imaging.mask import DETECTED, SATURATED

SHAPE, FWHM = (400, 500), 4.0
SOURCES = {
    "x": np.array([100.0, 200.0, 300.0, 400.0]),
    "y": np.array([100.0, 300.0, 150.0, 350.0]),
    "kind": np.array(["star", "star", "galaxy", "star"], object),
    "size_pix": np.array([1.7, 1.7, 5.0, 1.7]),
    "is_clean": np.array([True, True, True, False]),
    "is_bright_star": np.array([False, True, False, True]),
}


def candidates(mask=None, kernel=((), ()), fraction=1.0):
    return find_candidates(
        np.zeros(SHAPE, np.uint16) if mask is None else mask,
        sources=SOURCES,
        kernel_stars={"x": np.array(kernel[0], float), "y": np.array(kernel[1], float)},
        fwhm_pix=FWHM,
        kernel_star_fraction=fraction,
        n_blank=2000,
        rng=np.random.default_rng(1),
    )


@pytest.fixture
def free():
    """Places in an image without a mask."""
    return candidates()


def test_stars_are_hit_in_their_center(free):
    """Clean stars are places for variables, at their own positions."""
    assert sorted(map(tuple, free["star"].tolist())) == [(100.0, 100.0), (200.0, 300.0)]


def test_bright_stars_are_surrounded(free):
    """Places near bright stars, saturated ones too, are between one and six FWHM from one of them."""
    distance = np.hypot(*(free["bright_star"][:, None] - [[200.0, 300.0], [400.0, 350.0]]).T).min(axis=0)
    assert len(distance) == 8 and distance.min() >= FWHM and distance.max() <= 6 * FWHM


def test_galaxies_are_hit_within_their_size(free):
    """Places on a galaxy scatter about it by its size."""
    distance = np.hypot(*(free["galaxy"] - [300.0, 150.0]).T)
    assert len(distance) == 4 and 0.1 < distance.mean() < 20.0


def test_blank_sky_is_blank():
    """Blank places are on no footprint, away from bright stars and from the edge."""
    mask = np.zeros(SHAPE, np.uint16)
    mask[:, 300:] = DETECTED
    blank = candidates(mask)["blank"]
    assert len(blank) > 800 and blank[:, 0].max() < 300
    assert np.hypot(*(blank - [200.0, 300.0]).T).min() > 6 * FWHM
    assert blank.min() >= 3 * FWHM


def test_unusable_pixels_are_no_place():
    """Nothing is put where there is no pixel to find it on."""
    assert [len(places) for places in candidates(np.full(SHAPE, SATURATED, np.uint16)).values()] == [0, 0, 0, 0]


def test_stars_of_the_kernel_are_spared():
    """Of the stars that make the matching kernel, no more than the fraction may be touched."""
    kernel = ((100.0, 200.0, 50.0), (100.0, 300.0, 50.0))
    assert len(candidates(kernel=kernel, fraction=1 / 3)["star"]) <= 1
    assert len(candidates(kernel=kernel, fraction=0.0)["star"]) == 0
    assert len(candidates(kernel=kernel)["star"]) == 2
