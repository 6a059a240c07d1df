"""The warp stage: an exposure on the tract, with the model PSF, in nJy."""

from dataclasses import replace

import numpy as np
import pytest
from point_sources import gaussian_psf
from sky_patch import NJY_PER_E, PATCH, SHAPE, SKY_E, TARGET, TRACT, make_exposure, star_catalog, warp_unit

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.errors import DataError
from dbpipe.imaging.mask import NO_DATA, UNUSABLE
from dbpipe.imaging.psf.model import PsfModel
from dbpipe.io.exposure import read_exposure
from dbpipe.io.planes import read_planes
from dbpipe.sky.skymap import patch_wcs
from dbpipe.sky.wcs import sky_to_pixel
from dbpipe.stage import Skip
from dbpipe.stages.contracts.warp import WarpConfig
from dbpipe.stages.warp import warp_exposure


@pytest.fixture(autouse=True)
def survey(tmp_path, monkeypatch):
    """Stages run in the survey directory."""
    monkeypatch.chdir(tmp_path)


def gaussian(fwhm_pix, u, v):
    sigma = fwhm_pix / FWHM_PER_SIGMA
    return np.exp(-0.5 * (u**2 + v**2) / sigma**2) / (2 * np.pi * sigma**2)


@pytest.mark.parametrize("angle_deg", [0.0, 17.0])
def test_stars_have_flux_place_and_width_of_the_tract(angle_deg):
    """An isolated star is the model PSF times its flux in nJy, at its place on the tract."""
    unit, _, _ = make_exposure("c.fits", 1, angle_deg=angle_deg, noise=False)
    made, path = warp_unit(unit)
    product = read_planes(path, ["IMAGE", "MASK"])
    ra, dec, flux = star_catalog()
    x, y = sky_to_pixel(product.wcs, ra, dec)
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + 1e3 * np.eye(len(x))
    image = product.arrays["IMAGE"]
    isolated = (apart.min(axis=1) > 24) & (np.minimum(x, y) > 60) & (np.maximum(x, y) < min(image.shape) - 60)
    assert isolated.sum() >= 2
    for u, v, f in zip(x[isolated], y[isolated], flux[isolated], strict=True):
        column, row = int(round(u)), int(round(v))
        box = image[row - 10 : row + 11, column - 10 : column + 11]
        dy, dx = np.mgrid[-10:11, -10:11]
        expected = f * gaussian(TARGET, dx - (u - column), dy - (v - row))
        assert np.abs(box - expected).max() < 0.012 * expected.max()
        assert box.sum() == pytest.approx(f, rel=0.003)
    (row,) = made.rows["warp"]
    assert row["kernel_sum"] == pytest.approx(1.0, abs=1e-6) and row["psf_residual"] < 0.01


def test_the_window_is_where_exposure_and_patch_meet():
    """Metadata tell which tract pixels the product holds, its WCS is the tract's, and no pixel is outside the patch."""
    unit, _, _ = make_exposure("c.fits", 1)
    made, path = warp_unit(unit)
    product = read_planes(path, ["IMAGE", "MASK", "NOISE"])
    head = product.metadata
    assert product.arrays["IMAGE"].shape == (head["NY"], head["NX"])
    assert head["X0"] >= PATCH["x0"] and head["X0"] + head["NX"] <= PATCH["x0"] + PATCH["nx"]
    frame = patch_wcs(TRACT, head["X0"], head["Y0"])
    np.testing.assert_allclose(sky_to_pixel(product.wcs, 150.0, -20.0), sky_to_pixel(frame, 150.0, -20.0), atol=1e-6)
    (row,) = made.rows["warp"]
    good = (product.arrays["MASK"] & UNUSABLE) == 0
    assert row["fraction_valid"] == pytest.approx(good.sum() / 400**2)
    assert 0.5 < row["fraction_valid"] < 0.75 and (product.arrays["MASK"] & NO_DATA).any()


