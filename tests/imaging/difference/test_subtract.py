"""Subtraction on simulated pairs: noise, fluxes, and what happens at masks."""

from dataclasses import replace

import numpy as np
import pytest
from pair import blank_pixels, make_pair, paint, subtract_pair
from point_sources import gaussian_psf
from scipy import ndimage

from dbpipe.errors import DataError
from dbpipe.imaging.difference.decorrelate import FFT_SIZE
from dbpipe.imaging.difference.score_image import blank_statistics
from dbpipe.imaging.kernel import match
from dbpipe.imaging.kernel.match import basis_for, choose_direction
from dbpipe.imaging.mask import BAD, DETECTED, NO_DATA, UNUSABLE, grow_bits
from dbpipe.imaging.noise import uniform_noise
from dbpipe.imaging.settings import KernelSettings

WIDTHS = {"blur the template": (5.6, 4.85), "sharpen it mildly": (4.5, 4.7), "blur the science image": (3.0, 5.2)}
FLUX = 20000.0


@pytest.fixture(scope="module", params=WIDTHS)
def subtracted(request):
    """A pair with sources that only the science image has, subtracted; and their pixels, away from stars."""
    size = 1000
    gx, gy = (g.ravel() for g in np.meshgrid(np.arange(60, size - 60, 45), np.arange(60, size - 60, 45)))
    bare = make_pair(*WIDTHS[request.param], size=size)
    clear = np.array([np.hypot(bare.x - u, bare.y - v).min() > 30 for u, v in zip(gx, gy, strict=True)])
    gx, gy = gx[clear], gy[clear]
    pair = make_pair(*WIDTHS[request.param], size=size, injected=(gx, gy, np.full(len(gx), FLUX)))
    return pair, *subtract_pair(pair), gx, gy


@pytest.fixture(scope="module", params=WIDTHS)
def blank_sky(request):
    """A pair without anything new, subtracted, and its blank pixels."""
    pair = make_pair(*WIDTHS[request.param], size=1000, seed=2)
    return pair, *subtract_pair(pair), blank_pixels(pair)


def test_noise_is_honest_in_both_directions(blank_sky):
    """On blank sky the score has a width of 1.00 +- 0.01, and with the template convolved the noise is white to 1%."""
    _, result, score, blank = blank_sky
    std, lag1 = blank_statistics(score.score, result.difference, blank)
    assert std == pytest.approx(1.0, abs=0.01)
    if result.convolved == "template":
        assert abs(lag1) < 0.01
        assert np.std(result.difference[blank] / np.sqrt(result.variance[blank])) == pytest.approx(1.0, abs=0.01)


def test_constant_stars_vanish(blank_sky):
    """No star that did not change leaves a detection."""
    _, _, score, _ = blank_sky
    assert np.sum(np.abs(score.score[40:-40, 40:-40]) > 5.5) == 0


def test_flux_of_a_new_source_is_unbiased(subtracted):
    """The score times its error is the flux in electrons of the science image to 0.3%, with unit pulls."""
    _, _, score, x, y = subtracted
    flux, error = (score.score * score.flux_err)[y, x], score.flux_err[y, x]
    assert np.mean(flux) == pytest.approx(FLUX, rel=0.003)
    assert np.std((flux - FLUX) / error) == pytest.approx(1.0, abs=4 / np.sqrt(2 * len(x)))


def test_fluxes_are_those_of_the_science_image_whatever_the_scale():
    """A template in units of its own changes no flux, in either direction."""
    x, y = np.array([200]), np.array([210])
    for widths in ((5.6, 4.85), (3.0, 5.2)):
        bare = make_pair(*widths, size=420, n_star=40, flux_ratio=2.5)
        clear = np.hypot(bare.x - 200, bare.y - 210) > 25
        pair = make_pair(*widths, size=420, n_star=40, flux_ratio=2.5, injected=(x, y, [3e5]))
        stars = pair.x[clear], pair.y[clear]
        pair = replace(pair, x=stars[0], y=stars[1])
        _, score = subtract_pair(pair)
        assert (score.score * score.flux_err)[210, 200] == pytest.approx(3e5, rel=0.01)


