"""Averages, what is thrown out of them, and taking one input out again."""

import numpy as np
import pytest
from point_sources import add_source

from dbpipe.imaging.settings import RejectionLimits
from dbpipe.imaging.stack.coadd import (
    background_offset,
    find_deviant,
    fixed_halos,
    keep_artifacts,
    median_image,
    pack_used,
    unpack_used,
    weighted_mean,
    without_input,
)

SHAPE, SIGMA, FWHM = (80, 120), 5.0, 4.85
LIMITS = RejectionLimits()
NIGHTS = np.array([0.0, 0.1, 5.0, 9.0, 14.0, 20.0])
"""Inputs 0 and 1 are witnesses of one another; the others are alone in time."""


def stack_of(n=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, SIGMA, (n, *SHAPE)).astype(np.float32), np.ones((n, *SHAPE), bool)


def rejected(stack, usable, mjd=NIGHTS, limits=LIMITS):
    median, count = median_image(stack, usable)
    deviant, trail = np.zeros((2, *stack.shape), bool)
    for k, image in enumerate(stack):
        deviant[k], trail[k] = find_deviant(
            image, np.full(SHAPE, SIGMA**2), usable[k], median=median, count=count, fwhm_pix=FWHM, limits=limits
        )
    keep_artifacts(deviant, trail, usable, mjd=mjd, limits=limits)
    return deviant


def test_median_is_that_of_numpy():
    """The median over the usable inputs of every pixel is numpy's, for even and odd numbers of them."""
    rng = np.random.default_rng(1)
    stack, usable = rng.normal(size=(7, 30, 40)).astype(np.float32), rng.random((7, 30, 40)) > 0.3
    median, count = median_image(stack, usable)
    expected = np.ma.median(np.ma.array(stack, mask=~usable), axis=0).filled(0)
    np.testing.assert_allclose(median, expected, atol=1e-6)
    np.testing.assert_array_equal(count, usable.sum(axis=0))


def test_backgrounds_are_matched_in_spite_of_a_variable_star():
    """The offset is the difference of the skies, to its noise, whatever a few bright pixels do."""
    rng = np.random.default_rng(2)
    image, reference = rng.normal(100, 5, (2, 200, 200))
    reference += 7.0
    image[50:60, 50:60] += 1e4
    usable = np.ones(image.shape, bool)
    assert background_offset(image, reference, usable) == pytest.approx(7.0, abs=4 * 5 * np.sqrt(2) / 200)
    assert background_offset(image, reference, ~usable) == 0.0


def test_an_average_of_equal_images_is_the_image():
    """Whatever the weights: the image stays, the variance falls as that of a weighted mean."""
    image = stack_of(1)[0][0]
    weights = np.array([1.0, 2.0, 5.0])
    mean = weighted_mean([image] * 3, [np.full(SHAPE, 4.0)] * 3, np.ones((3, *SHAPE), bool), weights)
    np.testing.assert_allclose(mean.image, image, rtol=1e-6)
    np.testing.assert_allclose(mean.variance, 4.0 * np.sum(weights**2) / np.sum(weights) ** 2, rtol=1e-6)
    assert (mean.weight == 8.0).all()


def test_weights_are_as_given_and_holes_are_empty():
    """Every input counts with its weight where it is used; where none is, image, variance and weight are 0."""
    used = np.ones((2, *SHAPE), bool)
    used[1, 10], used[:, 20] = False, False
    mean = weighted_mean([np.full(SHAPE, 1.0), np.full(SHAPE, 5.0)], [np.ones(SHAPE)] * 2, used, [3.0, 1.0])
    assert mean.image[0, 0] == 2.0 and mean.image[10, 0] == 1.0
    assert not mean.image[20].any() and not mean.variance[20].any() and not mean.weight[20].any()


def test_predicted_variance_is_the_scatter():
    """The pulls of an average of noise images with different weights have unit width."""
    rng = np.random.default_rng(3)
    sigma, weights = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.4, 0.2])
    images = rng.normal(size=(3, 200, 200)) * sigma[:, None, None]
    variances = np.broadcast_to(sigma[:, None, None] ** 2, images.shape)
    mean = weighted_mean(images, variances, np.ones(images.shape, bool), weights)
    assert np.std(mean.image / np.sqrt(mean.variance)) == pytest.approx(1.0, abs=0.015)


