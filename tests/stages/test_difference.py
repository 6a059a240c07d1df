"""The difference stage: an exposure minus the template that it is not in."""

import numpy as np
import pytest
from sky_patch import NJY_PER_E, TRACT, coadd_warps, difference_inputs, make_exposure, warp_unit

from dbpipe.errors import DataError
from dbpipe.imaging.mask import UNUSABLE, grow_bits
from dbpipe.imaging.settings import KernelSettings, RejectionLimits
from dbpipe.io.difference import read_difference
from dbpipe.io.exposure import read_exposure
from dbpipe.sky.skymap import patch_wcs
from dbpipe.sky.wcs import pixel_to_sky, sky_to_pixel
from dbpipe.stage import Skip
from dbpipe.stages.contracts.coadd import CoaddConfig
from dbpipe.stages.contracts.difference import DifferenceConfig
from dbpipe.stages.difference import difference
from dbpipe.stages.shared.template import make_template

NEW = [(*pixel_to_sky(patch_wcs(TRACT, 0, 0), 3.2, -7.7), 3e4)]
"""A transient that the first visit alone has: ra, dec, nJy."""
FWHM, ANGLE = [4.6, 4.0, 4.3, 3.8], [0.0, 0.0, 12.0, 3.0]


@pytest.fixture(scope="module")
def exposures(tmp_path_factory):
    """Four exposures and their warps, the folder that they are in, and where the transient is in the first."""
    folder = tmp_path_factory.mktemp("survey")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = [
            make_exposure(f"calexp-{k}.fits", k, fwhm_pix=FWHM[k], angle_deg=ANGLE[k], new=NEW if k == 0 else ())
            for k in range(4)
        ]
        units = [m[0] for m in made]
        warps = [warp_unit(unit) for unit in units]
        at = tuple(float(v) for v in sky_to_pixel(read_exposure("calexp-0.fits").wcs, *NEW[0][:2]))
    x, y = made[0][1:]
    stars = np.hypot(x - at[0], y - at[1]) > 15
    return folder, units, warps, (x[stars], y[stars]), at


@pytest.fixture(autouse=True)
def inside(exposures, monkeypatch):
    """Stages run in the survey directory."""
    monkeypatch.chdir(exposures[0])


def inputs_of_the_first(exposures, first, path, config=None):
    """Return the inputs that the stage has for exposure 0 if the template is made of exposures ``first`` ... 3."""
    _, units, warps, stars, _ = exposures
    made = coadd_warps(units[first:], warps[first:], path=path, config=config)
    return difference_inputs(units[0], units[first:], warps[first:], made, *stars, path=path)


@pytest.fixture
def inputs(exposures):
    """What the stage is given for the first exposure."""
    return inputs_of_the_first(exposures, 0, "all.fits")


@pytest.fixture(scope="module")
def subtracted(exposures):
    """Rows and product of the first exposure."""
    folder, units, *_ = exposures
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        inputs = inputs_of_the_first(exposures, 0, "subtracted.fits")
        made = difference(units[0], inputs, DifferenceConfig(kernel=KernelSettings(order=0)))
        made.files["diffim"].write("diffim.fits")
        return made, read_difference("diffim.fits")


def template_of(unit, inputs):
    rows = {name: inputs[name].to_pylist() for name in ("coadds", "coadd_inputs", "own_warps")}
    return make_template(read_exposure(unit["path"]), unit, tract=TRACT, **rows)


def test_the_template_is_as_if_the_exposure_had_never_been(exposures):
    """Taken out of the coadd, an exposure leaves the template of the others: images, variances, weights and noise."""
    keep_all = CoaddConfig(RejectionLimits(seed_sigma=1000.0))  # which artifacts are found may depend on who looks
    unit = exposures[1][0]
    left, never = (template_of(unit, inputs_of_the_first(exposures, k, f"from-{k}.fits", keep_all)) for k in (0, 1))
    # interpolation reads two pixels beyond those whose mask it hands on
    good = (grow_bits(left.plane.mask | never.plane.mask, 4) & UNUSABLE) == 0
    assert good.mean() > 0.75
    # the two coadds matched backgrounds to different medians: a constant, which the subtraction takes out
    gap = (left.plane.image - never.plane.image)[good]
    noise = np.sqrt(np.median(never.plane.variance[good]))
    assert np.abs(gap - np.median(gap)).max() < 0.02 * noise and abs(np.median(gap)) < 0.3 * noise
    np.testing.assert_allclose(left.plane.variance[good], never.plane.variance[good], rtol=1e-3)
    np.testing.assert_allclose(left.noise.overall, never.noise.overall, rtol=1e-6)
    assert left.weights == pytest.approx(never.weights)
    assert set(left.weights) == {(1, 0), (2, 0), (3, 0)} and sum(left.weights.values()) == pytest.approx(1.0)


