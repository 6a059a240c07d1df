"""Dead pixels, bleeds and halos."""

import numpy as np
import pytest

from dbpipe.imaging.clean.defects import find_bleeds, find_dead_pixels, find_halos, grow_saturated


def test_dead_lines_are_found_along_rows_and_columns():
    """Lines of low pixels are found whole, also where they are only a little low, and sky is left alone."""
    rng = np.random.default_rng(1)
    image = rng.normal(500.0, 20.0, (200, 200)).astype(np.float32)
    image[40, 10:150] = 0.0
    image[20:180, 77] -= 110.0
    dead = find_dead_pixels(image, np.full(image.shape, 500.0), 20.0)
    assert dead[40, 10:150].all()
    assert dead[20:180, 77].mean() > 0.8
    assert dead.sum() < 140 + 165


def test_saturation_grows_along_the_bleed():
    """Bleeding along rows grows the mask further along rows than along columns."""
    saturated = np.zeros((50, 50), bool)
    saturated[25, 25] = True
    grown = grow_saturated(saturated, "rows", grow_pix=2, bleed_pix=6)
    assert grown[25].sum() == 13 and grown[:, 25].sum() == 5
    assert grow_saturated(saturated, "columns", grow_pix=2, bleed_pix=6)[:, 25].sum() == 13


def test_halo_grows_with_the_saturated_area():
    """A more saturated star has a wider halo, and its own pixels belong to it."""
    mask = np.zeros((200, 200), bool)
    mask[50, 50] = True
    mask[140:152, 140:152] = True
    near = find_halos(mask, 4.0)
    small, large = near[:100, :100].sum(), near[100:, 100:].sum()
    assert near[mask].all() and large > 3 * small > 0


@pytest.mark.parametrize("axis", [0, 1])
def test_bleeds_are_told_from_the_star(axis):
    """Charge along a row or column is bleed to its ends, however uneven they are; the round star is not."""
    y, x = np.mgrid[:100, :100]
    star = np.hypot(x - 50, y - 50) <= 8
    trail = (np.abs(y - 50) <= 2) & (x > 10) & (x < 70)
    bleed = find_bleeds((star | trail) if axis else (star | trail).T)
    bleed = bleed if axis else bleed.T
    assert not bleed[star].any()
    assert bleed[50, 11:33].all() and bleed[50, 68:70].all()


def test_a_star_without_bleed_has_none():
    """A round saturated area, and a single pixel, are stars."""
    y, x = np.mgrid[:60, :60]
    assert not find_bleeds((np.hypot(x - 30, y - 30) <= 7) | ((x == 5) & (y == 5))).any()


def test_what_is_dark_all_around_is_no_dead_pixel():
    """Where the sky level is too high, as beside a nebula, pixels are not dead; a line in it and a block are."""
    rng = np.random.default_rng(2)
    sky = np.full((200, 200), 600.0, np.float32)
    image = rng.normal(600.0, 25.0, sky.shape).astype(np.float32)
    sky[40:120, 40:160] += 250.0
    image[80, 50:150] = 0.0
    image[150:190, 20:80] = 0.0
    dead = find_dead_pixels(image, sky, 25.0)
    assert dead[80, 50:150].all() and dead[150:190, 20:80].all()
    dead[80, 50:150], dead[150:190, 20:80] = False, False
    assert dead.mean() < 1e-4


def test_the_edge_of_a_shadow_is_dead():
    """What a stop darkens between its shadow and the open sky is dead, beside a level that is too high elsewhere."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:256, :256]
    light = np.clip((np.hypot(x - 256, y - 256) - 60.0) / 60.0, 0.0, 1.0)
    image = rng.normal(600.0 * light, 10.0).astype(np.float32)
    sky = np.full(image.shape, 600.0, np.float32)
    sky[40:120, 40:160] += 250.0
    dead = find_dead_pixels(image, sky, 10.0)
    assert dead[light < 0.8].all()
    assert dead[light == 1.0].mean() < 1e-4