def test_an_image_minus_itself_is_zero():
    """The difference of an image with itself is far below its noise."""
    pair = make_pair(4.5, 4.5, size=500)
    # its noise is the same in both: none of the template's own
    same = replace(pair.science, variance=np.zeros_like(pair.science.variance))
    twin = replace(pair, template=same, template_noise=uniform_noise(np.ones((FFT_SIZE, FFT_SIZE)), (4, 4)))
    result, score = subtract_pair(twin)
    assert np.std(result.difference[40:-40, 40:-40]) < 0.1 * np.sqrt(np.median(result.variance))
    assert np.abs(score.score[40:-40, 40:-40]).max() < 1.0


def test_variable_stars_do_not_bend_the_kernel(monkeypatch):
    """Stars that brightened are left out of the fit and keep their change: 8% is what the nearest pixel may miss."""
    pair = make_pair(5.6, 4.85, size=800, n_star=70)
    vary = np.array([4, 9, 15])
    _, before = subtract_pair(pair)
    truth = flux_of(before, pair, vary)
    change = 5e4
    science = pair.science.image.astype(float)
    paint(science, pair.x[vary], pair.y[vary], np.full(3, change), lambda dx, dy: gaussian_psf(41, 5.6, dx, dy))
    changed = replace(pair.science, image=science.astype(np.float32))
    monkeypatch.setattr(match, "MIN_STAR_CONTROL", 1000)  # all stars are fitted
    result, score = subtract_pair(replace(pair, science=changed))
    assert np.count_nonzero(~result.fit.kept) >= 3
    np.testing.assert_allclose(flux_of(score, pair, vary) - truth, change, rtol=0.08)


def flux_of(score, pair, number):
    """Return the flux at the pixels nearest to stars."""
    row, column = np.rint(pair.y[number]).astype(int), np.rint(pair.x[number]).astype(int)
    return (score.score * score.flux_err)[row, column]


def test_a_difference_of_skies_is_taken_out():
    """A sky that is 30 electrons too high and tilted leaves nothing behind."""
    pair = make_pair(5.0, 4.85, size=600)
    tilted = pair.science.image + np.linspace(20.0, 40.0, 600, dtype=np.float32)
    _, score = subtract_pair(replace(pair, science=replace(pair.science, image=tilted)))
    values = score.score[blank_pixels(pair)]
    assert abs(np.mean(values)) < 0.1 and np.std(values) == pytest.approx(1.0, abs=0.03)


def test_masks_of_both_sides_come_through():
    """The science mask stays as it is; what the template lacks grows by the reach of the kernel."""
    pair = make_pair(5.6, 4.85, size=400)
    pair.science.mask[:], pair.template.mask[:] = 0, 0
    pair.science.mask[200, 100] = BAD
    pair.template.mask[300, 200] = NO_DATA
    pair.template.mask[100, 100] = DETECTED
    result, _ = subtract_pair(pair)
    assert np.count_nonzero(result.mask & BAD) == 1
    lost = result.mask & NO_DATA
    assert lost[300, 200] and 9 <= np.count_nonzero(lost) <= 15**2
    assert np.count_nonzero(result.mask & DETECTED) == 1
    assert np.isfinite(result.difference).all() and np.isfinite(result.variance).all()


def test_noise_beside_a_dead_line_is_that_of_the_sky():
    """Blurring the science image leaves no edge at a dead line: the score there has the width of the rest."""
    pair = make_pair(*WIDTHS["blur the science image"], size=700, seed=11)
    rows = np.arange(50, 650, 24)
    image, mask = pair.science.image.copy(), pair.science.mask.copy()
    image[rows], mask[rows] = 0.0, mask[rows] | BAD
    result, score = subtract_pair(replace(pair, science=replace(pair.science, image=image, mask=mask)))
    assert result.convolved == "science"
    beside = (result.mask & BAD == 0) & ndimage.binary_dilation(result.mask & BAD, np.ones((7, 1)))
    beside &= blank_pixels(pair) & (score.flux_err > 0)
    assert np.std(score.score[beside]) == pytest.approx(1.0, abs=0.05)
    assert np.abs(score.score[beside]).max() < 5.0