def test_the_template_has_the_fluxes_of_the_exposure(exposures, inputs):
    """On the exposure's grid, in its electrons, the template shows the stars as bright as the exposure."""
    unit = exposures[1][0]
    template, exposure = template_of(unit, inputs), read_exposure(unit["path"])
    x, y = exposures[3]
    apart = (np.hypot(x[:, None] - x, y[:, None] - y) + 1e3 * np.eye(len(x))).min(axis=1)
    ratio = []
    for u, v in zip(np.rint(x[apart > 26]).astype(int), np.rint(y[apart > 26]).astype(int), strict=True):
        box = np.s_[max(0, v - 12) : v + 13, max(0, u - 12) : u + 13]
        if not (template.plane.mask[box] & UNUSABLE).any() and exposure.image[box].sum() > 3e4:
            ratio.append(template.plane.image[box].sum() / exposure.image[box].sum())
    assert len(ratio) >= 2
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02)


def test_a_transient_of_the_exposure_itself_keeps_its_flux(exposures, subtracted):
    """A source that only this exposure has comes out with all of its flux, though the exposure is in the coadd."""
    made, product = subtracted
    x, y = exposures[4]
    psf = product.psf_field.at(x, y).astype(float)
    size = psf.shape[0] // 2
    box = product.difference[round(y) - size : round(y) + size + 1, round(x) - size : round(x) + size + 1]
    flux = np.sum(psf * box) / np.sum(psf**2) * NJY_PER_E
    assert flux == pytest.approx(NEW[0][2], rel=0.06)  # 2% is noise, 3% what the nearest pixel may miss
    assert made.rows["diffim"][0]["leave_one_out"]


def test_noise_is_honest_and_stars_are_gone(exposures, subtracted):
    """The score has unit width to 4%, neighboring pixels are uncorrelated, and only the transient stands out."""
    made, product = subtracted
    (row,) = made.rows["diffim"]
    assert row["score_std"] == pytest.approx(1.0, abs=0.04) and abs(row["lag1_correlation"]) < 0.02
    assert row["kernel_sum"] == pytest.approx(1.0, abs=0.01)
    v, u = np.nonzero(np.abs(product.score) > 6)
    assert len(u) and np.hypot(u - exposures[4][0], v - exposures[4][1]).max() < 15


def test_rows_name_the_inputs_of_the_template(subtracted):
    """The shares of the other visits add to one, and the row has what the template and the exposure were."""
    made, _ = subtracted
    assert sum(row["weight"] for row in made.rows["diffim_input"]) == pytest.approx(1.0)
    assert [row["template_visit"] for row in made.rows["diffim_input"]] == [1, 2, 3]
    (row,) = made.rows["diffim"]
    assert row["n_template_input"] == 3 and row["njy_per_e"] == NJY_PER_E
    assert 0.75 < row["template_coverage"] <= 1.0 and row["science_fwhm_pix"] == FWHM[0]


def test_an_exposure_outside_of_the_template_takes_nothing_out(exposures):
    """Without a warp of its own the exposure is subtracted from the whole template."""
    inputs = inputs_of_the_first(exposures, 1, "others.fits")
    made = difference(exposures[1][0], inputs, DifferenceConfig(kernel=KernelSettings(order=0)))
    assert not made.rows["diffim"][0]["leave_one_out"]


def test_too_little_template_is_skipped(exposures, inputs):
    """Below the coverage asked for there is nothing to do, and the numbers say why."""
    made = difference(exposures[1][0], inputs, DifferenceConfig(min_coverage=1.0))
    assert isinstance(made, Skip) and made.numbers["coverage"] < 1.0


def test_too_few_stars_are_an_error_of_the_unit(exposures, inputs):
    """Two stars do not make a kernel."""
    with pytest.raises(DataError, match="too few stars"):
        difference(exposures[1][0], inputs | {"stars": inputs["stars"].slice(0, 2)}, DifferenceConfig())
