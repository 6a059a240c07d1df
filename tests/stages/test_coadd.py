"""The coadd stage: warps into a template."""

import numpy as np
import pyarrow as pa
import pytest
from sky_patch import NJY_PER_E, PATCH, SKY_E, TARGET, TRACT, TRACT_COLUMNS, coadd_warps

from dbpipe.imaging.mask import DETECTED, NEAR_SATURATED, NO_DATA, REJECTED, SATURATED
from dbpipe.imaging.stack.coadd import unpack_used
from dbpipe.io.planes import Planes, read_planes
from dbpipe.sky.skymap import patch_wcs
from dbpipe.stage import Skip
from dbpipe.stages.coadd import coadd
from dbpipe.stages.contracts.coadd import CoaddConfig

SIGMA = np.sqrt(SKY_E) * NJY_PER_E
NY, NX = 60, 80


@pytest.fixture(autouse=True)
def survey(tmp_path, monkeypatch):
    """Stages run in the survey directory."""
    monkeypatch.chdir(tmp_path)


def write_warp(number, image, *, mask=None, x0=0, y0=0):
    """Write a warp and return its unit and what `coadd_warps` asks for."""
    ny, nx = image.shape
    stamps = np.zeros((2, 2, 5, 5), np.float32)
    stamps[..., 2, 2], stamps[..., 2, 1] = 1.0, 0.1 * number
    arrays = {
        "IMAGE": image.astype(np.float32),
        "VARIANCE": np.full(image.shape, SIGMA**2, np.float32),
        "MASK": np.zeros(image.shape, np.uint16) if mask is None else mask,
        "NOISE": stamps,
    }
    path = f"warp-{number}.fits"
    Planes(arrays, patch_wcs(TRACT, x0, y0), {"X0": x0, "Y0": y0, "NX": nx, "NY": ny}).write(path)
    return {"visit": number}, (None, path)


def run(*written, config=None):
    units, warps = zip(*written, strict=True)
    made = coadd_warps(units, warps, config=config)
    return made, read_planes("coadd.fits", ["IMAGE", "VARIANCE", "WEIGHT", "MASK", "USED", "NOISE", "WINDOWS"])


def noise_images(n, seed=1):
    return np.random.default_rng(seed).normal(0, SIGMA, (n, NY, NX))


