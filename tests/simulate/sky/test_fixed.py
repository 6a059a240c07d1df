"""The simulated sky is made of plausible things that change as they should."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord

from dbpipe.simulate.sky.fixed import (
    Field,
    make_galaxies,
    make_stars,
    offset_position,
    sersic_components,
    star_positions,
)
from dbpipe.simulate.sky.light_curves import light_curves
from dbpipe.simulate.sky.variables import make_objects

FIELD = Field(ra=359.99, dec=-65.0, side_arcsec=300.0, epoch_mjd_tai=58100.0)
COUNTS = {"supernova": 6, "variable_star": 6, "agn": 2, "lens": 2, "asteroid": 3}


@pytest.fixture(scope="module")
def objects():
    rng = np.random.default_rng(7)
    return make_objects(FIELD, make_galaxies(FIELD, 2000, rng), COUNTS, (59580.0, 59640.0), rng)[0]


def test_offsets_are_angles_on_the_sky():
    """A tangent-plane offset of 100" is a separation of 100" by astropy, across ra = 0 too."""
    ra, dec = offset_position(359.99, -65.0, 60.0, 80.0)
    here, there = SkyCoord(359.99, -65.0, unit="deg"), SkyCoord(float(ra), float(dec), unit="deg")
    assert here.separation(there).arcsec == pytest.approx(100.0, abs=1e-4)


def test_proper_motion_moves_a_star_at_its_speed():
    """In ten years a star moves ten times its yearly proper motion."""
    stars = make_stars(FIELD, 300, np.random.default_rng(1))
    ra, dec = star_positions(stars, FIELD, FIELD.epoch_mjd_tai + 3652.5)
    moved = SkyCoord(stars.ra, stars.dec, unit="deg").separation(SkyCoord(ra, dec, unit="deg")).to_value(u.arcsec)
    np.testing.assert_allclose(moved, 10.0 * np.hypot(stars.pm_ra_cosdec, stars.pm_dec), atol=1e-4)
    assert (moved > 1.0).any()


@pytest.mark.parametrize("index", [1.0, 2.0, 4.0])
def test_half_the_light_of_a_galaxy_is_within_its_half_light_radius(index):
    """The Gaussians of a Sersic profile hold half of the light in the half-light radius, within 6%."""
    weight, variance = sersic_components(index)
    assert weight.sum() == pytest.approx(1.0)
    assert np.sum(weight * (1.0 - np.exp(-0.5 / variance))) == pytest.approx(0.5, abs=0.06)


def test_a_supernova_is_brightest_at_its_peak(objects):
    """No visit sees a supernova brighter than its peak magnitude, and one at the peak sees just that."""
    supernova = objects[objects.kind == "supernova"].iloc[:1]
    peak = float(supernova.mjd_peak.iloc[0])
    times = peak + np.array([-200.0, -3.0, 0.0, 10.0, 60.0])
    curve = light_curves(supernova, np.arange(5), ["r"] * 5, times)
    assert curve.mag.iloc[2] == pytest.approx(float(supernova.peak_mag_r.iloc[0]), abs=1e-9)
    assert (curve.mag >= curve.mag.iloc[2] - 1e-9).all()
    assert curve.flux_njy.iloc[0] < 1.0


def test_the_images_of_a_lens_tell_one_story_at_different_times(objects):
    """An image with delay d shows at time t + d what an undelayed one shows at t, up to its magnification."""
    images = objects[(objects.kind == "lensed_agn") & (objects.lens_system == 1)].sort_values("delay_days")
    first, last = images.iloc[:1], images.iloc[-1:]
    delay = float(last.delay_days.iloc[0])
    times = 59580.0 + 0.25 * np.arange(400)
    curves = [light_curves(image, np.arange(400), ["r"] * 400, times) for image in (first, last)]
    story = [c.mag.to_numpy() - float(i.mean_mag_r.iloc[0]) for c, i in zip(curves, (first, last), strict=True)]
    later = np.interp(times - delay, times, story[0])
    seen = times - delay > times[0]
    np.testing.assert_allclose(story[1][seen], later[seen], atol=1e-6)
    assert np.ptp(story[0]) > 0.05


def test_the_same_seed_gives_the_same_sky():
    """Stars are reproducible."""
    first, second = (make_stars(FIELD, 50, np.random.default_rng(3)) for _ in range(2))
    assert first.equals(second)
