"""Peaks of a score image."""

import numpy as np
import pytest
from point_sources import gaussian_psf

from dbpipe.errors import DataError
from dbpipe.imaging.mask import NO_DATA, SATURATED
from dbpipe.imaging.sources import peaks
from dbpipe.imaging.sources.peaks import find_peaks, score_response

FWHM = 4.0


@pytest.fixture(scope="module")
def response():
    return score_response(gaussian_psf(31, FWHM))


def find(score, response, mask=None, **settings):
    empty = np.zeros(score.shape, np.uint16)
    return find_peaks(score.astype(np.float32), empty if mask is None else mask, response=response, **settings)


def scene(places, shape=(120, 120)):
    """The noiseless score image of sources (x, y, score): Gaussians of sqrt(2) times the PSF's width."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    width2 = 2 * ((FWHM / 2.3548) ** 2 + 1 / 12)
    return sum(s * np.exp(-0.5 * ((x - u) ** 2 + (y - v) ** 2) / width2) for u, v, s in places)


def test_response_is_the_autocorrelation(response):
    """A source answers the matched filter of a Gaussian PSF with a Gaussian sqrt(2) times as wide."""
    np.testing.assert_allclose(response, scene([(15, 15, 1.0)], (31, 31)), atol=1e-3)


def test_both_signs_one_row_each(response):
    """Sources of either sign are one peak each, at their pixel, the most significant first."""
    found = find(scene([(30, 40, 9.0), (80, 40, -20.0), (60, 90, 3.9)]), response)
    assert found.x.tolist() == [80, 30]
    assert found.y.tolist() == [40, 40]
    np.testing.assert_allclose(found.score, [-20.0, 9.0], rtol=1e-3)


@pytest.mark.parametrize(
    "pixels", [[(50, 50), (50, 51)], [(50, 50), (51, 50), (51, 51), (50, 51)], [(50, 51), (51, 50)]]
)
def test_plateau_is_one_peak(response, pixels):
    """Equal neighboring pixels are one source."""
    score = scene([(50.5, 50.5, 6.0)])
    for y, x in pixels:
        score[y, x] = 7.0
    assert len(find(score, response).x) == 1


def test_pairs_are_two_sources(response):
    """Equal neighbors 1.5 FWHM apart are two sources; a tenth of the flux 2 FWHM away is seen too."""
    assert len(find(scene([(50, 50, 20.0), (56, 50, 20.0)]), response).x) == 2
    assert len(find(scene([(50, 50, 80.0), (59, 50, 12.0)]), response).x) == 2


def test_noise_on_the_flank_of_a_bright_source_is_no_source(response):
    """Of a hundred sources of S/N 300 none brings a second peak along, in the noise that a matched filter leaves."""
    from scipy.ndimage import gaussian_filter

    sigma = FWHM / 2.3548
    score = 2 * np.sqrt(np.pi) * sigma * gaussian_filter(np.random.default_rng(6).normal(size=(600, 600)), sigma)
    shifts = np.random.default_rng(7).uniform(-0.5, 0.5, (100, 2))
    places = [(30 + 60 * (k % 10) + dx, 30 + 60 * (k // 10) + dy) for k, (dx, dy) in enumerate(shifts)]
    score += scene([(x, y, 300.0) for x, y in places], (600, 600))
    found = find(score, response)
    distance = np.hypot(*(np.array(places)[:, :, None] - np.array([found.x, found.y])[None]).transpose(1, 0, 2))
    assert np.sum(distance.min(axis=0) < 9) == 100


def test_side_lobes_of_a_whitened_psf_are_no_sources():
    """The negative ring that decorrelation leaves around a bright source is not a set of negative sources."""
    psf = 1.3 * gaussian_psf(41, 4.0) - 0.3 * gaussian_psf(41, 9.0)
    ring = score_response(psf)
    assert ring.min() < -0.02
    score = np.zeros((121, 121))
    score[40:81, 40:81] = 500.0 * ring
    score += np.random.default_rng(4).normal(0, 0.3, score.shape)
    assert len(find(score, ring).x) == 1


def test_pixels_without_data_are_no_peaks(response):
    """No peak lies where there is no data or no score, and a saturated one stays (it is flagged later)."""
    score = scene([(30, 30, 9.0), (80, 30, 9.0), (30, 80, 9.0)])
    mask = np.zeros(score.shape, np.uint16)
    mask[20:41, 20:41] = NO_DATA
    mask[30, 80] = SATURATED
    score[75:90, 20:45] = np.nan
    found = find(score, response, mask)
    assert found.x.tolist() == [80]


def test_noise_peaks_follow_kaiser():
    """White noise has as many peaks above 4 sigma as Kaiser's formula for one polarity, twice."""
    from scipy.ndimage import gaussian_filter

    sigma = 2.0
    score = gaussian_filter(np.random.default_rng(5).normal(size=(1500, 1500)), sigma, mode="wrap")
    score *= 2 * np.sqrt(np.pi) * sigma
    psf = gaussian_psf(31, 2.3548 * sigma)
    n = len(find(score, score_response(psf)).x)
    expected = 2 * score.size * 4 * np.exp(-8) / (2**2.5 * np.pi**1.5 * sigma**2)
    assert abs(n - expected) < 4 * np.sqrt(expected) + 0.1 * expected


def test_too_many_peaks_is_refused(response, monkeypatch):
    """An image that is all peaks is refused with the numbers."""
    monkeypatch.setattr(peaks, "MAX_PEAKS", 100)
    score = np.zeros((100, 100))
    score[::3, ::3] = 9.0
    with pytest.raises(DataError, match="too many peaks"):
        find(score, response)


def test_empty_image_has_no_peak(response):
    """Nothing gives nothing."""
    assert len(find(np.zeros((50, 50)), response).x) == 0
