"""Which detections are one object."""

import numpy as np
import pytest
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from dbpipe.sky.linking import grouping
from dbpipe.sky.linking.grouping import Detections, connect, find_objects, mean_positions
from dbpipe.sky.sphere import deproject, separation_deg, unit_vectors

ARCSEC = 1.0 / 3600.0
SETTINGS = {"radius_arcsec": 1.0, "max_chi2": 25.0, "floor_arcsec": 0.05}


def detections(x, y, err, image, *, ra0=40.0, dec0=-70.0):
    """Detections at offsets [arcsec], with the same error [arcsec] in both coordinates."""
    ra, dec = deproject(np.asarray(x, float) * ARCSEC, np.asarray(y, float) * ARCSEC, ra0=ra0, dec0=dec0)
    variance = (np.broadcast_to(err, np.shape(x)) * ARCSEC) ** 2
    return Detections(ra, dec, variance[:, None, None] * np.eye(2), np.asarray(image, np.int64))


@pytest.mark.parametrize(("ra0", "dec0"), [(0.0, 0.0), (359.9999, 60.0), (10.0, 89.9998), (200.0, -90.0)])
def test_connected_groups_are_those_of_every_pair_compared(ra0, dec0):
    """Chains of neighbors make the groups that comparing all pairs makes, at RA 0 and at the poles too."""
    rng = np.random.default_rng(1)
    ra, dec = deproject(*(rng.uniform(-15, 15, (2, 300)) * ARCSEC), ra0=ra0, dec0=dec0)
    group = connect(ra, dec, radius_arcsec=1.0)
    near = separation_deg(ra[:, None], dec[:, None], ra, dec) <= ARCSEC
    reach = np.linalg.matrix_power(near.astype(float), 2) > 0
    for _ in range(9):
        reach = (reach.astype(float) @ reach) > 0
    assert np.array_equal(group[:, None] == group, reach)
    assert 20 < len(np.unique(group)) < 280


@pytest.mark.parametrize("radius_arcsec", [0.001, 0.05, 1.0, 60.0])
@pytest.mark.parametrize(("ra0", "dec0"), [(0.0, 0.0), (180.0, 0.0), (90.0, 0.0), (45.0, 45.0), (0.0, -90.0)])
def test_connected_groups_are_those_of_a_tree(ra0, dec0, radius_arcsec):
    """At the axes of the cubes, where their numbers step, and for any radius: what a KD-tree finds near is joined."""
    rng = np.random.default_rng(2)
    ra, dec = deproject(*(rng.normal(0, 15 * radius_arcsec, (2, 1000)) * ARCSEC), ra0=ra0, dec0=dec0)
    chord = 2.0 * np.sin(np.radians(radius_arcsec * ARCSEC) / 2.0)
    pairs = KDTree(unit_vectors(ra, dec)).query_pairs(chord, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), np.int8), tuple(pairs.T)), shape=(1000, 1000))
    expected = connected_components(graph, directed=False)[1]
    assert np.array_equal(connect(ra, dec, radius_arcsec=radius_arcsec), expected)
    assert 20 < len(np.unique(expected)) < 900


def test_two_images_of_a_lens_are_two_objects():
    """Sources 0.6 arcsec apart, seen together in good seeing, are kept apart also where only one of them is seen."""
    rng = np.random.default_rng(2)
    x, image, truth = [], [], []
    for k in range(30):
        for source in (0, 1):
            if k % 3 == 0 or rng.random() < 0.6:
                x.append(0.6 * source + 0.06 * rng.normal())
                image.append(k)
                truth.append(source)
    first = find_objects(detections(x, np.zeros(len(x)), 0.06, image), **SETTINGS)
    assert [len(np.unique(np.array(truth)[first == k])) for k in np.unique(first)] == [1, 1]


def test_the_likelihood_decides_and_not_the_distance():
    """A vague detection nearer to one object but beyond its errors' reach of it goes to the one it can be."""
    # precise objects at 0 and 0.8; a detection at 0.35 with an error along x of 0.02 and of 0.2
    positions = [0.0, 0.0, 0.8, 0.8, 0.45]
    d = detections(positions, np.zeros(5), [0.02, 0.02, 0.25, 0.25, 0.02], [1, 2, 1, 2, 3])
    first = find_objects(d, radius_arcsec=1.0, max_chi2=25.0, floor_arcsec=0.05)
    assert first.tolist() == [0, 0, 2, 2, 2]


def test_sources_of_one_image_are_never_one_object():
    """Two detections of one image stay apart however close they are."""
    first = find_objects(detections([0.0, 0.05], [0, 0], 0.1, [7, 7]), **SETTINGS)
    assert first.tolist() == [0, 1]


def test_a_group_too_large_is_taken_apart(monkeypatch):
    """Detections that cover the sky without a gap are grouped within smaller radii, each once."""
    monkeypatch.setattr(grouping, "MAX_GROUP", 50)
    rng = np.random.default_rng(3)
    x, y = rng.uniform(0, 10, (2, 500))
    first = find_objects(detections(x, y, 0.02, np.arange(500)), **SETTINGS)
    assert (first <= np.arange(500)).all() and (first[first] == first).all()
    assert 200 < len(np.unique(first)) <= 500


def test_mean_positions_have_the_errors_they_claim():
    """The weighted mean of ten detections is off by its error, and chi2 has its degrees of freedom, anywhere."""
    rng = np.random.default_rng(4)
    n, m = 400, 10
    err = np.tile(rng.uniform(0.02, 0.2, m), n)
    shift = np.repeat(np.arange(n) * 5.0, m)
    x, y = shift + err * rng.normal(size=n * m), err * rng.normal(size=n * m)
    d = detections(x, y, err, np.tile(np.arange(m), n), dec0=89.5)
    origin, mean = mean_positions(d, np.repeat(np.arange(n) * m, m))
    ra, dec = deproject(np.arange(n) * 5.0 * ARCSEC, np.zeros(n), ra0=40.0, dec0=89.5)
    pull2 = (separation_deg(ra, dec, mean.ra, mean.dec) ** 2) / mean.covariance[:, 0, 0]
    assert origin.tolist() == list(range(0, n * m, m))
    assert pull2.mean() == pytest.approx(2.0, abs=0.3)
    assert mean.chi2.mean() == pytest.approx(2 * (m - 1), abs=0.9)
