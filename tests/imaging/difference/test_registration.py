"""The dipoles that misplaced stars leave."""

import numpy as np
import pytest
from point_sources import add_source, gaussian_psf, noise_image

from dbpipe.imaging.convolve import KernelField
from dbpipe.imaging.difference.registration import Shifts, measure_shifts, register

FWHM, SIGMA, SHAPE = 4.2, 10.0, (400, 400)
FIELD = KernelField(gaussian_psf(31, FWHM)[None, None].astype(np.float32), 10**6)
FLUX = 2e5


def difference_of(shift_x, shift_y, *, seed=1):
    """Stars on a difference image whose science side is displaced, and where they are on it."""
    rng = np.random.default_rng(seed)
    difference, variance, mask = noise_image(rng, SHAPE, SIGMA)
    x, y = (g.ravel() + rng.uniform(-0.5, 0.5, g.size) for g in np.meshgrid(*[np.arange(40.0, 380.0, 40.0)] * 2))
    for u, v, dx, dy in zip(x, y, shift_x + 0 * x, shift_y + 0 * x, strict=True):
        add_source(difference, u, v, FLUX, FWHM)
        add_source(difference, u - dx, v - dy, -FLUX, FWHM)
    return difference, variance, mask, x, y


def shifts_of(difference, variance, mask, x, y):
    return measure_shifts(difference, variance, mask, FIELD, x=x, y=y, flux=np.full(len(x), FLUX), radius_pix=8.0)


def test_a_shift_is_measured_with_its_sign_and_error():
    """Every star gives the displacement of the science image, with an honest error."""
    shifts = shifts_of(*difference_of(0.03, -0.02))
    for values, errors, truth in ((shifts.x_pix, shifts.x_err_pix, 0.03), (shifts.y_pix, shifts.y_err_pix, -0.02)):
        pull = (values - truth) / errors
        assert abs(pull.mean()) < 0.4 and 0.75 < pull.std() < 1.25
    found = register(shifts)
    assert found.shift_x_pix == pytest.approx(0.03, abs=0.002) and found.shift_y_pix == pytest.approx(-0.02, abs=0.002)
    assert found.n_star == len(shifts.x_pix) and found.scatter_pix < 0.003


def test_a_change_of_flux_is_no_shift():
    """A star that brightened by a tenth stays where it is."""
    difference, variance, mask, x, y = difference_of(0.0, 0.0)
    for u, v in zip(x, y, strict=True):
        add_source(difference, u, v, 0.1 * FLUX, FWHM)
    found = register(shifts_of(difference, variance, mask, x, y))
    assert np.hypot(found.shift_x_pix, found.shift_y_pix) < 0.002


def test_scatter_along_one_axis_is_seen():
    """Displacements to and fro along one direction, as refraction makes them, have that axis; a constant has none."""
    rng = np.random.default_rng(3)
    difference, variance, mask, x, y = difference_of(0.0, 0.0)
    along = rng.normal(0, 0.05, len(x))
    for u, v, d in zip(x, y, along, strict=True):
        add_source(difference, u, v, FLUX, FWHM)
        add_source(difference, u - d * np.cos(np.radians(30)), v - d * np.sin(np.radians(30)), -FLUX, FWHM)
    found = register(shifts_of(difference, variance, mask, x, y))
    assert found.axis_deg == pytest.approx(30.0, abs=5.0) and found.alignment > 0.6
    assert found.chance_of_alignment < 1e-6 and found.scatter_pix == pytest.approx(0.035, rel=0.3)
    assert register(shifts_of(*difference_of(0.05, 0.05))).chance_of_alignment > 1e-3


def test_masked_stars_and_too_few_say_nothing():
    """A star with a masked core is left out; with too few of them there is a median but no scatter, or nothing."""
    difference, variance, mask, x, y = difference_of(0.0, 0.0)
    mask[: int(y[0]) + 2, :] = 1
    shifts = shifts_of(difference, variance, mask, x, y)
    assert np.isnan(shifts.x_pix[0]) and np.isfinite(shifts.x_pix[-1])
    few = register(shifts.take(slice(-3, None)))
    assert few.n_star == 3 and np.isfinite(few.shift_x_pix) and np.isnan(few.scatter_pix)
    none = register(Shifts(*[np.array([])] * 4))
    assert none.n_star == 0 and np.isnan(none.shift_x_pix)
