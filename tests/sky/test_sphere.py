import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.time import Time

from dbpipe.sky.sphere import (
    apply_proper_motion,
    bounding_cap,
    deproject,
    directions,
    project,
    separation_deg,
    unit_vectors,
)

EVERYWHERE = [(0.0, 0.0), (359.999, -30.0), (53.0, 89.999), (200.0, -90.0), (10.0, 90.0)]


@pytest.mark.parametrize("ra0, dec0", EVERYWHERE)
def test_deproject_undoes_project(ra0, dec0):
    """A plane position survives the way to the sky and back, at the poles and at RA 0 too."""
    xi, eta = np.random.default_rng(1).uniform(-3, 3, (2, 50))
    ra, dec = deproject(xi, eta, ra0=ra0, dec0=dec0)
    back = project(ra, dec, ra0=ra0, dec0=dec0)
    np.testing.assert_allclose(back, [xi, eta], atol=1e-12)
    assert np.all((ra >= 0) & (ra < 360))


def test_projection_has_no_other_hemisphere():
    """A direction 90 degrees or more from the tangent point has no place on the plane."""
    xi, eta = project([10.0, 100.1, 190.0], [0.0, 0.0, 0.0], ra0=10.0, dec0=0.0)
    assert np.isfinite([xi[0], eta[0]]).all() and np.isnan([xi[1:], eta[1:]]).all()


def test_separation_agrees_with_astropy():
    """Separations from a micro-arcsecond to the antipode are those of astropy."""
    ra, dec = np.array([10.0, 10.0, 10.0, 359.0]), np.array([20.0, 20.0, 20.0, 80.0])
    ra2, dec2 = np.array([10.0 + 1e-9, 190.0, 11.0, 1.0]), np.array([20.0, -20.0, 21.0, 81.0])
    expected = SkyCoord(ra * u.deg, dec * u.deg).separation(SkyCoord(ra2 * u.deg, dec2 * u.deg)).deg
    np.testing.assert_allclose(separation_deg(ra, dec, ra2, dec2), expected, rtol=1e-6)


def test_directions_undo_unit_vectors():
    """A vector of any length keeps its direction, and RA is below 360."""
    ra, dec = directions(3.0 * unit_vectors([0.0, 359.9999, -1e-18], [10.0, -89.0, 0.0]))
    np.testing.assert_allclose(ra, [0.0, 359.9999, 0.0], atol=1e-10)
    np.testing.assert_allclose(dec, [10.0, -89.0, 0.0], atol=1e-10)


@pytest.mark.parametrize("ra0, dec0", EVERYWHERE)
def test_bounding_cap_of_a_ring_is_the_ring(ra0, dec0):
    """The smallest circle around points on a circle, and points within, is that circle."""
    angle = np.linspace(0, 2 * np.pi, 37)
    radius = np.where(np.arange(37) % 3, 1.0, 0.3)
    ra, dec = deproject(radius * np.cos(angle), radius * np.sin(angle), ra0=ra0, dec0=dec0)
    found_ra, found_dec, found_radius = bounding_cap(ra, dec)
    assert separation_deg(found_ra, found_dec, ra0, dec0) < 2e-3
    assert found_radius == pytest.approx(np.degrees(np.arctan(np.radians(1.0))), abs=2e-3)


def test_proper_motion_agrees_with_astropy():
    """A star of 3 arcsec/yr near a pole is after ten years where astropy says, to 1 mas."""
    star = SkyCoord(
        ra=[1.0, 359.9999] * u.deg,
        dec=[10.0, -85.0] * u.deg,
        pm_ra_cosdec=[3000.0, 500.0] * u.mas / u.yr,
        pm_dec=[-2000.0, 800.0] * u.mas / u.yr,
        distance=[100.0, 100.0] * u.pc,
        obstime=Time(57388.0, format="mjd", scale="tcb"),
    )
    moved = star.apply_space_motion(new_obstime=Time(57388.0 + 3652.5, format="mjd", scale="tcb"))
    ra, dec = apply_proper_motion(
        star.ra.deg, star.dec.deg, star.pm_ra_cosdec.value, star.pm_dec.value, 57388.0, 57388.0 + 3652.5
    )
    assert np.max(separation_deg(ra, dec, moved.ra.deg, moved.dec.deg)) * 3.6e6 < 1.0


def test_unknown_proper_motion_moves_nothing():
    """A star of unknown motion or epoch stays where it is."""
    ra, dec = apply_proper_motion([10.0, 10.0], [20.0, 20.0], [np.nan, 5.0], [np.nan, 5.0], [50000.0, np.nan], 60000.0)
    np.testing.assert_allclose(ra, 10.0, rtol=1e-14)
    np.testing.assert_allclose(dec, 20.0, rtol=1e-14)
