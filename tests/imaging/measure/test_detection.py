"""Sources on a single exposure."""

import numpy as np
from scipy.spatial import KDTree
from starfield import moffat_stamp

from dbpipe.imaging.measure.detection import detect_sources


def test_bright_stars_of_a_crowded_field_are_found():
    """Where half of the image is one blend, every bright star that stands apart from brighter ones is still found."""
    rng = np.random.default_rng(3)
    n_star, fwhm_pix, size = 2500, 4.5, 400
    x, y = rng.integers(20, size - 20, (2, n_star))
    flux = 10_000.0 * rng.pareto(1.0, n_star).clip(0.1, 200.0)
    image = rng.normal(0.0, 50.0, (size, size))
    stamp = moffat_stamp(fwhm_pix, size=41)
    for x0, y0, f in zip(x, y, flux, strict=True):
        image[y0 - 20 : y0 + 21, x0 - 20 : x0 + 21] += f * stamp
    variance = np.full(image.shape, 2500.0)
    found = detect_sources(image.astype(np.float32), variance, np.zeros(image.shape, bool))
    assert found.footprints.mean() > 0.3
    places = np.column_stack([x, y])
    near = KDTree(places).query_ball_point(places, 2.0 * fwhm_pix)
    alone = [
        k for k, others in enumerate(near) if flux[k] > 50_000.0 and flux[k] > 3.0 * (flux[others].sum() - flux[k])
    ]
    assert len(alone) > 50
    distance, _ = KDTree(np.column_stack([found.x, found.y])).query(places[alone])
    assert np.mean(distance < 1.5) > 0.97
