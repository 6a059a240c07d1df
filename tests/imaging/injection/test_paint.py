"""Sources of known flux: their light, their noise, their error, and where they are put."""

import numpy as np
import pytest
from point_sources import gaussian_psf

from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.injection.paint import (
    add_point_sources,
    draw_snr,
    match_places,
    paint_point_sources,
    predict_flux_err,
    spread_places,
)
from dbpipe.imaging.mask import BAD
from dbpipe.imaging.psf.model import PsfModel

FWHM, SHAPE, SIGMA = 4.0, (90, 120), 25.0
PSF = PsfModel((gaussian_psf(31, FWHM) / gaussian_psf(31, FWHM).sum())[None], SHAPE, 0)
FIELD = KernelField(PSF.basis[None].astype(np.float32), 10**6)
X, Y, FLUX = np.array([30.0, 75.37, 100.5]), np.array([40.0, 30.81, 70.5]), np.array([8e4, 5e4, 2e4])


def inject(image, mask, seed=1):
    return add_point_sources(image, mask, psf=PSF, x=X, y=Y, flux=FLUX, rng=np.random.default_rng(seed))


def test_light_is_the_psf_at_a_fraction_of_a_pixel():
    """Painted light has the flux, the place and the shape of an analytic PSF that is moved, to 0.1% of its peak."""
    light = paint_point_sources(SHAPE, psf=PSF, x=X[1:2], y=Y[1:2], flux=FLUX[1:2])
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    assert light.sum() == pytest.approx(FLUX[1], rel=1e-4)
    assert (light * u).sum() / light.sum() == pytest.approx(X[1], abs=1e-3)
    assert (light * v).sum() / light.sum() == pytest.approx(Y[1], abs=1e-3)
    exact = FLUX[1] * gaussian_psf(31, FWHM, 0.37, -0.19)
    np.testing.assert_allclose(light[31 - 15 : 31 + 16, 75 - 15 : 75 + 16], exact, atol=1e-3 * exact.max())


def test_light_beyond_the_edge_is_lost():
    """A source in the corner gives the image a quarter of its light, and a bit more for its central pixel."""
    light = paint_point_sources(SHAPE, psf=PSF, x=[0.0], y=[0.0], flux=[1.0])
    assert light.shape == SHAPE
    assert 0.25 < light.sum() < 0.45


def test_what_is_added_is_the_psf_times_flux_with_poisson_noise():
    """Injected minus original has the flux put in, and differs from PSF times flux by Poisson noise: pulls N(0, 1)."""
    image = np.random.default_rng(5).normal(0.0, SIGMA, SHAPE).astype(np.float32)
    mask = np.zeros(SHAPE, np.uint16)
    added = (inject(image, mask) - image).astype(float)
    assert added.sum() == pytest.approx(FLUX.sum(), abs=4 * np.sqrt(FLUX.sum()))
    expected = paint_point_sources(SHAPE, psf=PSF, x=X, y=Y, flux=FLUX)
    bright = expected > 10.0
    pull = (added - expected)[bright] / np.sqrt(expected[bright])
    assert bright.sum() > 300
    assert pull.mean() == pytest.approx(0.0, abs=4 / np.sqrt(pull.size))
    assert pull.std() == pytest.approx(1.0, abs=4 / np.sqrt(2 * pull.size))
    assert np.abs(added[expected < 1e-6]).max() < 1e-3


def test_the_same_seed_gives_the_same_pixels():
    """The original is not touched; a seed fixes every photon, and another seed gives others."""
    image, mask = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.uint16)
    np.testing.assert_array_equal(inject(image, mask), inject(image, mask))
    assert (inject(image, mask) != inject(image, mask, seed=2)).any()
    assert not image.any()


def test_unusable_pixels_stay_as_they_are():
    """No light is added to a pixel whose value means nothing."""
    image, mask = np.full(SHAPE, 7.0, np.float32), np.zeros(SHAPE, np.uint16)
    mask[38:42, :] = BAD
    added = inject(image, mask) - image
    assert not added[38:42].any() and added[42, 30] > 0


def test_predicted_errors_are_those_of_the_optimal_flux():
    """In white noise the error is sigma over the norm of the PSF; light of its own and lost pixels raise it."""
    variance, mask = np.full(SHAPE, SIGMA**2, np.float32), np.zeros(SHAPE, np.uint16)
    mask[65:76, 95:106] = BAD
    mask[:, 74:76] = BAD
    at = {"psf_field": FIELD, "x": X, "y": Y}
    err = predict_flux_err(variance, mask, **at)
    alone = SIGMA / np.sqrt(np.sum(PSF.basis**2))
    assert err[0] == pytest.approx(alone, rel=1e-4)
    assert err[1] > 1.1 * alone and err[2] > 10 * alone
    light = paint_point_sources(SHAPE, psf=PSF, x=X, y=Y, flux=FLUX)
    own = predict_flux_err(variance, mask, light=light, **at)
    assert np.all(own > err) and own[0] > np.sqrt(FLUX[0])
    assert np.isinf(predict_flux_err(variance, np.full(SHAPE, BAD, np.uint16), **at)).all()


def test_snr_is_dense_where_it_is_wanted():
    """All values are in the wide range, and the narrow one has its part and what the wide one adds."""
    snr = draw_snr(np.random.default_rng(1), 4000, snr_range=(2, 20), dense_range=(3, 8), dense_fraction=0.6)
    assert snr.min() >= 2 and snr.max() <= 20
    assert np.mean((snr > 3) & (snr < 8)) == pytest.approx(0.6 + 0.4 * 5 / 18, abs=0.03)


def test_places_keep_their_distance():
    """The rare kind is served first, none gets more than it wants, and no two places are closer than asked."""
    rng = np.random.default_rng(2)
    candidates = {"star": rng.random((40, 2)) * 300, "blank": rng.random((4000, 2)) * 300}
    kind, place = spread_places(candidates, {"star": 5, "blank": 1000}, separation_pix=20.0)
    distance = np.hypot(*(place[:, None] - place).T) + 1e3 * np.eye(len(place))
    assert distance.min() >= 20.0
    assert np.sum(kind == "star") == 5 and 80 < np.sum(kind == "blank") < 200


def test_no_candidate_is_no_place():
    """Kinds without a candidate are left out, and nothing at all is an empty list."""
    kind, place = spread_places({"star": np.empty((0, 2))}, {"star": 3}, separation_pix=5.0)
    assert len(kind) == 0 and place.shape == (0, 2)


def test_the_nearest_point_within_the_radius_matches():
    """Each place gets the index of its nearest point, or -1."""
    place = np.array([[0.0, 0.0], [10.0, 0.0], [50.0, 50.0]])
    assert match_places(place, [1.0, 0.2, 9.0], [0.0, 0.0, 0.5], radius_pix=2.0).tolist() == [1, 2, -1]
    assert match_places(place, [], [], radius_pix=2.0).tolist() == [-1, -1, -1]
