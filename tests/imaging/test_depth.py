"""The depth of a difference image, foretold."""

import numpy as np
import pytest
from imaging.pair import blank_pixels, make_pair, subtract_pair

from dbpipe.imaging.depth import predict_flux_err
from dbpipe.units import FWHM_PER_SIGMA


def test_a_perfect_template_leaves_the_noise_of_the_science_image():
    """Without noise in the template the error is that of a PSF flux: noise times sqrt(4 pi sigma^2)."""
    error = predict_flux_err(2.0, 10.0, input_sigma_pix=[1.8], input_noise=[1e-6], weight=[1.0])
    assert error == pytest.approx(10.0 * np.sqrt(4 * np.pi * 4.0), rel=1e-3)


def test_equal_psfs_add_their_noise_in_quadrature():
    """Two images of one PSF are subtracted pixel by pixel: the variances add, and n inputs divide theirs by n."""
    error = predict_flux_err(2.0, 3.0, input_sigma_pix=[2.0] * 4, input_noise=[8.0] * 4, weight=[1.0] * 4)
    assert error == pytest.approx(5.0 * np.sqrt(4 * np.pi * 4.0), rel=1e-3)


def test_a_blurred_input_costs_depth():
    """At equal noise and weight, a template from worse seeing gives a larger error; the scale of weights is nothing."""
    errors = [
        predict_flux_err(2.0, 5.0, input_sigma_pix=[s], input_noise=[3.0], weight=[w])
        for s, w in ((1.6, 1.0), (2.0, 7.0), (2.6, 0.1))
    ]
    assert errors[0] < errors[1] < errors[2]


def test_without_inputs_there_is_no_depth():
    """An empty template has an infinite error."""
    assert predict_flux_err(2.0, 5.0, input_sigma_pix=[], input_noise=[], weight=[]) == np.inf


@pytest.mark.parametrize(("science_fwhm", "template_fwhm"), [(5.6, 4.85), (4.2, 4.85)])
def test_the_prediction_is_what_a_subtraction_reaches(science_fwhm, template_fwhm):
    """The predicted flux error is that of the score image of a simulated pair, to 5%."""
    n_input = 3
    pair = make_pair(science_fwhm, template_fwhm, size=600, n_input=n_input)
    _, score = subtract_pair(pair)
    reached = np.median(score.flux_err[blank_pixels(pair)])
    # PSFs are Gaussians integrated over pixels
    sigma, sigma_in = (np.sqrt((f / FWHM_PER_SIGMA) ** 2 + 1 / 12) for f in (science_fwhm, 0.85 * template_fwhm))
    predicted = predict_flux_err(
        sigma,
        np.sqrt(800.0),
        input_sigma_pix=np.full(n_input, sigma_in),
        input_noise=np.full(n_input, np.sqrt(800.0)),
        weight=np.ones(n_input),
    )
    assert reached == pytest.approx(predicted, rel=0.05)
