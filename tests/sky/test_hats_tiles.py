"""Tiles of about equal numbers of rows, and the rim around one."""

import hpgeom
import numpy as np
import pytest

from dbpipe.sky import hats_tiles


def test_every_cell_is_in_one_tile_and_no_tile_is_too_full():
    """A crowded and an empty field: tiles of different orders that do not overlap, none fuller than asked."""
    rng = np.random.default_rng(1)
    crowded = (77 << 12) + rng.integers(0, 1 << 12, 500)
    sparse = rng.integers(0, 12 << 20, 200)
    cells = np.unique(np.concatenate([crowded, sparse]))
    n_row = rng.integers(1, 50, len(cells))
    order, pixel = hats_tiles.split_sky(cells, n_row, max_rows=1000)
    assert set(order) <= set(range(hats_tiles.MIN_ORDER, hats_tiles.MAX_ORDER + 1)) and order.max() > order.min()
    assert np.array_equal(cells >> 2 * (hats_tiles.MAX_ORDER - order), pixel)
    rows = {}
    for tile, n in zip(zip(order.tolist(), pixel.tolist(), strict=True), n_row.tolist(), strict=True):
        rows[tile] = rows.get(tile, 0) + n
    assert max(rows.values()) <= 1000
    for o, p in rows:
        assert not any((above, p >> 2 * (o - above)) in rows for above in range(hats_tiles.MIN_ORDER, o))


def test_a_tile_without_new_rows_stays_as_it_is():
    """Rows that come in one tile split that one; every other cell keeps its tile."""
    cells = np.array([1 << 12, (1 << 12) + 5, 900 << 12])
    before = np.stack(hats_tiles.split_sky(cells, [500, 400, 900], max_rows=1000))
    after = np.stack(hats_tiles.split_sky(cells, [500, 600, 900], max_rows=1000))
    assert np.array_equal(before[:, 2], after[:, 2]) and not np.array_equal(before[:, 0], after[:, 0])


@pytest.mark.parametrize("tile", [(4, 0), (4, 255), (4, 1707), (4, 3071), (6, 20_000), (10, 12 << 19)])
def test_whatever_is_near_a_tile_is_on_its_rim(tile):
    """Points within the margin outside of a tile, at its sides, corners and at the poles, are all in its rim pixels."""
    order, pixel = tile
    margin_arcsec = 10.0
    fine = hats_tiles.rim_order(margin_arcsec)
    rim = hats_tiles.find_rim(order, pixel, at_order=fine)
    assert not np.any(rim >> 2 * (fine - order) == pixel)
    rng = np.random.default_rng(pixel)
    ra, dec = hpgeom.boundaries(1 << order, pixel, step=500, nest=True, lonlat=True, degrees=True)
    radius = np.radians(margin_arcsec / 3600.0) * np.sqrt(rng.random(len(ra)))
    angle = rng.uniform(0, 2 * np.pi, len(ra))
    a, d = np.radians(ra), np.radians(dec)
    place = np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    east = np.stack([-np.sin(a), np.cos(a), np.zeros_like(a)])
    place = place + radius * (np.cos(angle) * east + np.sin(angle) * np.cross(place, east, axis=0))
    vector = place / np.linalg.norm(place, axis=0)
    near = hpgeom.vector_to_pixel(1 << fine, *vector, nest=True)
    near = near[near >> 2 * (fine - order) != pixel]
    assert len(near) > 100 and np.isin(near, rim).all()
    assert hats_tiles._width_arcsec(fine) < 4.1 * margin_arcsec


def test_a_margin_as_wide_as_a_tile_is_refused():
    """The rim is made of pixels of the smallest tiles at most."""
    with pytest.raises(ValueError, match="wider"):
        hats_tiles.rim_order(200.0)
