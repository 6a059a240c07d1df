"""The template as one exposure sees it: assembled from coadds, without the exposure itself, on its pixel grid."""

from dataclasses import dataclass

import numpy as np

from dbpipe.imaging import mask as planes
from dbpipe.imaging import noise
from dbpipe.imaging.coadd import Mean, unpack_used, without_input
from dbpipe.imaging.decorrelate import FFT_SIZE
from dbpipe.imaging.resample import warp
from dbpipe.imaging.subtract import Plane
from dbpipe.io.planes import read_planes, read_window
from dbpipe.sky.skymap import patch_wcs, tract_wcs
from dbpipe.sky.wcs import local_affine, pixel_map
from dbpipe.sky.window import Window, footprint_window

MARGIN_PIX = 8


@dataclass(frozen=True)
class TemplateImage:
    """A template on the pixel grid of an exposure.

    Attributes
    ----------
    plane : Plane in flux units of the exposure
    power : (FFT_SIZE, FFT_SIZE) float array in FFT order, shape of its noise power, mean 1
    coverage : float, fraction of pixels with a template
    weights : dict of (visit, detector) to the share of the template, sums to 1
    """

    plane: Plane
    power: np.ndarray
    coverage: float
    weights: dict


def make_template(exposure, unit, *, tract, coadds, coadd_inputs, own_warps):
    """Assemble the template of an exposure.

    Parameters
    ----------
    exposure : Exposure
    unit : work row with visit, detector, njy_per_e and target_fwhm_pix
    tract : Tract
    coadds : list of rows (patch, path)
    coadd_inputs : list of rows (patch, input_number, visit, detector, weight, noise_gain)
    own_warps : list of rows (patch, path, input_number, weight, background_njy), empty if it is in no template

    Returns
    -------
    TemplateImage
    """
    shape = exposure.image.shape
    window = footprint_window(exposure.wcs, shape, tract_wcs(tract)).grown(MARGIN_PIX)
    own = {row["patch"]: row for row in own_warps}
    image, variance = np.zeros((2, *window.shape), np.float32)
    mask = np.full(window.shape, planes.NO_DATA, np.uint16)
    for row in coadds:
        _paste(row, own.get(row["patch"]), window, image, variance, mask)
    frame = patch_wcs(tract, window.x0, window.y0)
    grid = pixel_map(exposure.wcs, frame, shape)
    warped = warp(image, variance, mask, map_x=grid.x, map_y=grid.y, step_pix=grid.step_pix, shape=shape)
    others = [r for r in coadd_inputs if (r["visit"], r["detector"]) != (unit["visit"], unit["detector"])]
    matrix = local_affine(exposure.wcs, frame, shape[1] / 2.0, shape[0] / 2.0)
    area = abs(np.linalg.det(matrix))
    stamp = _noise_stamp(coadds, others)
    power = noise.interpolation_power(FFT_SIZE, matrix, power=noise.power_of(stamp)) / area**2
    electron = np.float32(1.0 / unit["njy_per_e"])
    return TemplateImage(
        plane=Plane(
            image=warped.image * electron,
            variance=warped.variance * electron**2 * np.float32(power.mean()),
            mask=warped.mask,
            fwhm_pix=unit["target_fwhm_pix"] / np.sqrt(area),
        ),
        power=power / power.mean(),
        coverage=float(np.mean((warped.mask & planes.NO_DATA) == 0)),
        weights=_shares(others),
    )


def _paste(row, own, window, image, variance, mask):
    """Copy the part of a coadd that lies in the window, without the exposure's own contribution."""
    head = read_planes(row["path"], [])
    ny, nx = head.metadata["NY"], head.metadata["NX"]
    coadd = Window(head.metadata["X0"], head.metadata["Y0"], nx, ny)
    part = coadd.common(window)
    if part is None:
        return
    read = read_window(row["path"], ["IMAGE", "VARIANCE", "WEIGHT", "MASK"], part.slices_in(coadd))
    mean = Mean(read["IMAGE"], read["VARIANCE"], read["WEIGHT"])
    if own is not None:
        mean = _down_date(row, own, coadd, part, mean)
    target = part.slices_in(window)
    # where nothing is left the coadd's own value stands in, masked: a hole would ring in the convolution
    image[target] = np.where(mean.weight > 0, mean.image, read["IMAGE"])
    variance[target] = mean.variance
    mask[target] = np.where((mean.weight == 0) & (read["WEIGHT"] > 0), planes.NO_DATA, read["MASK"])


def _down_date(row, own, coadd, part, mean):
    head = read_planes(own["path"], [])
    warp_window = Window(head.metadata["X0"], head.metadata["Y0"], head.metadata["NX"], head.metadata["NY"])
    common = warp_window.common(part)
    if common is None:
        return mean
    planes_read = read_window(own["path"], ["IMAGE", "VARIANCE"], common.slices_in(warp_window))
    packed = read_window(row["path"], ["USED"], part.slices_in(coadd))["USED"]
    image, variance = np.zeros((2, *part.shape), np.float32)
    cut = common.slices_in(part)
    image[cut] = planes_read["IMAGE"] + np.float32(own["background_njy"])
    variance[cut] = planes_read["VARIANCE"]
    return without_input(mean, image, variance, used=unpack_used(packed, own["input_number"]), weight=own["weight"])


def _noise_stamp(coadds, inputs):
    """Autocovariance of the template's noise: the inputs' stamps, each by its part of the variance.

    An input of weight w = 1 / v adds w^2 v g = w g, g its noise gain, to the numerator of the variance.
    """
    total, norm = None, 0.0
    for row in coadds:
        stamps = read_planes(row["path"], ["NOISE"]).arrays["NOISE"]
        for r in inputs:
            if r["patch"] == row["patch"]:
                part = r["weight"] * r["noise_gain"] * stamps[r["input_number"]].astype(float)
                total = part if total is None else total + part
                norm += r["weight"] * r["noise_gain"]
    if total is None:
        # nothing but the exposure itself: there will be no pixel to use it on
        total, norm = np.ones((1, 1)), 1.0
    return total / norm


def _shares(inputs):
    weight = {}
    for r in inputs:
        weight[r["visit"], r["detector"]] = r["weight"]
    total = sum(weight.values())
    return {key: w / total for key, w in weight.items()}
