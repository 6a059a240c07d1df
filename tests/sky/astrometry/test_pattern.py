import numpy as np
import pytest

from dbpipe.errors import DataError
from dbpipe.sky.astrometry.pattern import match_pattern

SHAPES = {"small": (512, 512), "middle": (1024, 1024), "large": (4000, 4072)}


def star_field(seed, n_star, shape, *, fraction_lost, matrix, offset):
    """Return detected and reference stars of which a fraction is lost in each list and replaced by others."""
    rng = np.random.default_rng(seed)
    size = np.array(shape[::-1], float)
    mag = 20.0 + 4.0 * np.log10(rng.uniform(0.001, 1.0, n_star))
    place = rng.uniform(0.0, 1.0, (n_star, 2)) * size
    n_lost = int(n_star * fraction_lost)
    lists = []
    for _ in range(2):
        seen = rng.permutation(n_star)[n_lost:]
        xy = np.concatenate([place[seen], rng.uniform(0.0, 1.0, (n_lost, 2)) * size])
        lists.append((xy, np.concatenate([mag[seen], rng.choice(mag, n_lost)])))
    (source, source_mag), (true_reference, reference_mag) = lists
    center = (size - 1.0) / 2.0
    reference = (true_reference - center) @ matrix.T + center + offset + rng.normal(0.0, 0.3, true_reference.shape)
    flux = 10.0 ** (-0.4 * (source_mag + rng.normal(0.0, 0.3, n_star)))
    return source, reference, flux, reference_mag


def turn(angle_deg, *, scale=1.0, mirror=1.0):
    """Return the matrix of a rotation, scale and mirror image."""
    a = np.radians(angle_deg)
    return scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) @ np.diag([1.0, mirror])


@pytest.mark.parametrize(
    "n_star, size, fraction_lost",
    [(15, "middle", 0.3), (60, "middle", 0.5), (1000, "small", 0.5), (400, "large", 0.5), (3000, "small", 0.2)],
)
@pytest.mark.parametrize(
    "matrix",
    [
        turn(0.0),
        turn(1.5),
        turn(-2.0, scale=1.02),
        turn(1.0, scale=0.98, mirror=-1.0),
        turn(180.0),
        turn(91.0, mirror=-1.0),
    ],
    ids=["header", "turned", "scaled", "mirrored", "upside down", "transposed"],
)
def test_the_true_map_is_found(n_star, size, fraction_lost, matrix):
    """Sparse and crowded fields are matched through 86 px, two degrees, 2 % of scale and either parity."""
    shape, offset = SHAPES[size], np.array([50.0, -70.0])
    field = star_field(n_star, n_star, shape, fraction_lost=fraction_lost, matrix=matrix, offset=offset)
    source, reference, flux, mag = field
    found = match_pattern(source, reference, shape, flux=flux, mag=mag, max_offset_pix=100.0)
    center = (np.array(shape[::-1]) - 1.0) / 2.0
    expected = (source - center) @ matrix.T + center + offset
    assert np.abs(source @ found.matrix.T + found.shift - expected).max() < 2.0
    assert found.n_match > 0.6 * n_star * (1.0 - fraction_lost) ** 2
    distance = np.hypot(*(expected[found.source_index] - reference[found.reference_index]).T)
    assert np.median(distance) < 0.8


@pytest.mark.parametrize("n_star", [5, 15, 100, 1000])
def test_unrelated_fields_do_not_match(n_star):
    """Two random fields are refused, and the numbers say what was found and what chance gives."""
    rng = np.random.default_rng(n_star)
    source, reference = rng.uniform(0.0, 512.0, (2, n_star, 2))
    flux, mag = rng.uniform(size=(2, n_star))
    with pytest.raises(DataError, match="astrometric match failed") as caught:
        match_pattern(source, reference, (512, 512), flux=flux, mag=mag, max_offset_pix=100.0)
    assert caught.value.numbers["n_source"] == n_star
    assert caught.value.numbers["best_n_match"] < max(10, 2 * caught.value.numbers["expected_by_chance"] + 10)


def test_nothing_matches_nothing():
    """An empty list is a failed match, not a crash."""
    none, some = np.zeros((0, 2)), np.random.default_rng(0).uniform(0, 512, (20, 2))
    for source, reference in ((none, some), (some, none)):
        with pytest.raises(DataError, match="failed"):
            match_pattern(
                source,
                reference,
                (512, 512),
                flux=np.ones(len(source)),
                mag=np.ones(len(reference)),
                max_offset_pix=50.0,
            )


def test_three_stars_are_enough_where_the_header_is_good():
    """A nearly empty field is matched by three stars if the header is off by a few pixels only."""
    source = np.array([[100.0, 100.0], [800.0, 300.0], [400.0, 900.0], [20.0, 700.0]])
    reference = np.concatenate([source[:3] + [4.0, -3.0], [[600.0, 600.0]]])
    found = match_pattern(source, reference, (1024, 1024), flux=np.ones(4), mag=np.ones(4), max_offset_pix=100.0)
    assert found.source_index.tolist() == found.reference_index.tolist() == [0, 1, 2]
