import numpy as np

from dbpipe.sky.matching import match_points, match_sky


def test_pairs_are_mutual_nearest_neighbors():
    """The pairs are those of a search over all distances, and no point is used twice."""
    rng = np.random.default_rng(5)
    a, b = rng.uniform(0, 100, (200, 2)), rng.uniform(0, 100, (300, 2))
    i, j = match_points(a, b, radius=3.0)
    distance = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1))
    mutual = (distance.argmin(axis=1)[:, None] == np.arange(300)) & (distance.argmin(axis=0) == np.arange(200)[:, None])
    expected = np.nonzero(mutual & (distance <= 3.0))
    np.testing.assert_array_equal(i, expected[0])
    np.testing.assert_array_equal(j, expected[1])


def test_what_is_not_there_has_no_pair():
    """Empty lists and unknown positions match nothing."""
    point = np.array([[1.0, 1.0]])
    for a, b in ((np.zeros((0, 2)), point), (point, np.zeros((0, 2))), (point * np.nan, point), (point + 9, point)):
        assert [len(k) for k in match_points(a, b, radius=1.0)] == [0, 0]


def test_sky_matches_across_the_wrap_and_at_the_pole():
    """One arcsecond is one arcsecond at RA 0 and at the pole."""
    i, j = match_sky(
        [359.9999, 10.0, 5.0], [0.0, 89.9999, 0.0], [0.0001, 190.0, 5.0], [0.0, 89.9999, 0.001], radius_arcsec=1.0
    )
    assert i.tolist() == j.tolist() == [0, 1]