@pytest.mark.parametrize("number", [0, 2, 4])
def test_leaving_one_out_is_the_average_without_it(number):
    """Taking an input out of the average gives, pixel by pixel, the average that never had it."""
    rng = np.random.default_rng(4)
    images = (1000 * rng.random((5, *SHAPE))).astype(np.float32)
    variances = (1 + rng.random(images.shape)).astype(np.float32)
    used, weights = rng.random(images.shape) > 0.3, 0.5 + rng.random(5)
    used[:, 5:15] = False
    used[number, 5:10] = True  # here it was alone
    full = weighted_mean(images, variances, used, weights)
    left = without_input(full, images[number], variances[number], used=used[number], weight=weights[number])
    others = [k for k in range(5) if k != number]
    never = weighted_mean(images[others], variances[others], used[others], weights[others])
    np.testing.assert_allclose(left.image, never.image, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(left.variance, never.variance, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(left.weight > 0, never.weight > 0)
    assert not left.image[5:10].any()


@pytest.mark.parametrize(("input_number", "goes"), [(0, True), (3, False)])
def test_a_mover_needs_a_witness(input_number, goes):
    """A point source of one epoch goes if another input of the night lacks it; alone in time it may be a transient."""
    stack, usable = stack_of()
    add_source(stack[input_number], 60, 40, 8000.0, FWHM)
    result = rejected(stack, usable)
    assert result[input_number, 38:43, 58:63].all() == goes
    if not goes:
        assert not result[input_number].any()
    others = np.delete(result, input_number, axis=0)
    assert not others[:, 30:51, 50:71].any()


def test_a_witness_must_be_able_to_see():
    """An input of the same night that is masked at the place is no witness."""
    stack, usable = stack_of()
    add_source(stack[0], 60, 40, 8000.0, FWHM)
    usable[1, 25:56, 45:76] = False
    assert not rejected(stack, usable)[0].any()


def test_a_trail_goes_without_a_witness():
    """A satellite's trail is longer than any point source and goes from the one input that has it."""
    stack, usable = stack_of()
    stack[4, 30:33, 5:115] += 60.0
    result = rejected(stack, usable)
    assert result[4, 30:33, 5:115].mean() > 0.97
    assert not result[4, :20].any()
    assert not np.delete(result, 4, axis=0)[:, 28:35, 5:115].any()


def test_a_variable_star_stays():
    """A star that doubles in one epoch of a night, and one that varies in all, lose no pixel."""
    stack, usable = stack_of()
    for k, image in enumerate(stack):
        add_source(image, 40, 40, 2e4 * (2.0 if k == 0 else 1.0), FWHM)
        add_source(image, 80, 40, 2e4 * (1 + 0.4 * (-1) ** k), FWHM)
    assert not rejected(stack, usable).any()


def test_what_its_night_agrees_on_stays():
    """What all inputs of two of five nights show is the sky's, although the others lack it: the core stays whole."""
    stack, usable = stack_of(10)
    for k in (0, 1, 6, 7):
        add_source(stack[k], 60, 40, 8000.0, FWHM)
    result = rejected(stack, usable, np.repeat(np.arange(5.0) * 10, 2))
    assert not result[:, 37:44, 57:64].any()


def test_a_slow_mover_goes_although_its_images_overlap():
    """What three of eight inputs of a night show at one place goes from all three: the other five lack it."""
    stack, usable = stack_of(8)
    for k in (2, 3, 4):
        add_source(stack[k], 60, 40, 8000.0, FWHM)
    result = rejected(stack, usable, np.linspace(0.0, 0.1, 8))
    assert result[2:5, 38:43, 58:63].all()


def test_a_cosmic_ray_in_one_of_six_goes():
    """A cosmic ray goes with a witness of the night, and its average is then that of clean images."""
    stack, usable = stack_of()
    clean = stack.mean(axis=0)
    stack[1, 20:24, 30:33] += 500.0
    result = rejected(stack, usable)
    assert result[1, 20:24, 30:33].all() and not np.delete(result, 1, axis=0)[:, 18:26, 28:35].any()
    mean = weighted_mean(stack, np.ones_like(stack), usable & ~result, np.ones(6))
    assert np.abs(mean.image - clean)[20:24, 30:33].max() < 4 * SIGMA / np.sqrt(5)


def test_two_inputs_cannot_outvote_each_other():
    """With fewer than three inputs nobody knows which one is wrong: nothing goes."""
    stack, usable = stack_of(2)
    stack[1, 20:24, 30:33] += 500.0
    assert not rejected(stack, usable, NIGHTS[:2]).any()


def test_noise_alone_loses_almost_nothing():
    """Of pixels with noise only, less than one in a thousand is rejected."""
    assert rejected(*stack_of(seed=5)).mean() < 1e-3


def test_bit_planes_hold_any_number_of_inputs():
    """What went in where comes back from the packed planes, for 1, 31, 32 and 70 inputs."""
    rng = np.random.default_rng(6)
    for n in (1, 31, 32, 70):
        used = rng.random((n, 5, 7)) > 0.5
        packed = pack_used(used)
        assert packed.dtype == np.int32 and packed.shape == (-(-n // 31), 5, 7)
        for k in range(n):
            np.testing.assert_array_equal(unpack_used(packed, k), used[k])


def test_a_trail_goes_from_one_of_two_inputs():
    """At the edge of a field with two exposures a satellite's trail still goes, from the one that has it."""
    stack, usable = stack_of(2)
    stack[1, 30:33, 5:115] += 60.0
    result = rejected(stack, usable, np.array([0.0, 30.0]))
    assert result[1, 30:33, 8:112].mean() > 0.95
    assert not result[0].any()


def test_a_bright_transient_is_no_trail():
    """A point source so bright that its footprint is as long as a trail stays, where only two inputs can vote."""
    stack, usable = stack_of(2)
    add_source(stack[1], 60, 40, 3e6, 2.5 * FWHM)
    assert not rejected(stack, usable, np.array([0.0, 30.0])).any()


@pytest.mark.parametrize(("n_showing", "is_star"), [(1, False), (2, False), (5, True), (6, True)])
def test_the_halo_of_a_saturated_mover_is_no_star_s(n_showing, is_star):
    """A saturated source has a halo to respect if more inputs of the night show it than lack it."""
    halo, saturated = np.zeros((2, 40, 60), bool)
    halo[10:30, 20:40], saturated[17:23, 27:33] = True, True
    shown = np.zeros((8, 40, 60), np.int8)
    shown[:n_showing, 15:25, 25:35] = 1
    shown[6] = -1  # not covered: no vote
    found = fixed_halos(halo, saturated, shown, number=0, mjd=[*np.linspace(0.0, 0.1, 7), 30.0], max_gap_day=2.0)
    np.testing.assert_array_equal(found, halo if is_star else np.zeros_like(halo))
