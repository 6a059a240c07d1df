"""Satellites' streaks are found whole, and nothing else is taken for one."""

import numpy as np
import pytest
from scipy import ndimage

from dbpipe.imaging.clean.streaks import find_streaks, streak_mask

SIZE, FWHM, NOISE = 512, 4.5, 20.0


def field(seed=1, n_star=150):
    """A sky with stars up to a hundred times the noise, and its noise."""
    rng = np.random.default_rng(seed)
    image = np.zeros((SIZE, SIZE))
    image[rng.integers(0, SIZE, n_star), rng.integers(0, SIZE, n_star)] = 10.0 ** rng.uniform(3.0, 5.5, n_star)
    return ndimage.gaussian_filter(image, FWHM / 2.355) + rng.normal(0.0, NOISE, image.shape)


def draw(x0, y0, x1, y1, *, peak, width=FWHM):
    """A line of light between two points, Gaussian across."""
    y, x = np.mgrid[:SIZE, :SIZE]
    length = np.hypot(x1 - x0, y1 - y0)
    along = ((x - x0) * (x1 - x0) + (y - y0) * (y1 - y0)) / length
    across = ((y - y0) * (x1 - x0) - (x - x0) * (y1 - y0)) / length
    beyond = np.maximum(np.maximum(-along, along - length), 0.0)
    return peak * np.exp(-0.5 * (across**2 + beyond**2) * (2.355 / width) ** 2)


def find(image, unusable=None):
    variance = np.full(image.shape, NOISE**2)
    return find_streaks(image, variance, np.zeros(image.shape, bool) if unusable is None else unusable, fwhm_pix=FWHM)


ANGLES = {"shallow": (0, 100, 511, 150), "steep": (200, 0, 260, 511), "falling": (0, 430, 511, 60),
          "leaning back": (400, 0, 300, 511), "across a corner": (0, 260, 300, 0)}  # fmt: skip


@pytest.mark.parametrize("ends", ANGLES.values(), ids=ANGLES)
@pytest.mark.parametrize("peak", [2.0 * NOISE, 60.0 * NOISE], ids=["faint", "bright"])
def test_a_streak_is_found_at_any_angle(ends, peak):
    """One streak, its line right to a pixel from edge to edge, its light to 10%, and its width to 20%."""
    (streak,) = find(field() + draw(*ends, peak=peak))
    x, y = np.array([streak.x0, streak.x1]), np.array([streak.y0, streak.y1])
    length = np.hypot(ends[2] - ends[0], ends[3] - ends[1])
    across = ((y - ends[1]) * (ends[2] - ends[0]) - (x - ends[0]) * (ends[3] - ends[1])) / length
    assert np.abs(across).max() < 1.0
    assert streak.length_pix == pytest.approx(length, rel=0.03)
    assert streak.brightness == pytest.approx(peak * FWHM / 2.355 * np.sqrt(2.0 * np.pi), rel=0.1)
    assert streak.fwhm_pix == pytest.approx(FWHM, rel=0.2)


def test_the_mask_holds_all_that_can_be_seen_of_it():
    """What is outside the mask of a bright streak is fainter than a fifth of the noise, and the mask is narrow."""
    light = draw(0, 430, 511, 60, peak=50.0 * NOISE)
    mask = streak_mask(light.shape, find(field() + light))
    assert light[~mask].max() < 0.2 * NOISE
    assert mask.mean() < 0.05


def test_two_streaks_are_two():
    """Crossing streaks are both found, each once."""
    light = draw(0, 430, 511, 60, peak=100.0) + draw(0, 100, 511, 150, peak=200.0)
    assert len(find(field() + light)) == 2


LOOKALIKES = {
    "nothing": np.zeros((SIZE, SIZE)),
    "an asteroid's trail": draw(200, 200, 250, 215, peak=500.0),
    "a hot column": 100.0 * (np.arange(SIZE) == 200) * np.ones((SIZE, 1)),
    "a step at an amplifier": 15.0 * (np.arange(SIZE) > 256) * np.ones((SIZE, 1)),
    "a broad ridge of gas": draw(0, 300, 511, 200, peak=60.0, width=40.0),
}


def spikes():
    """Light of a bright star and its diffraction spikes, which fade with the square of the distance."""
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2.0
    radius = np.maximum(np.hypot(x, y), 4.0)
    across = np.minimum(np.abs(x + y), np.abs(x - y)) / np.sqrt(2.0)
    return 3e5 / radius**2 * np.exp(-0.5 * (across * 2.355 / FWHM) ** 2) + 1e6 / radius**3


@pytest.mark.parametrize("light", [*LOOKALIKES.values(), spikes()], ids=[*LOOKALIKES, "spikes of a star"])
def test_no_streak_is_seen_where_none_is(light):
    """Stars, short trails, columns, steps, gas and spikes are not streaks."""
    for seed in (1, 2, 3):
        assert find(field(seed) + light) == []


def test_bleeds_are_no_streaks_once_they_are_masked():
    """A masked line of saturated pixels draws no streak, and a streak across it is still one."""
    image = field() + draw(0, 430, 511, 60, peak=300.0)
    unusable = np.zeros(image.shape, bool)
    image[250:254], unusable[248:256] = 1e5, True
    assert len(find(image, unusable)) == 1
    assert find(np.where(unusable, 1e5, field()), unusable) == []
