"""Nothing but noise through the whole pipeline: what is found is what noise must give.

`tests/benchmarks/noise_only.py` does the same on more sky.
"""

import contextlib

import numpy as np
import pandas as pd
import pytest
from noise_survey import calibrate, measure_noise, simulate_noise, subtract_template_of

from dbpipe.survey import Survey

pytestmark = pytest.mark.slow
FWHM_PIX = (5.2, 3.2, 4.2)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """What the noise does with a template of the sharpest, and with one of the widest and the middle exposure."""
    folder = tmp_path_factory.mktemp("noise")
    stars = simulate_noise(folder / "sky", FWHM_PIX, seed=7, size_pix=900)
    root, visits = folder / "survey", list(stars)
    calibrate(root, folder / "sky")
    rows = []
    for chosen in ([visits[1]], [visits[0], visits[2]]):
        subtract_template_of(root, chosen)
        with Survey.open(root) as survey:
            images = survey.sql("SELECT visit, path, convolved, leave_one_out FROM diffim").df()
            sources = survey.sql("SELECT visit, x, y, score FROM dia_source").df()
        for image in images.to_dict("records"):
            own, rng = sources[sources.visit == image["visit"]], np.random.default_rng(1)
            with contextlib.chdir(root):
                rows.append(image | measure_noise(image["path"], own, *stars[image["visit"]], rng=rng))
    return pd.DataFrame(rows)


def test_scores_have_unit_width(measured):
    """Width 1 and mean 0 in both directions of the convolution, with leave-one-out and without; so have the pulls."""
    assert set(measured.convolved) == {"template", "science"} and set(measured.leave_one_out) == {True, False}
    # 20,000 independent scores an image: 0.005
    np.testing.assert_allclose(measured.score_std, 1.0, atol=0.02)
    np.testing.assert_allclose(measured.pull_std, 1.0, atol=0.05)
    np.testing.assert_allclose(measured.score_mean, 0.0, atol=0.03)


def test_noise_is_white_and_gaussian(measured):
    """Adjacent pixels are uncorrelated to 1 %; the tails of the score are those of a Gaussian."""
    assert measured.lag1.abs().max() < 0.01
    assert measured["kurtosis"].abs().max() < 0.15 and measured.skewness.abs().max() < 0.1


def test_false_detections_are_those_of_noise(measured):
    """At 4 sigma there are as many peaks as a sampled Gaussian field has, and as many rows as a continuous one, within
    four Poisson errors."""
    for name, reference in (("peak", "sampled"), ("row", "continuous")):
        expected = measured[f"{reference}_4.0"].sum()
        found = measured[f"{name}+_4.0"].sum() + measured[f"{name}-_4.0"].sum()
        assert found == pytest.approx(expected, abs=4.0 * np.sqrt(expected))
