"""Fluxes and the zero point."""

import numpy as np
import pytest
from starfield import moffat_model, star_field

from dbpipe.constants import flux_njy
from dbpipe.errors import DataError
from dbpipe.imaging.measure.photometry import (
    aperture_fluxes,
    debias_fitted_flux,
    depth_5sigma_mag,
    fit_aperture_correction,
    fit_psf_fluxes,
    fit_zero_point,
)


def _fluxes(image, truth, sky_e):
    model = moffat_model(4.0, shape=image.shape)
    unusable = np.zeros(image.shape, bool)
    variance = np.full(image.shape, sky_e + 25.0, np.float32)
    stamps = model.placed_at_many(truth["x"], truth["y"])
    return fit_psf_fluxes(image - sky_e, variance, unusable, x=truth["x"], y=truth["y"], stamps=stamps)


def test_psf_fluxes_of_a_crowded_field_have_unit_pulls():
    """Known positions, 250 overlapping stars, sky-limited: pulls are N(0, 1) and neighbors do not add."""
    image, truth = star_field(seed=11, shape=(300, 300), n_star=250, sky_e=4000.0, flux_range=(1e3, 4e3))
    result = _fluxes(image, truth, 4000.0)
    pull = (result.flux - truth["flux"]) / result.flux_err
    inside = (np.abs(truth["x"] - 150) < 140) & (np.abs(truth["y"] - 150) < 140)
    assert np.median(pull[inside]) == pytest.approx(0.0, abs=0.2)
    assert 1.4826 * np.median(np.abs(pull[inside])) == pytest.approx(1.0, abs=0.25)


def test_image_minus_its_sources_is_sky():
    """What the fitted sources leave has the noise of the sky."""
    image, truth = star_field(seed=12, shape=(300, 300), n_star=30, sky_e=1000.0, flux_range=(1e3, 1e4))
    assert _fluxes(image, truth, 1000.0).residual.std() == pytest.approx(np.sqrt(1025.0), rel=0.03)


def test_masked_source_has_no_flux():
    """A source whose core is masked is unmeasured, not zero."""
    image = np.zeros((100, 100), np.float32)
    unusable = np.zeros(image.shape, bool)
    unusable[40:60, 40:60] = True
    stamps = moffat_model(4.0).placed_at_many([50.0], [50.0])
    result = fit_psf_fluxes(image, image + 1, unusable, x=np.array([50.0]), y=np.array([50.0]), stamps=stamps)
    assert np.isnan(result.flux[0])


def test_flux_at_a_fitted_position_is_debiased():
    """Choosing the position by the flux adds 1/SN^2; the correction takes just that out."""
    np.testing.assert_allclose(debias_fitted_flux(np.array([10.0, 2.0]), np.ones(2)), [10.0 * 0.99, 2.0])


def test_aperture_correction_makes_fluxes_agree():
    """Aperture flux times its correction is the PSF flux."""
    image, truth = star_field(seed=13, n_star=15, sky_e=200.0, flux_range=(5e4, 2e5))
    psf_flux = _fluxes(image, truth, 200.0).flux
    variance, unusable = np.full(image.shape, 225.0), np.zeros(image.shape, bool)
    flux, flux_err = aperture_fluxes(image - 200.0, variance, unusable, x=truth["x"], y=truth["y"], radius_pix=6.0)
    correction = fit_aperture_correction(psf_flux, flux)
    assert correction == pytest.approx(1.06, abs=0.03)
    assert np.median(flux_err) == pytest.approx(np.sqrt(225.0 * np.pi * 36.0), rel=0.02)


def test_zero_point_survives_outliers_with_an_honest_error():
    """With a tenth of variables the factor is right within its error: pulls over many fields have unit width."""
    rng = np.random.default_rng(14)
    pulls = []
    for _ in range(60):
        magnitude = rng.uniform(17, 21, 80)
        flux = flux_njy(magnitude) / 1.7
        flux_err = 0.002 * flux + 20.0
        measured = flux + rng.normal(0, flux_err)
        measured[:8] *= 1.5
        fit = fit_zero_point(measured, flux_err, magnitude + rng.normal(0, 0.01, 80))
        pulls.append((fit.njy_per_e - 1.7) / fit.njy_per_e_err)
    assert np.mean(pulls) == pytest.approx(0.0, abs=0.4)
    assert np.std(pulls) == pytest.approx(1.1, abs=0.25)


def test_two_stars_are_no_zero_point():
    """Fewer than three stars are refused with their number."""
    with pytest.raises(DataError) as error:
        fit_zero_point(np.array([1.0, 2.0]), np.ones(2), np.array([20.0, 19.0]))
    assert error.value.numbers == {"n_star": 2, "n_required": 3}


def test_depth_is_five_times_the_noise_of_a_psf_flux():
    """Noise of 10 e- over 64 effective pixels at 2 nJy/e- makes 800 nJy at five sigma."""
    assert depth_5sigma_mag(10.0, 64.0, 2.0) == pytest.approx(31.4 - 2.5 * np.log10(800.0))
