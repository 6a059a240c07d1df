"""A difference image on a few cells."""

import numpy as np
import pytest
from pair import blank_pixels, make_pair, subtract_pair

from dbpipe.imaging.difference.cells import N_CELL, sample_cells
from dbpipe.imaging.difference.registration import measure_shifts
from dbpipe.imaging.mask import NEAR_SATURATED, NO_DATA


@pytest.fixture(scope="module")
def made():
    """A pair, its subtraction and score, and the blank pixels."""
    pair = make_pair(5.0, 4.4, size=600, n_star=80)
    return pair, *subtract_pair(pair), blank_pixels(pair)


def cells_of(made):
    pair, result, score, blank = made
    shifts = measure_shifts(result.difference, result.variance, result.mask, result.whitening.psf,
                            x=pair.x, y=pair.y, flux=np.full(len(pair.x), 1e4), radius_pix=7.5)  # fmt: skip
    blank = blank & (score.flux_err > 0)
    return sample_cells(
        result, score.score, pair.science.variance, blank=blank, star_x=pair.x, star_y=pair.y, shifts=shifts
    )


def test_a_healthy_image_is_the_same_everywhere(made):
    """Noise, kernel and width are those of the whole image, and every star is in one cell."""
    pair, result, score, _ = made
    cells = cells_of(made)
    assert [(row["cell_x"], row["cell_y"]) for row in cells] == [(i, j) for j in range(N_CELL) for i in range(N_CELL)]
    assert sum(row["n_star"] for row in cells) == np.sum(result.fit.kept | result.fit.is_control)
    assert 0 < sum(row["n_shift_star"] for row in cells) <= len(pair.x)
    measured = [row for row in cells if np.isfinite(row["score_std"])]
    assert len(measured) > 8
    # a cell holds some 200 independent values of the score, and 10,000 pixels
    assert np.mean([row["score_std"] for row in measured]) == pytest.approx(1.0, abs=0.04)
    assert [row["residual_ratio"] for row in measured] == pytest.approx([1.0] * len(measured), abs=0.06)
    assert [row["kernel_sum"] for row in cells] == pytest.approx([1.0] * len(cells), abs=0.01)
    assert all(0.05 < row["template_noise_fraction"] < 0.4 for row in measured)
    assert all(4.0 < row["psf_fwhm_pix"] < 5.5 and row["fraction_masked"] == 0 for row in cells)
    assert np.median([row["star_chi2"] for row in cells if row["n_star"]]) == pytest.approx(1.0, abs=0.1)


def test_what_is_wrong_is_seen_where_it_is(made):
    """Noise that is doubled in one corner, a background in another, and a mask change the figures of those cells."""
    pair, result, score, blank = made
    spoiled = score.score.copy()
    spoiled[:150, :150] *= 2.0
    spoiled[450:, 450:] += 1.0
    mask = result.mask.copy()
    mask[:150, 450:] |= NO_DATA
    mask[150:300, :150] |= NEAR_SATURATED
    result = type(result)(**{**vars(result), "mask": mask})
    cells = cells_of((pair, result, type(score)(spoiled, score.flux_err), blank & ((mask & NO_DATA) == 0)))
    at = {(row["cell_x"], row["cell_y"]): row for row in cells}
    assert at[0, 0]["score_std"] > 1.6 and at[1, 1]["score_std"] < 1.2
    assert at[3, 3]["score_mean"] > 0.8 and abs(at[1, 1]["score_mean"]) < 0.3
    assert at[3, 0]["fraction_no_data"] == 1 and at[3, 0]["fraction_masked"] == 1 and at[3, 0]["n_blank_pix"] == 0
    assert np.isnan(at[3, 0]["score_std"]) and at[0, 1]["fraction_near_saturated"] == 1
