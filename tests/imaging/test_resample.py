"""The warp keeps flux and position, carries the mask, and knows where there is nothing."""

import numpy as np
import pytest
from point_sources import add_source
from scipy import ndimage
from warps import affine_warp, turned

from dbpipe.imaging.mask import BAD, BLEED, COSMIC_RAY, DETECTED, NO_DATA, SATURATED
from dbpipe.imaging.resample import fill_bleeds, fill_gaps, lanczos, warp, warp_stamp


def centroid(image, x, y, half=18):
    """Return flux and center of mass of a box around the nearest pixel."""
    column, row = int(round(x)), int(round(y))
    box = image[row - half : row + half + 1, column - half : column + half + 1].astype(float)
    v, u = np.mgrid[-half : half + 1, -half : half + 1]
    return box.sum(), column + (box * u).sum() / box.sum(), row + (box * v).sum() / box.sum()


@pytest.mark.parametrize("scale", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("angle_deg", [23.0, 67.0, 113.0, 205.0])
def test_flux_and_position_are_kept(angle_deg, scale):
    """Stars keep their flux to 0.1% and their place to 0.005 pix under rotation and change of pixel area."""
    image = np.zeros((300, 300), np.float32)
    rng = np.random.default_rng(1)
    matrix, origin, shape = turned(angle_deg, scale), (150.3, 149.6), (280, 260)
    stars = [(x + rng.uniform(), y + rng.uniform()) for x in (110, 150, 190) for y in (110, 150, 190)]
    for x, y in stars:
        add_source(image, x, y, 1e4, 4.0, size=35)
    result = affine_warp(image, matrix, origin=origin, shape=shape).image
    for star in stars:
        x, y = np.linalg.solve(matrix, np.subtract(star, origin)) + (shape[1] / 2, shape[0] / 2)
        # stars are 40 pix apart in the input: a box of half that, in output pixels, holds one alone
        flux, u, v = centroid(result, x, y, half=int(min(18, 18 / scale)))
        assert flux == pytest.approx(1e4, rel=1e-3)
        assert np.hypot(u - x, v - y) < 0.005


def test_a_shift_along_the_axes_has_the_error_of_lanczos():
    """Where all pixels have one phase nothing averages out: a star of FWHM 4 pix is wrong by 0.7% of its peak at most.

    The kernel does not reproduce a linear slope: its first moment is off by 0.02 pix, the fitted position by 0.007.
    """
    for phase in (0.1, 0.3, 0.5, 0.7):
        image, expected = np.zeros((2, 91, 91), np.float32)
        add_source(image, 45 + phase, 45 - phase, 1e4, 4.0)
        add_source(expected, 40, 40, 1e4, 4.0)
        result = affine_warp(image, np.eye(2), origin=(45 + phase, 45 - phase), shape=(80, 80)).image
        assert np.abs(result - expected[:80, :80]).max() < 0.0075 * expected.max()
        flux, x, y = centroid(result, 40, 40)
        assert flux == pytest.approx(1e4, rel=1e-4)
        assert abs(x - 40) < 0.021 and abs(y - 40) < 0.021


def test_surface_brightness_times_pixel_area():
    """A flat sky stays flat and holds as much flux per area; the variance goes with the square."""
    flat = np.full((120, 120), 7.0, np.float32)
    result = affine_warp(flat, turned(30, 1.2), origin=(60, 60), shape=(50, 50), variance=flat)
    np.testing.assert_allclose(result.image, 7.0 * 1.44, rtol=1e-5)
    np.testing.assert_allclose(result.variance, 7.0 * 1.44**2, rtol=1e-5)
    assert not result.mask.any()


def test_whole_pixels_are_copied():
    """A shift by whole pixels changes no value."""
    image = np.random.default_rng(2).normal(size=(80, 90)).astype(np.float32)
    result = affine_warp(image, np.eye(2), origin=(45.0, 40.0), shape=(40, 40))
    np.testing.assert_allclose(result.image, image[20:60, 25:65], atol=1e-6)


def test_mask_bits_spread_over_the_interpolation():
    """A masked pixel marks every output pixel that has it among its inner 4 x 4 taps, and no other."""
    image, mask = np.zeros((80, 80), np.float32), np.zeros((80, 80), np.uint16)
    mask[40, 40], mask[20, 50] = BAD | DETECTED, COSMIC_RAY
    result = affine_warp(image, np.eye(2), origin=(40.5, 40.5), shape=(60, 60), mask=mask).mask
    expected = np.zeros((60, 60), np.uint16)
    # output pixel x lies at input x + 10.5: floor is x + 10, the inner taps are x + 9 ... x + 12
    expected[28:32, 28:32], expected[8:12, 38:42] = BAD | DETECTED, COSMIC_RAY
    np.testing.assert_array_equal(result, expected)


def test_outside_there_is_no_data():
    """What the input cannot fill is NO_DATA with image and variance 0; so is what has no position in it."""
    image = np.ones((50, 50), np.float32)
    result = affine_warp(image, np.eye(2), origin=(5.2, 25.0), shape=(40, 40))
    empty = result.mask == NO_DATA
    # output column x lies at x - 14.8: the taps reach 2 pix to the left
    assert empty[:, :17].all() and not empty[:, 17:].any()
    assert not result.image[empty].any() and not result.variance[empty].any()
    nodes = np.array([[10.0, np.nan], [10.0, 40.0]])
    lost = warp(image, image, np.zeros((50, 50), np.uint16), map_x=nodes, map_y=nodes.T, step_pix=32, shape=(20, 20))
    assert (lost.mask == NO_DATA).all()


def test_the_interpolation_kernel_is_one_at_zero_and_zero_at_whole_pixels():
    """Lanczos interpolation goes through the values it is given."""
    np.testing.assert_allclose(lanczos(np.arange(-4.0, 5.0)), [0, 0, 0, 0, 1, 0, 0, 0, 0], atol=1e-15)


@pytest.mark.parametrize(("angle_deg", "scale"), [(0, 1), (35, 1.1), (200, 0.9)])
def test_a_psf_is_warped_as_the_image_of_its_star(angle_deg, scale):
    """The warped stamp is the star in the warped image."""
    matrix = turned(angle_deg, scale)
    stamp = np.zeros((41, 41), np.float32)
    add_source(stamp, 20, 20, 0.6, 3.5)
    add_source(stamp, 22, 19, 0.4, 3.5)
    image = np.zeros((141, 141), np.float32)
    image[50:91, 50:91] = stamp
    whole = affine_warp(image, matrix, origin=(70, 70), shape=(82, 82), step=82).image
    np.testing.assert_allclose(warp_stamp(stamp, matrix), whole[21:62, 21:62], atol=2e-6)
    assert warp_stamp(stamp, matrix).sum() == pytest.approx(1.0, abs=2e-3)


def test_gaps_are_filled_from_their_neighbors():
    """On a plane a dead pixel gets the value of the plane; one without a good neighbor gets 0; others stay."""
    y, x = np.mgrid[:30, :40]
    plane = (2.0 * x + y).astype(np.float32)
    mask = np.zeros(plane.shape, np.uint16)
    mask[10, 12], mask[10, 20], mask[15:30, 25:40], mask[3, 3] = BAD, COSMIC_RAY, BAD, DETECTED
    spoiled = np.where(mask & (BAD | COSMIC_RAY), -1e4, plane)
    before = spoiled.copy()
    filled = fill_gaps(spoiled, mask)
    assert filled[10, 12] == pytest.approx(34) and filled[10, 20] == pytest.approx(50)
    assert filled[28, 38] == 0
    assert np.array_equal(filled[mask & 5 == 0], plane[mask & 5 == 0])
    assert np.array_equal(spoiled, before)


def test_a_bleed_is_no_light_of_the_sky():
    """Charge that bled holds what is beside it; the star, and what is unusable otherwise, stay as they are."""
    rows, columns = np.mgrid[:40, :60]
    image = (10.0 * rows).astype(np.float32)
    mask = np.zeros(image.shape, np.uint16)
    mask[18:23, :] = SATURATED | BLEED
    mask[15:26, 26:35] = SATURATED
    mask[5, 5] = BAD
    image[(mask & SATURATED) != 0] = 1e5
    filled = fill_bleeds(image, mask)
    bleed = (mask & BLEED) != 0
    np.testing.assert_array_equal(filled[~bleed], image[~bleed])
    far = bleed & (np.abs(columns - 30) > 8)
    assert np.abs(filled[far] - 10.0 * rows[far]).max() <= 30.0
    assert filled[bleed].max() < 300.0


@pytest.mark.parametrize("seed", range(4))
def test_what_fills_a_bleed_is_the_nearest_usable_pixel(seed):
    """Region by region it is at the distance that a transform of the whole image gives, however regions lie."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((60, 80), np.uint16)
    for bits, n in ((SATURATED | BLEED, 12), (BAD, 25)):
        for _ in range(n):
            y, x, height, width = rng.integers(0, (60, 80, 12, 30))
            mask[y : y + height, x : x + width] |= bits
    numbered = np.arange(mask.size, dtype=np.float32).reshape(mask.shape)
    filled = fill_bleeds(numbered, mask)
    bleed = (mask & BLEED) != 0
    rows, columns = np.divmod(filled[bleed].astype(int), mask.shape[1])
    assert not mask[rows, columns].any()
    distance = np.hypot(*(np.nonzero(bleed) - np.stack([rows, columns])))
    np.testing.assert_allclose(distance, ndimage.distance_transform_edt(mask)[bleed])


def test_without_a_usable_pixel_nothing_is_filled():
    """An image that is all bleed has nothing to fill it from."""
    image = np.full((5, 5), 1e5, np.float32)
    np.testing.assert_array_equal(fill_bleeds(image, np.full((5, 5), SATURATED | BLEED, np.uint16)), image)
