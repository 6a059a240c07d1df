"""The level at which stars are cut off, from their flat tops."""

import numpy as np
import pytest
from flat_tops import READ_NOISE_E, SKY_E, expose, make_image
from hypothesis import given, settings
from hypothesis import strategies as st

from dbpipe.imaging.clean.defects import grow_saturated
from dbpipe.imaging.clean.plateau import find_plateau

NOISE_E = float(np.hypot(np.sqrt(SKY_E), READ_NOISE_E))
LEVEL_E = 20_000.0


def find(image, *, sky_e=SKY_E, noise_e=NOISE_E, described_e=np.inf):
    """Look for a plateau below the described level."""
    known = grow_saturated(image >= described_e, "none")
    return find_plateau(image.astype(np.float32), known, sky_e=sky_e, noise_e=noise_e)


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.floats(1.0, 20.0),
    st.sampled_from([{}, {"trail_pix": 12.0}, {"disk_pix": 8.0}, {"n_star": 150}, {"n_star": 2, "n_galaxy": 0}]),
)
def test_what_is_not_cut_off_has_no_plateau(seed, fwhm_pix, kind):
    """No level is found among stars of any width, trailed, out of focus, crowded or few, and galaxies."""
    assert find(expose(make_image(seed, fwhm_pix=fwhm_pix, size=120, **kind), seed)) is None


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_noise_has_no_plateau(seed):
    """Blank sky, and blank sky of one value."""
    assert find(expose(np.full((100, 100), SKY_E), seed)) is None
    assert find(np.full((100, 100), SKY_E)) is None


def bright(seed, *, fwhm_pix=4.0):
    """Return the expected electrons of a field with stars far above the level."""
    return make_image(seed, fwhm_pix=fwhm_pix, n_star=25, n_galaxy=5, peak=(1e3, 1e6), size=200)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(2.0, 10.0), st.floats(5e3, 1e5))
def test_a_cut_is_found_at_its_level(seed, fwhm_pix, level_e):
    """Wherever a converter ends, that is the level, and every pixel of the tops is beyond the lowest value."""
    image = np.minimum(expose(bright(seed, fwhm_pix=fwhm_pix), seed), level_e)
    found = find(image)
    assert found.level_e == pytest.approx(level_e, rel=0.01)
    assert found.lowest_e <= level_e and found.n_pix >= np.count_nonzero(image >= level_e)
    assert found.lowest_e > 0.9 * level_e


@pytest.mark.parametrize("seed", range(5))
def test_the_level_may_be_in_any_unit_and_without_the_sky(seed):
    """Counts per second from which an uneven sky was subtracted."""
    sky = SKY_E * np.linspace(0.97, 1.03, 200)
    image = (np.minimum(expose(bright(seed), seed), LEVEL_E) - sky) / 30.0
    found = find(image, sky_e=0.0, noise_e=NOISE_E / 30.0)
    assert found.level_e == pytest.approx((LEVEL_E - SKY_E) / 30.0, rel=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_the_tops_of_a_stack_slope_and_are_found(seed):
    """Frames that were cut off before their different skies were subtracted make tops that are nearly flat."""
    expected = bright(seed)
    frames = [
        np.minimum(expose(expected + extra, seed + k), LEVEL_E) - SKY_E - extra
        for k, extra in enumerate((-100, 0, 100, 200, 300))
    ]
    found = find(np.mean(frames, axis=0), sky_e=0.0, noise_e=NOISE_E / np.sqrt(5))
    assert found.level_e == pytest.approx(LEVEL_E - SKY_E - 100, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_a_flat_field_may_have_been_divided_out(seed):
    """The level then differs by some percent over the image; no pixel of it is missed by more than that."""
    flat = (1.0 - 0.04 * np.linspace(-1, 1, 200)[:, None] ** 2) * np.ones(200)
    flat *= np.random.default_rng(seed).normal(1.0, 0.004, flat.shape)
    found = find(np.minimum(expose(bright(seed), seed), LEVEL_E) / flat)
    assert found.level_e == pytest.approx(LEVEL_E, rel=0.05) and found.lowest_e < 1.0 * LEVEL_E


@pytest.mark.parametrize("seed", range(5))
def test_of_two_amplifiers_the_lower_level_is_found(seed):
    """Each half of the detector ends at its own level: pixels from the lower one on are not to be trusted."""
    image = expose(bright(seed), seed)
    image[:, :100] = np.minimum(image[:, :100], LEVEL_E)
    image[:, 100:] = np.minimum(image[:, 100:], 1.3 * LEVEL_E)
    assert find(image).lowest_e < LEVEL_E


@pytest.mark.parametrize("seed", range(5))
def test_a_level_that_is_described_right_is_not_found_again(seed):
    """What the description calls saturated is known; what is left has no flat top."""
    assert find(np.minimum(expose(bright(seed), seed), LEVEL_E), described_e=LEVEL_E) is None
