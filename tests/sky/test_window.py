"""Windows on a tract's pixel grid."""

import numpy as np
import pytest

from dbpipe.sky.skymap import Tract, patch_wcs, tract_wcs
from dbpipe.sky.wcs import pixel_to_sky, sky_to_pixel, tan_wcs
from dbpipe.sky.window import Window, footprint_window


def members(window):
    return {(x, y) for x in range(window.x0, window.x0 + window.nx) for y in range(window.y0, window.y0 + window.ny)}


@pytest.mark.parametrize("other", [Window(3, -2, 5, 6), Window(-4, -4, 20, 20), Window(1, 1, 2, 2), Window(9, 0, 2, 2)])
def test_common_and_union_are_those_of_the_pixels(other):
    """The common window holds the pixels of both, and the union all pixels of either."""
    window = Window(0, 0, 8, 5)
    common = window.common(other)
    assert (members(common) if common else set()) == members(window) & members(other)
    assert common == other.common(window)
    union = window.union(other)
    assert members(window) | members(other) <= members(union)
    assert union.shape == (
        max(5, other.y0 + other.ny) - min(0, other.y0),
        max(8, other.x0 + other.nx) - min(0, other.x0),
    )


def test_slices_cut_a_window_out_of_a_larger_one():
    """An array of the outer window, cut, holds the pixels of the inner one."""
    outer, inner = Window(-5, 10, 12, 9), Window(-2, 12, 4, 3)
    y, x = np.mgrid[10:19, -5:7]
    cut = inner.slices_in(outer)
    assert set(zip(x[cut].ravel().tolist(), y[cut].ravel().tolist(), strict=True)) == members(inner)
    assert inner.grown(2) == Window(-4, 10, 8, 7)


@pytest.mark.parametrize("angle_deg", [0.0, 31.0, 180.0])
@pytest.mark.parametrize("position", [(0.0005, -40.0), (150.0, 88.5)])
def test_a_footprint_holds_every_pixel_of_the_image(angle_deg, position):
    """Whatever the rotation, at RA 0 and near the pole, all pixels fall into the window, and it is hardly larger."""
    c, s = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    wcs = tan_wcs(*position, crpix=(200, 150), cd=5e-5 * np.array([[-c, s], [s, c]]))
    tract = Tract(0, position[0], position[1] + 0.3, 0.18, 1000)
    window = footprint_window(wcs, (300, 400), tract_wcs(tract))
    x, y = np.meshgrid(np.arange(-0.5, 400, 20), np.arange(-0.5, 300, 20))
    frame = patch_wcs(tract, window.x0, window.y0)
    u, v = sky_to_pixel(frame, *pixel_to_sky(wcs, x, y))
    assert u.min() >= 1 and v.min() >= 1 and u.max() <= window.nx - 2 and v.max() <= window.ny - 2
    assert u.max() - u.min() > window.nx - 8 - 20 and v.max() - v.min() > window.ny - 8 - 20
