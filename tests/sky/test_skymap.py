import numpy as np
import pytest

from dbpipe.errors import DataError
from dbpipe.sky.skymap import Tract, find_main_field, make_tract, patch_center, patch_wcs, patches_for, tract_wcs
from dbpipe.sky.sphere import deproject, separation_deg
from dbpipe.sky.wcs import corners, pixel_to_sky, sky_to_pixel, tan_wcs

PLACES = [(53.0, -27.4), (0.01, 0.0), (120.0, 89.95), (10.0, -90.0)]
SCALE = 0.2 / 3600.0


def tract_at(ra, dec, *, patch_size_pix=500):
    """Return a tract with 0.2 arcsec pixels."""
    return Tract(0, ra, dec, 0.2, patch_size_pix)


def footprint(tract, x, y):
    """Return the sky positions of tract pixels."""
    return pixel_to_sky(tract_wcs(tract), np.asarray(x, float), np.asarray(y, float))


@pytest.mark.parametrize("ra, dec", PLACES)
def test_tangent_point_is_pixel_zero_with_north_up(ra, dec):
    """Pixel (0, 0) of the tract is the tangent point, up is north, left is east."""
    wcs = tract_wcs(tract_at(ra, dec))
    assert separation_deg(*pixel_to_sky(wcs, 0.0, 0.0), ra, dec) * 3.6e6 < 1e-3
    north = deproject(0.0, 0.01, ra0=ra, dec0=dec)
    east = deproject(0.01, 0.0, ra0=ra, dec0=dec)
    np.testing.assert_allclose(sky_to_pixel(wcs, *north), [0.0, 0.01 / SCALE], atol=1e-5)
    np.testing.assert_allclose(sky_to_pixel(wcs, *east), [-0.01 / SCALE, 0.0], atol=1e-5)


def test_patches_share_the_pixel_grid():
    """A pixel of a patch is a pixel of the tract."""
    tract = tract_at(0.01, 89.0)
    x, y = sky_to_pixel(tract_wcs(tract), *pixel_to_sky(patch_wcs(tract, -1500, 500), 7.0, 11.0))
    np.testing.assert_allclose([x, y], [-1493.0, 511.0], atol=1e-6)


@pytest.mark.parametrize("ra, dec", PLACES)
def test_tract_is_centered_on_the_exposures(ra, dec):
    """The tangent point is the middle of the exposures, over RA 0 and over a pole."""
    xi, eta = np.array([-1.0, 1.0, 1.0, -1.0]), np.array([-0.5, -0.5, 0.5, 0.5])
    tract = make_tract(*deproject(xi, eta, ra0=ra, dec0=dec), pixel_scale_arcsec=0.2, patch_size_pix=2048)
    assert separation_deg(tract.ra, tract.dec, ra, dec) < 2e-3


@pytest.mark.parametrize("ra, dec", PLACES)
@pytest.mark.parametrize("angle_deg", [0.0, 17.0, 45.0])
def test_patches_are_those_with_pixels_of_the_exposure(ra, dec, angle_deg):
    """An exposure touches exactly the patches that its pixels fall on, but for slivers of a pixel."""
    tract = tract_at(ra, dec)
    a = np.radians(angle_deg)
    cd = SCALE * np.array([[-np.cos(a), np.sin(a)], [np.sin(a), np.cos(a)]])
    wcs = tan_wcs(*footprint(tract, 800.0, -300.0), crpix=(599.5, 449.5), cd=cd)
    patches = patches_for(tract, *corners(wcs, (900, 1200)))
    x, y = np.meshgrid(np.linspace(0, 1199, 200), np.linspace(0, 899, 150))
    tx, ty = sky_to_pixel(tract_wcs(tract), *pixel_to_sky(wcs, x, y))
    hit = set(
        zip(np.floor((tx + 0.5) / 500).ravel().tolist(), np.floor((ty + 0.5) / 500).ravel().tolist(), strict=True)
    )
    found = {(p.ix, p.iy) for p in patches}
    assert hit <= found
    edge_x, edge_y = sky_to_pixel(tract_wcs(tract), *corners(wcs, (900, 1200)))
    assert len(found) < 30 and len(found - hit) <= 2, (edge_x, edge_y)


def test_patches_number_and_place():
    """Patch (0, 0) starts at the tangent point, numbers run by rows, and negative patches have numbers too."""
    tract = tract_at(53.0, -27.4)
    patches = patches_for(tract, *footprint(tract, [-20.0, 20.0, 20.0, -20.0], [-20.0, -20.0, 20.0, 20.0]))
    assert [(p.ix, p.iy, p.patch) for p in patches] == [
        (-1, -1, 499499), (0, -1, 499500), (-1, 0, 500499), (0, 0, 500500),
    ]  # fmt: skip
    assert (patches[0].x0, patches[0].y0, patches[0].nx, patches[0].ny) == (-500, -500, 500, 500)
    assert (patches[3].x0, patches[3].y0) == (0, 0)
    x, y = sky_to_pixel(tract_wcs(tract), *patch_center(tract, patches[3]))
    np.testing.assert_allclose([x, y], 249.5, atol=1e-6)


def test_a_corner_beside_the_footprint_is_not_touched():
    """A patch inside the bounding box of a turned exposure, but clear of it, is not listed."""
    tract = tract_at(53.0, -27.4)
    diamond = footprint(tract, [750.0, 1450.0, 750.0, 50.0], [50.0, 750.0, 1450.0, 750.0])
    assert {(p.ix, p.iy) for p in patches_for(tract, *diamond)} == {(i, j) for i in range(3) for j in range(3)}
    small = footprint(tract, [750.0, 1180.0, 750.0, 320.0], [320.0, 750.0, 1180.0, 750.0])
    assert {(p.ix, p.iy) for p in patches_for(tract, *small)} == {(1, 0), (0, 1), (1, 1), (2, 1), (1, 2)}


def test_what_is_too_far_is_refused():
    """Exposures ten degrees apart make no tract, one six degrees off does not join one, and no exposure makes none."""
    with pytest.raises(DataError, match="too far apart"):
        make_tract([10.0, 22.0], [0.0, 0.0], pixel_scale_arcsec=0.2, patch_size_pix=100)
    with pytest.raises(DataError, match="too far from the tract"):
        patches_for(tract_at(10.0, 0.0), np.array([16.0, 16.1, 16.1]), np.array([0.0, 0.0, 0.1]))
    with pytest.raises(DataError, match="needs an exposure"):
        make_tract([], [], pixel_scale_arcsec=0.2, patch_size_pix=100)
    with pytest.raises(DataError, match="out of range"):
        patches_for(tract_at(10.0, 0.0, patch_size_pix=10), np.array([11.0, 11.1, 11.1]), np.array([0.0, 0.0, 0.1]))


def test_the_main_field_is_where_most_exposures_are():
    """One stray exposure among many is left out, also across RA 0; exposures that fit in one tract are all kept."""
    ra = np.array([359.8, 0.1, 0.2, 90.0])[:, None] + np.array([-0.1, 0.1, 0.1, -0.1])
    dec = np.zeros((4, 1)) + np.array([-0.1, -0.1, 0.1, 0.1])
    assert find_main_field(ra % 360.0, dec).tolist() == [True, True, True, False]
    assert find_main_field(ra[:3] % 360.0, dec[:3]).all()
    assert find_main_field(np.array([[0.0, 20.0]]), np.zeros((1, 2))).tolist() == [True]
