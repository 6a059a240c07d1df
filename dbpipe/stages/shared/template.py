"""The template as one exposure sees it: assembled from coadds, without the exposure itself, on its pixel grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbpipe.imaging import mask as planes
from dbpipe.imaging import noise
from dbpipe.imaging.clean.sky_structure import structure_image
from dbpipe.imaging.difference.decorrelate import FFT_SIZE, spread
from dbpipe.imaging.difference.subtract import BLOCK_PIX
from dbpipe.imaging.kernel.match import Plane
from dbpipe.imaging.noise import NoiseField
from dbpipe.imaging.psf.homogenize import moffat_psf
from dbpipe.imaging.psf.model import UniformPsf
from dbpipe.imaging.resample import warp, warp_stamp
from dbpipe.imaging.stack.coadd import Mean, unpack_used, without_input
from dbpipe.io.exposure import Exposure
from dbpipe.io.planes import Planes, read_planes, read_window
from dbpipe.sky.skymap import Tract, patch_wcs, tract_wcs
from dbpipe.sky.wcs import PixelMap, local_affine, pixel_map
from dbpipe.sky.window import Window, footprint_window

MARGIN_PIX = 8
PROBE_PIX = 16
"""Distance of the pixels at which the inputs of the template are looked up."""


@dataclass(frozen=True)
class TemplateImage:
    """A template on the pixel grid of an exposure.

    Attributes
    ----------
    plane : Plane in flux units of the exposure
    noise : NoiseField, shape of its noise power in blocks of BLOCK_PIX
    coverage : float, fraction of pixels with a template
    weights : dict of (visit, detector) to the share of the template, sums to 1
    """

    plane: Plane
    noise: NoiseField
    coverage: float
    weights: dict[tuple[int, int], float]


def make_template(
    exposure: Exposure,
    unit: Mapping[str, Any],
    *,
    tract: Tract,
    coadds: Sequence[dict[str, Any]],
    coadd_inputs: Sequence[dict[str, Any]],
    own_warps: Sequence[dict[str, Any]],
) -> TemplateImage:
    """Assemble the template of an exposure.

    Parameters
    ----------
    exposure : Exposure
    unit : work row with visit, detector, njy_per_e, target_fwhm_pix and target_beta
    tract : Tract
    coadds : list of rows (patch, path)
    coadd_inputs : list of rows (patch, input_number, visit, detector, weight)
    own_warps : list of rows (patch, path, input_number, weight, background_njy), empty if it is in no template

    Returns
    -------
    TemplateImage
    """
    shape = exposure.image.shape
    window = footprint_window(exposure.wcs, shape, tract_wcs(tract)).grown(MARGIN_PIX)
    own = {row["patch"]: row for row in own_warps}
    others = [r for r in coadd_inputs if (r["visit"], r["detector"]) != (unit["visit"], unit["detector"])]
    frame = patch_wcs(tract, window.x0, window.y0)
    grid = pixel_map(exposure.wcs, frame, shape)
    matrix = local_affine(exposure.wcs, frame, shape[1] / 2.0, shape[0] / 2.0)
    probes = Probes(grid, shape, matrix)
    image, variance = np.zeros((2, *window.shape), np.float32)
    mask = np.full(window.shape, planes.NO_DATA, np.uint16)
    for row in coadds:
        whole = read_planes(row["path"], ["SKY", "NOISE", "WINDOWS"])
        pasted = _paste(row["path"], whole, own.get(row["patch"]), window, image, variance, mask)
        if pasted is not None:
            inputs = [r for r in others if r["patch"] == row["patch"]]
            probes.look(*pasted, *_noise_of(whole.arrays, inputs, window, pasted[0]))
    warped = warp(image, variance, mask, map_x=grid.x, map_y=grid.y, step_pix=grid.step_pix, shape=shape)
    area = abs(np.linalg.det(matrix))
    template_noise = probes.noise()
    electron = np.float32(1.0 / unit["njy_per_e"])
    return TemplateImage(
        plane=Plane(
            image=warped.image * electron,
            variance=warped.variance * electron**2 * spread(template_noise.level, shape, BLOCK_PIX),
            mask=warped.mask,
            fwhm_pix=unit["target_fwhm_pix"] / np.sqrt(area),
            psf=UniformPsf(warp_stamp(_model_psf(unit, exposure.psf.size), matrix) / area),
        ),
        noise=template_noise,
        coverage=float(np.mean((warped.mask & planes.NO_DATA) == 0)),
        weights=_shares(others),
    )


def _model_psf(unit: Mapping[str, Any], size: int) -> np.ndarray:
    return moffat_psf(unit["target_fwhm_pix"], unit["target_beta"], size)


def _paste(
    path: str,
    whole: Planes,
    own: Mapping[str, Any] | None,
    window: Window,
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
) -> tuple[tuple[slice, slice], np.ndarray] | None:
    """Copy the part of a coadd that lies in the window, without the exposure's own contribution.

    Returns the part, as slices of the window, and its packed planes of which inputs went in; None if there is none.
    """
    coadd = Window(*(whole.metadata[name] for name in ("X0", "Y0", "NX", "NY")))
    part = coadd.common(window)
    if part is None:
        return None
    read = read_window(path, ["IMAGE", "VARIANCE", "WEIGHT", "MASK", "USED"], part.slices_in(coadd))
    mean = Mean(read["IMAGE"], read["VARIANCE"], read["WEIGHT"])
    if own is not None:
        sky = whole.arrays["SKY"][own["input_number"]]
        sky = structure_image(sky, coadd.shape)[part.slices_in(coadd)] if sky.any() else np.zeros(1, np.float32)
        mean = _down_date(read["USED"], own, part, mean, sky)
    target = part.slices_in(window)
    # where nothing is left the coadd's own value stands in, masked: a hole would ring in the convolution
    image[target] = np.where(mean.weight > 0, mean.image, read["IMAGE"])
    variance[target] = mean.variance
    mask[target] = np.where((mean.weight == 0) & (read["WEIGHT"] > 0), planes.NO_DATA, read["MASK"])
    return target, read["USED"]


def _noise_of(
    whole: Mapping[str, np.ndarray], inputs: Sequence[dict[str, Any]], window: Window, part: tuple[slice, slice]
) -> tuple[np.ndarray, list[tuple[dict[str, Any], Window]]]:
    """Return the noise stamps of a coadd, and its inputs with where they lie in pixels of the part."""
    x0, y0 = window.x0 + part[1].start, window.y0 + part[0].start
    places = [Window(x - x0, y - y0, nx, ny) for x, y, nx, ny in whole["WINDOWS"].tolist()]
    return whole["NOISE"], [(r, places[r["input_number"]]) for r in inputs]


def _down_date(packed: np.ndarray, own: Mapping[str, Any], part: Window, mean: Mean, sky: np.ndarray) -> Mean:
    metadata = read_planes(own["path"], []).metadata
    warp_window = Window(*(metadata[name] for name in ("X0", "Y0", "NX", "NY")))
    common = warp_window.common(part)
    if common is None:
        return mean
    planes_read = read_window(own["path"], ["IMAGE", "VARIANCE"], common.slices_in(warp_window))
    image, variance = np.zeros((2, *part.shape), np.float32)
    cut = common.slices_in(part)
    image[cut] = planes_read["IMAGE"] + np.float32(own["background_njy"])
    variance[cut] = planes_read["VARIANCE"]
    image = image + sky
    return without_input(mean, image, variance, used=unpack_used(packed, own["input_number"]), weight=own["weight"])


class Probes:
    """Which inputs made the template, seen at a few pixels of every block of the exposure.

    Where few inputs overlap, the noise has the spectrum of those few; and that of each changes over the image.

    Parameters
    ----------
    grid : PixelMap from the exposure to the template's window
    shape : (ny, nx) of the exposure
    matrix : (2, 2) array, from pixels of the exposure to those of the template
    """

    def __init__(self, grid: PixelMap, shape: tuple[int, int], matrix: np.ndarray) -> None:
        self._on_exposure, self._area = noise.PowerOnGrid(FFT_SIZE, matrix), abs(np.linalg.det(matrix))
        steps = [np.arange(PROBE_PIX // 2, n, PROBE_PIX) for n in shape]
        y, x = (g.ravel() for g in np.meshgrid(*steps, indexing="ij"))
        self.blocks = tuple(-(-n // BLOCK_PIX) for n in shape)
        self.block = (y // BLOCK_PIX) * self.blocks[1] + x // BLOCK_PIX
        self.x, self.y = (np.rint(np.nan_to_num(v, nan=-1.0)).astype(int) for v in grid.at(x, y))
        self.powers: list[np.ndarray] = []
        self.shares: list[np.ndarray] = []
        self.power_shares: list[np.ndarray] = []

    def look(
        self,
        part: tuple[slice, slice],
        packed: np.ndarray,
        stamps: np.ndarray,
        inputs: Sequence[tuple[dict[str, Any], Window]],
    ) -> None:
        """Note which of the inputs went into a part of the template, and what noise they have there.

        Parameters
        ----------
        part : pair of slices of the template's window
        packed : planes of which inputs went in, of this part
        stamps : (n, n_node, n_node, size, size) array, autocovariances of the inputs' noise
        inputs : list of (row, Window of the input in pixels of the part)
        """
        rows, columns = part
        inside = (self.y >= rows.start) & (self.y < rows.stop) & (self.x >= columns.start) & (self.x < columns.stop)
        y, x = self.y[inside] - rows.start, self.x[inside] - columns.start
        found, weight = [], np.zeros(len(x))
        for r, window in inputs:
            n_node, half = stamps.shape[1], stamps.shape[-1] // 2
            node = noise.node_shares(x - window.x0, y - window.y0, shape=window.shape, n_node=n_node)
            # an input of weight w = 1 / v adds w^2 v g = w g, g its noise gain, to the numerator of the variance
            gain = r["weight"] * stamps[r["input_number"], :, :, half, half, None].astype(float)
            used = unpack_used(packed[:, y, x], r["input_number"])
            found.append(used * node * gain)
            weight += used * r["weight"]
        if not found:
            return
        seen = np.array(found)
        total = seen.sum(axis=(0, 1, 2))
        share = seen / np.where(total > 0, total, 1.0)
        seen /= np.where(weight > 0, weight, 1.0) ** 2
        for k, j, i in np.argwhere(seen.sum(axis=3) > 0):
            stamp = stamps[inputs[k][0]["input_number"], j, i].astype(float)
            # of variance 1 before, on the exposure's pixels
            self.powers.append(self._on_exposure(stamp / stamp[half, half]) / self._area**2)
            for shares, values in ((self.shares, share), (self.power_shares, seen)):
                shares.append(np.bincount(self.block[inside], values[k, j, i], minlength=np.prod(self.blocks)))

    def noise(self) -> NoiseField:
        """Return the noise per block; blocks without template take the mean of the others."""
        if not self.powers:
            # nothing but the exposure itself: there will be no pixel to use it on
            return noise.uniform_noise(np.ones((FFT_SIZE, FFT_SIZE)), self.blocks)
        shares, power_shares = (_normalized(np.array(s).T) for s in (self.shares, self.power_shares))
        return NoiseField(
            np.array(self.powers), shares.reshape(*self.blocks, -1), power_shares.reshape(*self.blocks, -1)
        )


def _normalized(shares: np.ndarray) -> np.ndarray:
    """Return rows of unit sum; empty ones take the mean of the others."""
    seen = shares.sum(axis=1, keepdims=True)
    return np.where(seen > 0, shares / np.where(seen > 0, seen, 1.0), shares.sum(axis=0) / shares.sum())


def _shares(inputs: Sequence[dict[str, Any]]) -> dict[tuple[int, int], float]:
    weight = {}
    for r in inputs:
        weight[r["visit"], r["detector"]] = r["weight"]
    total = sum(weight.values())
    return {key: w / total for key, w in weight.items()}