def test_control_stars_come_from_all_fluxes():
    """A fifth of the stars is held out, and their fluxes agree with the kernel's as well as the others' do."""
    pair = make_pair(5.6, 4.85, size=800, n_star=70)
    result, _ = subtract_pair(pair)
    fit = result.fit
    assert 0.15 < fit.is_control.mean() < 0.25 and not (fit.is_control & fit.kept).any()
    assert np.median(fit.star_chi2[fit.is_control]) == pytest.approx(1.0, abs=0.15)


def test_what_cannot_be_subtracted_says_so():
    """No common pixel, or fewer than three stars, is an error of the unit with its numbers."""
    pair = make_pair(5.6, 4.85, size=300, n_star=12)
    few = replace(pair, x=pair.x[:2], y=pair.y[:2])
    with pytest.raises(DataError, match="too few stars") as error:
        subtract_pair(few)
    assert error.value.numbers["n_required"] == 3
    pair.template.mask[:] = NO_DATA
    with pytest.raises(DataError, match="no pixel"):
        subtract_pair(pair)


@pytest.mark.parametrize(
    ("science_fwhm_pix", "template_fwhm_pix", "convolved"),
    [(5.0, 4.0, "template"), (4.0, 4.1, "template"), (4.0, 4.85, "science"), (3.0, 5.2, "science")],
)
def test_direction_depends_on_the_conditioning(science_fwhm_pix, template_fwhm_pix, convolved):
    """The template is convolved if that is well conditioned; if it must be sharpened much, the science image is."""
    pair = make_pair(science_fwhm_pix, template_fwhm_pix, size=200, n_star=3)
    chosen, _, start = choose_direction(pair.science, pair.template, settings=KernelSettings())
    assert chosen == convolved and start.residual < 0.02
    forced, _, _ = choose_direction(pair.science, pair.template, settings=KernelSettings(convolve="template"))
    assert forced == "template"


def test_the_basis_has_the_scale_of_the_psf():
    """The second Gaussian is as wide as the PSF, none is narrower than pixels can hold, and no kernel is too large."""
    assert basis_for(5.0, (4, 2, 0), 35).sigma_pix == pytest.approx([1.06, 2.12, 4.25], abs=0.01)
    assert min(basis_for(2.0, (4, 2, 0), 35).sigma_pix) == 0.7
    assert basis_for(30.0, (4, 2, 0), 35).functions.shape[-1] <= 35


def test_only_the_bits_asked_for_grow():
    """Unusable pixels grow by a square; footprints of sources stay."""
    mask = np.zeros((20, 20), np.uint16)
    mask[10, 10] = NO_DATA | DETECTED
    grown = grow_bits(mask, 2)
    assert np.count_nonzero(grown & NO_DATA) == 25 and np.count_nonzero(grown & DETECTED) == 1


@pytest.mark.parametrize("radius_pix", [0, 1, 2, 5, 6])
def test_bits_grow_by_a_square(radius_pix):
    """Every bit by itself, also at the border and in an image smaller than the square."""
    for shape in ((40, 30), (4, 50), (3, 3)):
        mask = (2 ** np.random.default_rng(2).integers(0, 16, shape)).astype(np.uint16)
        mask[np.random.default_rng(3).random(shape) < 0.97] = 0
        grown = grow_bits(mask, radius_pix)
        for bit in 2 ** np.arange(16, dtype=np.uint16):
            size = 2 * radius_pix + 1 if UNUSABLE & bit else 1
            assert ((grown & bit != 0) == ndimage.maximum_filter(mask & bit != 0, size, mode="constant")).all()
