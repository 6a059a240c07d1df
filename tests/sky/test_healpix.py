import numpy as np
import pytest
from astropy import units as u

from dbpipe.sky.healpix import hpx29


def test_index_is_int64_and_fits_order_29():
    """Indices are signed 64-bit and below 12 x 4^29, over the whole sky and the RA wrap."""
    index = hpx29(np.array([0.0, 359.9999, 360.0, -1.0, 53.0]), np.array([90.0, -90.0, 0.0, 0.0, -27.4]))
    assert index.dtype == np.int64
    assert np.all((index >= 0) & (index < 12 * 4**29))
    assert hpx29(360.0, 0.0) == hpx29(0.0, 0.0) and hpx29(-1.0, 0.0) == hpx29(359.0, 0.0)
    assert hpx29(np.zeros(0), np.zeros(0)).shape == (0,)


def test_neighbors_share_a_coarse_pixel():
    """Two points a milli-arcsecond apart share the order-20 parent, the first bits of the nested index."""
    assert hpx29(53.01, -27.44) >> 18 == hpx29(53.01 + 3e-7, -27.44) >> 18


def test_agrees_with_astropy_healpix():
    """The index is that of an independent library."""
    astropy_healpix = pytest.importorskip("astropy_healpix", reason="astropy_healpix is not installed")
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 500), np.degrees(np.arcsin(rng.uniform(-1, 1, 500)))
    expected = astropy_healpix.HEALPix(1 << 29, order="nested").lonlat_to_healpix(ra * u.deg, dec * u.deg)
    assert np.array_equal(hpx29(ra, dec), expected)


@pytest.mark.parametrize("ra, dec", [(np.nan, 0.0), (10.0, 90.1), (np.inf, 0.0)])
def test_what_is_no_direction_is_refused(ra, dec):
    """A direction that does not exist has no index."""
    with pytest.raises(ValueError, match="finite"):
        hpx29(ra, dec)
