"""Single pairs of real frames that others registered: differencing alone, against planted sources and another code."""

import csv

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from one_pair import calibrate_side, raw_image, registered_noise, subtract_sides
from scipy import ndimage
from scipy.spatial import cKDTree

from dbpipe.imaging import mask as bits
from dbpipe.imaging.score import blank_statistics
from dbpipe.io.difference import Difference
from dbpipe.io.exposure import Exposure
from dbpipe.io.wcs_text import wcs_from_header
from dbpipe.stages.detect import DetectConfig, detect

pytestmark = pytest.mark.slow


def detect_pair(folder, result, score, science, wcs):
    """Write the products as the stages do, run the detect stage on them and return its columns."""
    calexp, diffim = folder / "calexp.fits", folder / "diffim.fits"
    plane = science.plane
    Exposure(plane.image, plane.variance, plane.mask, wcs, science.psf, {}).write(calexp)
    Difference(
        difference=result.difference, variance=result.variance, mask=result.mask, score=score.score,
        template=result.matched_template, psf_field=result.whitening.psf, wcs=wcs, metadata={"CALEXP": str(calexp)},
    ).write(diffim)  # fmt: skip
    unit = {
        "visit": 1, "detector": 0, "band": "L", "template_id": 1, "midpoint_mjd_tai": 60000.0, "path": str(diffim),
        "njy_per_e": 1.0, "science_noise_e": result.science_noise, "template_noise_e": result.template_noise,
        "diff_noise_e": float(np.sqrt(np.median(result.variance))),
    }  # fmt: skip
    stars = pa.table({"x": science.bright_x, "y": science.bright_y, "flux": science.bright_flux})
    return detect(unit, {"stars": stars}, DetectConfig()).rows["dia_source"]


def read_goto(path):
    """Return one GOTO frame as a raw image and its gain, which the header does not tell: the sky's noise does."""
    pixels, header = fits.getdata(path, header=True)
    noise = registered_noise(pixels)
    gain = noise.sky / noise.variance
    # the telescope saturates at 65535 ADU; resampling has blurred that edge
    return raw_image(pixels * gain, read_noise_e=1.0, saturation_e=50_000 * gain, wcs=wcs_from_header(header)), noise


@pytest.fixture(scope="module")
def goto(shared_data, tmp_path_factory):
    """The GOTO pair, subtracted and searched: result, score, science side, sources and the planted ones."""
    folder = shared_data / "goto_m88_pair"
    raw, noise = zip(*(read_goto(folder / f"goto_{n}.fits.gz") for n in ("science_2", "template_1")), strict=True)
    science, template = (calibrate_side(r) for r in raw)
    result, score, _ = subtract_sides(science, template, science_power=noise[0].power, template_power=noise[1].power)
    sources = detect_pair(tmp_path_factory.mktemp("goto"), result, score, science, raw[0].wcs)
    with (folder / "derived_truth_new_sources.csv").open(newline="") as file:
        planted = np.array([[float(row["x_0based"]), float(row["y_0based"])] for row in csv.DictReader(file)])
    return result, score, science, sources, planted
