"""The PSF model and its measurement."""

import numpy as np
import pytest
from starfield import moffat_model, moffat_stamp, star_field, star_stamps

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.errors import DataError
from dbpipe.imaging.psf.fit import fit_psf, spatial_degree
from dbpipe.imaging.psf.model import PsfModel, measure_psf


def _gaussian(sigma, size=41, stretch=1.0):
    v, u = np.mgrid[:size, :size] - size // 2
    return np.exp(-0.5 * (u**2 / (sigma * stretch) ** 2 + v**2 / (sigma / stretch) ** 2))


def test_gaussian_is_measured_exactly():
    """For a Gaussian both widths are 2.355 sigma, the effective area is 4 pi sigma^2 and it is round."""
    shape = measure_psf(_gaussian(2.0))
    assert shape.fwhm_pix == pytest.approx(2.0 * FWHM_PER_SIGMA, rel=1e-3)
    assert shape.fwhm_det_pix == pytest.approx(2.0 * FWHM_PER_SIGMA, rel=1e-4)
    assert shape.effective_area_pix == pytest.approx(4.0 * np.pi * 4.0, rel=1e-4)
    assert abs(shape.e1) + abs(shape.e2) < 1e-9


def test_elongated_width_is_the_geometric_mean():
    """Stretching along x by s and squeezing along y by s changes the ellipticity, not the width."""
    shape = measure_psf(_gaussian(2.5, stretch=1.2))
    assert shape.fwhm_pix == pytest.approx(2.5 * FWHM_PER_SIGMA, rel=1e-3)
    assert shape.e1 == pytest.approx((1.2**2 - 1.2**-2) / (1.2**2 + 1.2**-2), rel=1e-3)


def test_shifted_stamp_is_the_psf_seen_by_shifted_pixels():
    """A PSF placed off the pixel center is the one integrated there, to 1.5e-3 of the peak, with all its flux."""
    model = moffat_model(3.0)
    placed = model.placed_at_many([100.37], [200.81])[0]
    truth = moffat_stamp(3.0, dx=0.37, dy=-0.19, size=41)
    assert np.abs(placed - truth / moffat_stamp(3.0, size=41).sum()).max() < 1.5e-3 * truth.max()
    assert placed.sum() == pytest.approx(1.0, abs=1e-3)


def test_psf_is_unit_sum_everywhere():
    """The PSF of a varying model sums to one at every position."""
    rng = np.random.default_rng(1)
    basis = np.stack([_gaussian(2.0), 0.1 * _gaussian(1.0), rng.normal(0, 0.001, (41, 41))])
    model = PsfModel(basis, (100, 200), 1)
    np.testing.assert_allclose(model.at_many([0, 50, 199], [0, 99, 30]).sum(axis=(1, 2)), 1.0, atol=1e-12)


@pytest.fixture(scope="module")
def fitted():
    image, truth = star_field(seed=3, n_star=60, fwhm_pix=4.0, gradient=0.06, flux_range=(2e4, 2e5), sky_e=300.0)
    inside = (np.abs(truth["x"] - 255.5) < 230) & (np.abs(truth["y"] - 255.5) < 230)
    x, y = truth["x"][inside], truth["y"][inside]
    others = [(a, b) for a, b in zip(truth["x"], truth["y"], strict=True)]
    alone = np.array([sum(np.hypot(a - c, b - d) < 30 for c, d in others) == 1 for a, b in zip(x, y, strict=True)])
    stars = star_stamps(image - 300.0, np.maximum(image, 300.0) + 25.0, x[alone], y[alone])
    sigma2 = (4.0 / FWHM_PER_SIGMA) ** 2
    return fit_psf(stars, (sigma2, sigma2, 0.0), shape=image.shape, degree=1), stars


def test_width_is_recovered_across_the_field(fitted):
    """The width follows its change of 6% across the image to a percent."""
    model = fitted[0].model
    for x in (60.0, 255.5, 450.0):
        truth = moffat_stamp(4.0 * (1.0 + 0.06 * (x / 511.0 - 0.5)), size=41)
        assert measure_psf(model.at(x, 255.5)).fwhm_pix == pytest.approx(measure_psf(truth).fwhm_pix, rel=0.008)


def test_model_is_good_to_the_noise(fitted):
    """Bright stars minus the model leave their noise and no more."""
    assert np.median(fitted[0].reduced_chi2) == pytest.approx(1.0, abs=0.15)
    assert fitted[0].is_used.mean() > 0.9


def test_wrong_star_is_dropped(fitted):
    """A blend of two stars among the PSF stars is clipped and does not shift the width."""
    stars = fitted[1]
    spoiled = stars.flux.copy()
    spoiled[0] += np.roll(stars.flux[0], 4, axis=1)
    sigma2 = (4.0 / FWHM_PER_SIGMA) ** 2
    stars = type(stars)(spoiled, stars.inverse_variance, stars.x, stars.y)
    fit = fit_psf(stars, (sigma2, sigma2, 0.0), shape=(512, 512), degree=1)
    assert not fit.is_used[0]
    assert measure_psf(fit.model.at(255, 255)).fwhm_pix == pytest.approx(
        measure_psf(fitted[0].model.at(255, 255)).fwhm_pix, rel=0.004
    )


def test_too_few_stars_are_refused_with_numbers(fitted):
    """Two stars are no PSF."""
    with pytest.raises(DataError, match="too few stars") as error:
        fit_psf(fitted[1].take(slice(0, 2)), (3.0, 3.0, 0.0), shape=(512, 512), degree=0)
    assert error.value.numbers == {"n_star": 2, "n_required": 3}


def test_degree_follows_the_number_of_stars():
    """The spatial polynomial grows with the stars that can carry it."""
    assert [spatial_degree(n, 2) for n in (5, 20, 100)] == [0, 1, 2]
    assert spatial_degree(100, 1) == 1
