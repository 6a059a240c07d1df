"""Cosmic rays are what is sharper than the PSF."""

import numpy as np
import pytest
from scipy import ndimage
from starfield import moffat_stamp, star_field

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.imaging.clean.cosmic_rays import find_cosmic_rays
from dbpipe.simulate.camera.detector import cosmic_rays

SKY_E, READ_NOISE_E = 300.0, 5.0


def find(image, fwhm_pix, unusable=None, **changes):
    """Find the cosmic rays of an image with its sky."""
    settings = {"sky_e": SKY_E, "read_noise_e": READ_NOISE_E, "psf_sigma_pix": fwhm_pix / FWHM_PER_SIGMA} | changes
    unusable = np.zeros(image.shape, bool) if unusable is None else unusable
    return find_cosmic_rays(image.astype(np.float32) - np.float32(settings["sky_e"]), unusable, **settings)


@pytest.mark.parametrize("fwhm_pix", [1.4, 1.7, 2.0, 2.6, 4.0, 8.0])
@pytest.mark.parametrize(("beta", "e1"), [(2.5, 0.0), (4.5, 0.3)])
def test_no_star_is_one_whatever_its_width(fwhm_pix, beta, e1):
    """Stars anywhere on the pixels, close together, faint and nearly saturated, round or not, keep their pixels.

    Also where they are 15% sharper than is known.
    """
    psf = {"beta": beta, "e1": e1, "size": 61}
    image, _ = star_field(seed=8, n_star=300, fwhm_pix=fwhm_pix, sky_e=SKY_E, flux_range=(300.0, 1e6), **psf)
    saturated = ndimage.maximum_filter(image > 8e4, 2 * int(fwhm_pix) + 1)
    assert not find(image, fwhm_pix, saturated).any()
    assert not find(image, 1.15 * fwhm_pix, saturated).any()


@pytest.mark.parametrize(("fwhm_pix", "stands_out"), [(1.4, 40.0), (2.0, 15.0), (4.0, 15.0), (8.0, 15.0)])
def test_hits_that_matter_are_found(fwhm_pix, stands_out):
    """Of tracks among stars, 19 pixels in 20 that stand out by 15 sigma are found, and few pixels beside them.

    The sharper the PSF, the more a hit must stand out to be unlike it.
    """
    image, _ = star_field(seed=8, n_star=60, fwhm_pix=fwhm_pix, sky_e=SKY_E, flux_range=(2e3, 1e5), size=61)
    rng = np.random.default_rng(9)
    charge = sum(cosmic_rays(image.shape, rng) for _ in range(15))
    found = find(image + rng.poisson(charge), fwhm_pix)
    matters = charge > stands_out * np.sqrt(image + READ_NOISE_E**2)
    assert matters.sum() > 300
    assert found[matters].mean() > 0.95
    assert (found & (charge == 0)).sum() < 0.02 * found.sum()


@pytest.mark.parametrize("sky_e", [1.0, 30.0, 3000.0])
def test_blank_sky_has_none(sky_e):
    """The tail of the noise of a million blank pixels, Poisson's too, gives next to no hit."""
    rng = np.random.default_rng(3)
    image = rng.poisson(sky_e, (1000, 1000)) + rng.normal(0.0, READ_NOISE_E, (1000, 1000))
    assert find(image, 3.0, sky_e=sky_e).sum() <= 1


@pytest.mark.parametrize("separation_pix", [2.0, 2.5, 3.0, 5.0])
def test_two_equal_stars_side_by_side_are_two_stars(separation_pix):
    """Between the two of a close pair the light is as low as a sum of two PSFs can be."""
    rng = np.random.default_rng(4)
    for x, y, angle in rng.uniform(0.0, 1.0, (30, 3)):
        dx, dy = separation_pix * np.cos(6.3 * angle), separation_pix * np.sin(6.3 * angle)
        light = moffat_stamp(2.0, dx=x, dy=y, size=41) + moffat_stamp(2.0, dx=x + dx, dy=y + dy, size=41)
        assert not find(rng.poisson(SKY_E + 3e4 * light), 2.0).any()


def test_the_border_is_like_the_rest():
    """A star that is cut by the edge is none, and a hit close to the edge is found; the last pixel lacks a neighbor."""
    image, _ = star_field(seed=5, n_star=5, fwhm_pix=3.0, sky_e=SKY_E, flux_range=(2e3, 3e5))
    stamp = 1e5 * moffat_stamp(3.0, size=41)
    image[:21, 100:141] += stamp[20:]
    image[200:241, :24] += stamp[:, 17:]
    assert not find(image, 3.0).any()
    image[300:304, 1] += 1500.0
    image[400, 0] += 1500.0
    hit = find(image, 3.0)
    assert hit[300:304, 1].all() and hit.sum() == 4


def test_what_is_unusable_says_nothing():
    """Beside a hole of the image, a column of zeros, a star keeps its pixels."""
    image, _ = star_field(seed=5, n_star=5, fwhm_pix=3.0, sky_e=SKY_E, flux_range=(2e3, 3e5))
    image[100:141, 100:141] += 1e5 * moffat_stamp(3.0, size=41)
    unusable = np.zeros(image.shape, bool)
    unusable[:, 121] = True
    image[unusable] = SKY_E
    assert not find(image, 3.0, unusable).any()


def test_the_sky_under_the_image_may_vary():
    """A sky image gives what its constant gives, and a hit in the dark corner of a vignetted image is found."""
    rng = np.random.default_rng(6)
    sky = np.linspace(100.0, 900.0, 300, dtype=np.float32) * np.ones((300, 1), np.float32)
    image = rng.poisson(sky).astype(np.float32)
    image[100, 5:8] += 300.0
    hit = find(image, 3.0, sky_e=sky)
    assert hit[100, 5:8].all()
    assert hit.sum() < 10
