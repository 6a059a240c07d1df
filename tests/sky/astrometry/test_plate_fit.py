import numpy as np
import pytest
from scipy.stats import norm

from dbpipe.sky.astrometry.plate_fit import (
    T4_WIDTH_OF_GAUSSIAN,
    Model,
    Pairs,
    _clipped_fit,
    choose_model,
    similar_plate,
)
from dbpipe.sky.astrometry.tansip import Plate
from dbpipe.sky.sphere import deproject

SCALE = 5.5e-5


def linear_plate():
    """Return an undistorted plate, north up and east left."""
    return Plate(53.0, -27.4, (511.5, 511.5), 512.0, SCALE * 512.0 * np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]))


def pairs_of(plate, n_star, *, seed=0, noise_pix=0.02, err_pix=0.0):
    """Return stars whose pixel positions scatter about their places on a plate."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1023, (2, n_star))
    ra, dec = deproject(*plate.plane(x, y).T, ra0=plate.ra, dec0=plate.dec)
    return Pairs(
        x + rng.normal(0, noise_pix, n_star), y + rng.normal(0, noise_pix, n_star), np.full(n_star, err_pix), ra, dec
    )


def test_similarity_is_recovered_exactly():
    """Shift, rotation and scale come back from three perfect stars."""
    turned = linear_plate().turned(1.01 * np.array([[0.8, -0.6], [0.6, 0.8]]))
    truth = turned.corrected(np.array([[1e-3, 0, 0], [-2e-3, 0, 0]]))
    found = similar_plate(linear_plate(), pairs_of(truth, 3, noise_pix=0.0), np.ones(3))
    np.testing.assert_allclose(found.coefficients, truth.coefficients, atol=1e-9)
    np.testing.assert_allclose([found.ra, found.dec], [truth.ra, truth.dec], atol=1e-9)


@pytest.mark.parametrize(
    "distortion_pix, model",
    [({}, Model(1)), ({6: 0.3, 8: 0.3}, Model(1, radial=True)), ({3: 0.2}, Model(2)), ({6: 0.4}, Model(3))],
)
def test_the_model_is_the_one_that_the_sky_needs(distortion_pix, model):
    """No distortion, a radial, a quadratic and a one-sided cubic one are told apart with 150 stars."""
    plate, cubic = linear_plate(), np.zeros((2, 10))
    for term, size in distortion_pix.items():
        cubic[0, term] = -SCALE * size
    if model.radial:
        cubic[1, [7, 9]] = SCALE * 0.3
    truth = plate.corrected(cubic)
    chosen = [choose_model(plate, pairs_of(truth, 150, seed=seed), 3) for seed in range(5)]
    assert sum(fit.model == model for fit in chosen) >= 3
    for fit in chosen:
        assert fit.model.n_parameter >= model.n_parameter


@pytest.mark.parametrize("model", [Model(1), Model(2, radial=True), Model(3)])
def test_held_out_residuals_are_those_of_fits_without_the_star(model):
    """The formula agrees with fitting anew without each star to a ten-thousandth of a pixel."""
    pairs = pairs_of(linear_plate(), 25, seed=4)
    fit = _clipped_fit(linear_plate(), pairs, model)
    assert fit.keep.all()
    for star in (0, 7, 24):
        others = np.arange(25) != star
        without = _clipped_fit(linear_plate(), pairs[others], model)
        np.testing.assert_allclose(fit.held_out_pix[star], pairs[~others].residuals_pix(without.plate)[0], atol=1e-4)


def test_few_stars_do_not_follow_noise():
    """With 12 stars and no distortion the WCS at the corners is as good as the noise allows, for 20 skies."""
    x, y = np.array([0.0, 1023.0, 0.0, 1023.0]), np.array([0.0, 0.0, 1023.0, 1023.0])
    off = []
    for seed in range(20):
        fit = choose_model(linear_plate(), pairs_of(linear_plate(), 12, seed=seed), 5)
        off.append((fit.plate.plane(x, y) - linear_plate().plane(x, y)) / SCALE)
    assert np.sqrt(np.mean(np.square(off))) < 3.0 * 0.02


def test_floor_explains_the_scatter():
    """The errors of the stars come out as their scatter, whatever part of it was known before."""
    for err_pix in (0.0, 0.02, 0.05):
        pairs = pairs_of(linear_plate(), 300, noise_pix=0.05, err_pix=err_pix)
        fit = choose_model(linear_plate(), pairs, 1)
        assert np.median(fit.sigma_pix) == pytest.approx(0.05, rel=0.12)
        assert fit.keep.mean() > 0.99


def test_outliers_are_clipped_and_do_not_pull():
    """A tenth of the stars off by a pixel are dropped, and the fit is that of the others."""
    pairs = pairs_of(linear_plate(), 100)
    off = np.arange(100) % 10 == 0
    moved = Pairs(pairs.x + off, pairs.y, pairs.err_pix, pairs.ra, pairs.dec)
    fit, clean = choose_model(linear_plate(), moved, 1), choose_model(linear_plate(), pairs[~off], 1)
    assert not fit.keep[off].any() and fit.keep[~off].mean() > 0.97
    x, y = np.array([0.0, 1023.0]), np.array([0.0, 1023.0])
    np.testing.assert_allclose(fit.plate.plane(x, y), clean.plate.plane(x, y), atol=0.005 * SCALE)


def test_width_of_t_for_a_gaussian():
    """The constant makes the expected t likelihood of Gaussian numbers stationary."""
    z = norm.ppf((np.arange(200000) + 0.5) / 200000)
    s = T4_WIDTH_OF_GAUSSIAN
    assert np.mean(5.0 * z**2 / (4.0 * s**2 + z**2)) == pytest.approx(1.0, abs=1e-3)
