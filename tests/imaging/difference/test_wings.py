"""What all bright stars leave is measured and taken out."""

import numpy as np
import pytest

from dbpipe.imaging.difference.wings import flux_from_wings, measure_wings, subtract_wings
from dbpipe.imaging.psf.rings import Stars

SIZE, FWHM, NOISE = 700, 4.0, 10.0


def scene(part_per_pix2, seed=1, n=12):
    """An image of rings around stars: each star's flux times a profile r^-3, and noise; nothing within one FWHM."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(60, SIZE - 60, (2, n))
    flux = np.sort(10.0 ** rng.uniform(5.5, 7.0, n))[::-1]
    rows, columns = np.mgrid[:SIZE, :SIZE]
    image = rng.normal(0.0, NOISE, (SIZE, SIZE))
    for k in range(n):
        radius = np.hypot(columns - x[k], rows - y[k])
        image += np.where(radius > FWHM, flux[k] * part_per_pix2 * (radius / 10.0) ** -3.0, 0.0)
    return image.astype(np.float32), Stars(x, y, flux)


def measured(image, stars):
    variance, unusable = np.full(image.shape, NOISE**2, np.float32), np.zeros(image.shape, bool)
    return measure_wings(image, variance, unusable, stars, fwhm_pix=FWHM)


def test_wings_common_to_all_stars_vanish():
    """What every star has by its flux is gone: around the brightest 10% is left of r^-3, or a tenth of the noise."""
    image, stars = scene(2e-5)
    left = image - subtract_wings(image, measured(image, stars), stars, noise=NOISE, inner_pix=FWHM)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    radius = np.hypot(columns - stars.x[0], rows - stars.y[0])
    for low, high in ((8, 12), (12, 20), (20, 40)):
        ring = (radius >= low) & (radius < high)
        assert np.median(image[ring]) > 0.5 * NOISE
        assert abs(np.median(left[ring])) < max(0.1 * np.median(image[ring]), 0.1 * NOISE)


def test_nothing_is_taken_from_where_nothing_is():
    """Stars that leave no wings change no pixel by more than a tenth of the noise."""
    image, stars = scene(0.0)
    assert np.abs(subtract_wings(image, measured(image, stars), stars, noise=NOISE, inner_pix=FWHM)).max() < 0.3 * NOISE


def test_a_transient_in_the_wings_keeps_its_flux():
    """A new source beside a bright star is not taken for its wing."""
    image, stars = scene(2e-5)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    new = 200.0 * np.exp(-0.5 * ((columns - stars.x[0] - 15.0) ** 2 + (rows - stars.y[0]) ** 2) / 1.7**2)
    without = subtract_wings(image, measured(image, stars), stars, noise=NOISE, inner_pix=FWHM)
    with_it = subtract_wings(image, measured(image + new, stars), stars, noise=NOISE, inner_pix=FWHM)
    assert np.sum(np.abs(with_it - without)[new > 20.0]) < 0.03 * new.sum()


class _RoundPsf:
    """A PSF r^-3 outside its core, of unit sum."""

    def at_many(self, x, y):
        v, u = np.mgrid[-20:21, -20:21]
        stamp = (1.0 + (u**2 + v**2) / 9.0) ** -1.5
        return np.repeat((stamp / stamp.sum())[None], len(x), axis=0)


def test_the_flux_of_a_saturated_star_comes_from_its_wings():
    """With its core masked a star's flux is right to 1%; a star that is masked as a whole has none."""
    flux, rng = 1e7, np.random.default_rng(1)
    image = rng.normal(0.0, NOISE, (101, 201))
    image[30:71, 30:71] += flux * _RoundPsf().at_many([0], [0])[0]
    unusable = np.zeros(image.shape, bool)
    unusable[42:59, :101] = True
    unusable[:, 120:] = True
    found = flux_from_wings(
        image,
        np.full(image.shape, NOISE**2),
        unusable,
        _RoundPsf(),
        x=np.array([50.0, 160.0]),
        y=np.array([50.0, 50.0]),
    )
    assert found[0] == pytest.approx(flux, rel=0.01)
    assert np.isnan(found[1])