def test_the_variance_is_that_of_the_noise():
    """On sky between stars the pixels scatter as the variance plane says, correlated as the NOISE stamp says."""
    unit, _, _ = make_exposure("c.fits", 1, angle_deg=17.0)
    bare, _, _ = make_exposure("b.fits", 1, angle_deg=17.0, noise=False)
    with_noise, without = (warp_exposure(u | PATCH, {}, WarpConfig()).files["warp"].arrays for u in (unit, bare))
    good = (with_noise["MASK"] & UNUSABLE) == 0
    noise = np.where(good, with_noise["IMAGE"] - without["IMAGE"], 0.0) / np.sqrt(np.maximum(with_noise["VARIANCE"], 1))
    assert np.std(noise[good]) == pytest.approx(1.0, abs=0.05)
    pairs = good[:, 1:] & good[:, :-1]
    stamp = with_noise["NOISE"][0, 1] / with_noise["NOISE"][0, 1, 20, 20]
    assert np.mean((noise[:, 1:] * noise[:, :-1])[pairs]) == pytest.approx(stamp[20, 21], abs=0.05)
    faint = good & (without["IMAGE"] < 1.0)
    gain = np.median(with_noise["VARIANCE"][faint]) / (SKY_E * NJY_PER_E**2)
    (row,) = warp_exposure(unit | PATCH, {}, WarpConfig()).rows["warp"]
    assert row["noise_gain"] == pytest.approx(gain, rel=0.05)


def test_the_noise_follows_the_psf_over_the_exposure():
    """Where an exposure is sharper it is blurred more: variance and correlation are those of the place."""
    unit, _, _ = make_exposure("c.fits", 1, fwhm_pix=4.6)
    exposure = read_exposure(unit["path"])
    # the PSF widens from 3.9 pix at the left to the 5.2 pix of the model at the right
    left, right = (gaussian_psf(exposure.psf.size, f) / gaussian_psf(exposure.psf.size, f).sum() for f in (3.9, 5.2))
    psf = PsfModel(np.array([0.5 * (left + right), 0.5 * (right - left), 0.0 * left]), SHAPE, 1)
    sky = np.random.default_rng(4).normal(0.0, np.sqrt(SKY_E), SHAPE).astype(np.float32)
    replace(exposure, image=sky, variance=np.full(SHAPE, SKY_E, np.float32), psf=psf).write(unit["path"])
    arrays = warp_exposure(unit | PATCH, {}, WarpConfig()).files["warp"].arrays
    good, middle = (arrays["MASK"] & UNUSABLE) == 0, arrays["MASK"].shape[1] // 2
    gain = arrays["NOISE"][:, :, 20, 20]
    assert (np.abs(gain[:, 0] / gain[:, 1] - 1.0) > 0.5).all()
    for half in (np.s_[:, :middle], np.s_[:, middle:]):
        ratio = arrays["IMAGE"][half][good[half]] / np.sqrt(arrays["VARIANCE"][half][good[half]])
        assert np.std(ratio) == pytest.approx(1.0, abs=0.15)


def test_an_exposure_that_is_too_blurred_is_refused():
    """What would have to be sharpened too much is an error of the unit, with the numbers."""
    unit, _, _ = make_exposure("c.fits", 1, fwhm_pix=8.0)
    with pytest.raises(DataError, match="cannot be matched") as error:
        warp_exposure(unit | PATCH, {}, WarpConfig())
    assert error.value.numbers["target_fwhm_pix"] == TARGET


def test_a_patch_that_it_does_not_touch_is_skipped():
    """No pixel on the patch is nothing to do."""
    unit, _, _ = make_exposure("c.fits", 1)
    assert isinstance(warp_exposure(unit | PATCH | {"x0": 1000}, {}, WarpConfig()), Skip)


def test_the_same_exposure_gives_the_same_bytes():
    """Running the stage twice gives one file."""
    unit, _, _ = make_exposure("c.fits", 1)
    contents = []
    for _ in range(2):
        _, path = warp_unit(unit)
        with open(path, "rb") as file:
            contents.append(file.read())
    assert contents[0] == contents[1]