def test_identical_warps_give_themselves():
    """The average of one image, thrice, is the image, with a third of the variance."""
    image = noise_images(1)[0]
    made, product = run(*(write_warp(k, image) for k in range(3)))
    np.testing.assert_allclose(product.arrays["IMAGE"], image, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(product.arrays["VARIANCE"], SIGMA**2 / 3, rtol=1e-5)
    (row,) = made.rows["coadd"]
    assert row["n_input"] == 3 and row["mean_n_input"] == 3 and row["fraction_rejected"] == 0
    assert row["noise_njy"] == pytest.approx(SIGMA / np.sqrt(3), rel=1e-5)


def test_backgrounds_are_matched_and_kept():
    """Skies that differ by constants are brought to one level, and the constants are on record."""
    images = noise_images(3) + np.array([0.0, 200.0, -100.0])[:, None, None]
    made, product = run(*(write_warp(k, image) for k, image in enumerate(images)))
    offsets = np.array([row["background_njy"] for row in made.rows["coadd_input"]])
    error = 4 * SIGMA * np.sqrt(2.0 / (NY * NX))
    np.testing.assert_allclose(np.diff(offsets), [-200.0, 300.0], atol=2 * error)
    assert np.std(product.arrays["IMAGE"]) == pytest.approx(SIGMA / np.sqrt(3), rel=0.05)


def test_the_product_covers_all_warps_and_knows_what_went_where():
    """Warps with different windows make one image; USED tells for every pixel which input is in it."""
    images = noise_images(2)
    windows = [(0, 0), (30, -20)]
    made, product = run(
        *(write_warp(k, i, x0=x, y0=y) for k, (i, (x, y)) in enumerate(zip(images, windows, strict=True)))
    )
    head, used = product.metadata, product.arrays["USED"]
    assert (head["X0"], head["Y0"], head["NX"], head["NY"]) == (0, -20, NX + 30, NY + 20)
    assert unpack_used(used, 0)[20:, :NX].all() and unpack_used(used, 0).sum() == NX * NY
    assert unpack_used(used, 1)[:NY, 30:].all() and unpack_used(used, 1).sum() == NX * NY
    empty = ~unpack_used(used, 0) & ~unpack_used(used, 1)
    assert (product.arrays["MASK"][empty] == NO_DATA).all() and not product.arrays["WEIGHT"][empty].any()
    assert [row["input_number"] for row in made.rows["coadd_input"]] == [0, 1]
    assert product.arrays["NOISE"].shape == (2, 2, 2, 5, 5)
    np.testing.assert_array_equal(product.arrays["WINDOWS"], [(x, y, NX, NY) for x, y in windows])


def test_an_artifact_is_rejected_and_marked():
    """A cosmic ray of one input of a night is not in the average; the place is marked and the share counted."""
    images = noise_images(4)
    images[2, 30:34, 40:43] += 100 * SIGMA
    made, product = run(*(write_warp(k, image) for k, image in enumerate(images)))
    assert (product.arrays["MASK"][30:34, 40:43] & REJECTED).all()
    assert not unpack_used(product.arrays["USED"], 2)[30:34, 40:43].any()
    assert np.abs(product.arrays["IMAGE"][30:34, 40:43]).max() < 5 * SIGMA / np.sqrt(3)
    shares = [row["fraction_rejected"] for row in made.rows["coadd_input"]]
    assert shares[2] >= 12 / (NY * NX) and max(shares[:2]) < 0.001


def test_mask_bits_of_the_inputs_come_through():
    """A source of any input is one; a halo needs half of the inputs; a saturated pixel is used from the others."""
    masks = np.zeros((4, NY, NX), np.uint16)
    masks[0, 5, 5] = DETECTED
    masks[0, 10, 10], masks[:3, 20, 20] = NEAR_SATURATED, NEAR_SATURATED
    masks[0, 30, 30] = SATURATED
    masks[:, 40, 40] = SATURATED
    _, product = run(*(write_warp(k, i, mask=m) for k, (i, m) in enumerate(zip(noise_images(4), masks, strict=True))))
    mask = product.arrays["MASK"]
    assert mask[5, 5] == DETECTED and mask[10, 10] == 0 and mask[20, 20] == NEAR_SATURATED
    assert mask[30, 30] == 0 and product.arrays["WEIGHT"][30, 30] == pytest.approx(
        0.75 * product.arrays["WEIGHT"][0, 0]
    )
    assert mask[40, 40] == SATURATED and product.arrays["WEIGHT"][40, 40] == 0


def test_a_pixel_that_is_spoiled_everywhere_is_filled_with_what_is_there():
    """A core saturated in all inputs holds their mean; inputs that do not cover it have no say."""
    image = np.full((NY, NX), 1000.0)
    masks = np.zeros((3, NY, NX), np.uint16)
    masks[:2, 30, 40] = SATURATED
    away = np.full((NY, 10), 1300.0)
    _, product = run(write_warp(0, image, mask=masks[0]), write_warp(1, image, mask=masks[1]), write_warp(2, away))
    assert product.arrays["MASK"][30, 40] == SATURATED
    assert product.arrays["IMAGE"][30, 40] == pytest.approx(product.arrays["IMAGE"][30, 50], rel=1e-3)


def test_weights_are_those_of_the_sky():
    """An input with four times the sky variance has a quarter of the weight."""
    images = noise_images(2)
    written = [write_warp(k, image) for k, image in enumerate(images)]
    rows = [
        {"visit": k, "detector": 0, "path": path, "midpoint_mjd_tai": 61000.0, "sky_variance_njy2": v}
        for (k, v), (_, (_, path)) in zip(((0, 1.0), (1, 4.0)), written, strict=True)
    ]
    unit = {"template_id": 1, "patch": PATCH["patch"], "target_fwhm_pix": TARGET, "target_beta": None, **TRACT_COLUMNS}
    made = coadd(unit, {"warps": pa.Table.from_pylist(rows)}, CoaddConfig())
    offset = [row["background_njy"] for row in made.rows["coadd_input"]]
    expected = 0.8 * (images[0] + offset[0]) + 0.2 * (images[1] + offset[1])
    np.testing.assert_allclose(made.files["coadd"].arrays["IMAGE"], expected, atol=1e-3)


def test_a_patch_without_warps_is_skipped():
    """Nothing to average is nothing to do."""
    assert isinstance(coadd({}, {"warps": pa.Table.from_pylist([])}, CoaddConfig()), Skip)
