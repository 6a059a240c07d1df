"""The height of a peak between the pixels."""

import numpy as np
import pytest
from noise_survey import expect
from scipy.signal import fftconvolve

from dbpipe.imaging.psf.homogenize import moffat_psf
from dbpipe.imaging.sources.peak_height import peak_height
from dbpipe.imaging.sources.peaks import find_peaks, score_response

Y, X = np.mgrid[:41, :41]


def gaussian(x, y, width):
    return 7.0 * np.exp(-0.5 * ((X - x) ** 2 + (Y - y) ** 2) / width**2)


@pytest.mark.parametrize(("fwhm_pix", "tolerance"), [(2.2, 3e-3), (2.6, 1e-3), (3.5, 3e-4), (8.0, 1e-3)])
def test_score_of_a_source_does_not_depend_on_where_the_pixels_lie(fwhm_pix, tolerance):
    """At any sub-pixel phase a peak has its height, where the highest pixel alone misses up to 13 %."""
    width, phases = np.sqrt(2.0) * fwhm_pix / 2.3548, np.random.default_rng(1).uniform(-0.5, 0.5, (50, 2))
    for sign in (1.0, -1.0):
        for dx, dy in phases:
            x, y, value = peak_height(sign * gaussian(20.0 + dx, 20.0 + dy, width), 20, 20)
            assert sign * value == pytest.approx(7.0, rel=tolerance)
            assert np.hypot(x - 20.0 - dx, y - 20.0 - dy) < 0.02


def test_height_is_that_of_the_band_limited_field():
    """Peaks of noise are as high as in the same noise on a grid eight times as fine (Fourier interpolation)."""
    size, zoom, width = 192, 8, 1.6
    k = 2.0 * np.pi * np.fft.fftfreq(size)
    power = np.exp(-0.5 * width**2 * (k[:, None] ** 2 + k**2))
    transform = np.fft.fft2(np.random.default_rng(2).normal(size=(size, size))) * power
    score = np.fft.ifft2(transform).real
    padded = np.pad(np.fft.fftshift(transform), size * (zoom - 1) // 2)
    fine = np.fft.ifft2(np.fft.ifftshift(padded)).real * zoom**2 / score.std()
    score /= score.std()
    n = 0
    for y, x in np.argwhere(score > 2.0):
        inside = 8 < x < size - 9 and 8 < y < size - 9
        if inside and score[y, x] == score[y - 1 : y + 2, x - 1 : x + 2].max():
            box = fine[zoom * (y - 1) : zoom * (y + 1) + 1, zoom * (x - 1) : zoom * (x + 1) + 1]
            assert peak_height(score, x, y)[2] == pytest.approx(box.max(), abs=0.01)
            n += 1
    assert n > 30


@pytest.mark.parametrize("hole", [(19, 20), (22, 21), (20, 18)])
def test_beside_a_hole_the_pixel_counts(hole):
    """Next to pixels without score there is nothing to interpolate; further away a hole changes little."""
    image = gaussian(20.4, 20.3, 2.0)
    whole = peak_height(image, 20, 20)[2]
    image[hole] = np.nan
    assert peak_height(image, 20, 20) == (20.0, 20.0, image[20, 20])
    image[hole] = gaussian(20.4, 20.3, 2.0)[hole]
    image[:, 24:] = 0.0
    assert peak_height(image, 20, 20)[2] == pytest.approx(whole, rel=0.02)


def test_peaks_at_the_edge_of_the_image_are_pixels():
    """A maximum in the corner of an image is its pixel."""
    assert peak_height(gaussian(0.0, 40.0, 2.0), 0, 40) == (0.0, 40.0, 7.0)


@pytest.mark.parametrize("fwhm_pix", [2.6, 3.5])
def test_noise_has_the_peaks_of_a_continuous_field(fwhm_pix):
    """White noise seen through a PSF has as many rows as the field between the pixels has maxima; pixels have fewer."""
    psf = moffat_psf(fwhm_pix, 3.5, 41)
    noise = np.random.default_rng(3).normal(size=(2000, 2000)).astype(np.float32)
    score = fftconvolve(noise, (psf / np.sqrt(np.sum(psf**2))).astype(np.float32), mode="valid")
    found = find_peaks(score, np.zeros(score.shape, np.uint16), response=score_response(psf), threshold=3.5)
    rates = expect(psf, (3.5,))
    expected = 2.0 * rates.continuous[0] * score.size
    assert rates.sampled[0] < 0.9 * rates.continuous[0]
    assert len(found.x) == pytest.approx(expected, abs=3.0 * np.sqrt(expected))
