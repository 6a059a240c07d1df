"""Dead lines: what was there before they were dead comes back."""

import numpy as np
import pytest
from point_sources import gaussian_psf

from dbpipe.imaging import mask as planes
from dbpipe.imaging.clean.thin_lines import fill_thin_lines

SHAPE, CENTER = (60, 60), 30


def star(fwhm_pix, dx=0.0, dy=0.0):
    image = np.full(SHAPE, 100.0, np.float32)
    image[CENTER - 20 : CENTER + 21, CENTER - 20 : CENTER + 21] += 1e5 * gaussian_psf(41, fwhm_pix, dx, dy)
    return image


def damaged(image, box, bit=planes.BAD):
    mask = np.zeros(SHAPE, np.uint16)
    mask[box] = bit
    return np.where(mask != 0, np.float32(0), image), np.full(SHAPE, 100.0, np.float32), mask


@pytest.mark.parametrize("box", [np.s_[:, CENTER], np.s_[CENTER, :]], ids=["column", "row"])
@pytest.mark.parametrize("offset", [0.0, 0.4])
def test_a_dead_line_through_a_star_is_restored(box, offset):
    """A line through the core is restored to 2% of the peak, and is dead no more."""
    truth = star(3.6, offset, offset)
    image, variance, mask = fill_thin_lines(*damaged(truth, box), fwhm_pix=3.6)
    inner = np.s_[5:-5, 5:-5]
    assert not mask[inner].any()
    assert np.abs(image - truth)[inner].max() < 0.02 * truth.max()
    assert variance[inner].min() > 0


def test_two_dead_columns_are_restored_as_well():
    """The error grows with the width, to 5% of the peak for two pixels."""
    truth = star(4.2)
    image, _, mask = fill_thin_lines(*damaged(truth, np.s_[:, CENTER : CENTER + 2]), fwhm_pix=4.2)
    assert not mask[5:-5].any()
    assert np.abs(image - truth)[5:-5].max() < 0.05 * truth.max()


def test_the_sky_keeps_its_level_and_its_noise_is_known():
    """On blank sky the mean is kept, and the variance given is that of the prediction."""
    rng = np.random.default_rng(1)
    image = rng.normal(100.0, 10.0, SHAPE).astype(np.float32)
    rows = np.arange(2, 58, 5)
    mask = np.zeros(SHAPE, np.uint16)
    mask[rows] = planes.BAD
    filled, variance, _ = fill_thin_lines(image, np.full(SHAPE, 100.0, np.float32), mask, fwhm_pix=4.0)
    inner = rows[1:-1]
    pull = (filled[inner] - 100.0) / np.sqrt(variance[inner])
    assert abs(pull.mean()) < 4 / np.sqrt(pull.size) and np.std(pull) == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize(
    "box, bit",
    [(np.s_[20:30, 20:30], planes.BAD), (np.s_[:, 30], planes.SATURATED), (np.s_[:, 0], planes.BAD)],
    ids=["block", "saturated", "edge"],
)
def test_other_defects_stay(box, bit):
    """Blocks, bleeds and lines at the edge stay masked, and the arrays that went in are untouched."""
    image, variance, mask = damaged(star(4.0), box, bit)
    before = mask.copy()
    _, _, after = fill_thin_lines(image, variance, mask, fwhm_pix=4.0)
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(mask, before)
