"""The depth of a difference image, foretold."""

import numpy as np
import pytest
from pair import blank_pixels, make_pair, subtract_pair

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.imaging.stack.depth import gaussian_axes, inverse_power, predict_flux_errs


def predict(science_sigma_pix, science_noise, *, input_sigma_pix, input_noise, weight):
    """The error of a flux with round Gaussian PSFs."""
    share = np.asarray(weight) / np.sum(weight)
    template = (np.square(share * input_noise)[:, None] * inverse_power(input_sigma_pix, input_sigma_pix)).sum(axis=0)
    science = inverse_power([science_sigma_pix], [science_sigma_pix])
    return predict_flux_errs([science_noise], science, template[None])[0]


def test_a_perfect_template_leaves_the_noise_of_the_science_image():
    """Without noise in the template the error is that of a PSF flux: noise times sqrt(4 pi sigma^2)."""
    error = predict(2.0, 10.0, input_sigma_pix=[1.8], input_noise=[1e-6], weight=[1.0])
    assert error == pytest.approx(10.0 * np.sqrt(4 * np.pi * 4.0), rel=1e-3)


def test_equal_psfs_add_their_noise_in_quadrature():
    """Two images of one PSF are subtracted pixel by pixel: the variances add, and n inputs divide theirs by n."""
    error = predict(2.0, 3.0, input_sigma_pix=[2.0] * 4, input_noise=[8.0] * 4, weight=[1.0] * 4)
    assert error == pytest.approx(5.0 * np.sqrt(4 * np.pi * 4.0), rel=1e-3)


def test_a_blurred_input_costs_depth():
    """At equal noise and weight, a template from worse seeing gives a larger error; the scale of weights is nothing."""
    errors = [
        predict(2.0, 5.0, input_sigma_pix=[s], input_noise=[3.0], weight=[w])
        for s, w in ((1.6, 1.0), (2.0, 7.0), (2.6, 0.1))
    ]
    assert errors[0] < errors[1] < errors[2]


def test_the_integral_is_that_of_a_fine_grid():
    """64 nodes agree with the plain sum over two dimensions of frequency, elongated PSFs and all, to 0.1%."""
    k = (np.arange(400) + 0.5) / 400 * np.pi
    kx, ky = np.meshgrid(np.concatenate([-k[::-1], k]), np.concatenate([-k[::-1], k]))
    inside = np.hypot(kx, ky) < np.pi
    science, long, short = 1.9, 2.0, 1.6
    matched = 9.0 * np.exp((kx * long) ** 2 + (ky * short) ** 2)
    # the template's power is averaged over direction: the science image turns against its inputs
    radius = np.hypot(kx, ky)
    angle = np.linspace(0, np.pi, 181)[:-1]
    ring = np.linspace(0, np.pi, 500)
    mean = np.exp((ring[:, None] * long * np.cos(angle)) ** 2 + (ring[:, None] * short * np.sin(angle)) ** 2).mean(
        axis=1
    )
    averaged = 9.0 * np.interp(radius, ring, mean)
    for power in (averaged, matched):
        noise = 16.0 * np.exp(radius**2 * science**2) + power
        plain = 1.0 / np.sqrt(np.sum(1.0 / noise[inside]) * (k[1] - k[0]) ** 2 / (2.0 * np.pi) ** 2)
        got = predict_flux_errs([4.0], inverse_power([science], [science]), 9.0 * inverse_power([long], [short]))[0]
        assert got == pytest.approx(plain, rel=1e-3 if power is averaged else 1e-2)


def test_the_axes_keep_area_and_ellipticity():
    """The Gaussian has the effective area and the ellipticity that it was made from."""
    long, short = gaussian_axes([40.0], [0.2])
    assert 4 * np.pi * long[0] * short[0] == pytest.approx(40.0)
    assert (long[0] ** 2 - short[0] ** 2) / (long[0] ** 2 + short[0] ** 2) == pytest.approx(0.2)


def test_wide_psfs_do_not_overflow():
    """An input of 40 pix is worth nothing, without a warning."""
    error = predict(2.0, 3.0, input_sigma_pix=[17.0], input_noise=[3.0], weight=[1.0])
    assert np.isfinite(error) and error > 100


@pytest.mark.parametrize(("science_fwhm", "template_fwhm"), [(5.6, 4.85), (4.2, 4.85)])
def test_the_prediction_is_what_a_subtraction_reaches(science_fwhm, template_fwhm):
    """The predicted flux error is that of the score image of a simulated pair, to 5%."""
    n_input = 3
    pair = make_pair(science_fwhm, template_fwhm, size=600, n_input=n_input)
    _, score = subtract_pair(pair)
    reached = np.median(score.flux_err[blank_pixels(pair)])
    # PSFs are Gaussians integrated over pixels
    sigma, sigma_in = (np.sqrt((f / FWHM_PER_SIGMA) ** 2 + 1 / 12) for f in (science_fwhm, 0.85 * template_fwhm))
    predicted = predict(
        sigma,
        np.sqrt(800.0),
        input_sigma_pix=np.full(n_input, sigma_in),
        input_noise=np.full(n_input, np.sqrt(800.0)),
        weight=np.ones(n_input),
    )
    assert reached == pytest.approx(predicted, rel=0.05)
