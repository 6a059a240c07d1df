"""Put one exposure onto the tract grid and give it the model PSF of the template.

The image is warped first and matched afterward: PSF and image then went through the same interpolation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.wcs import WCS

from dbpipe.errors import DataError
from dbpipe.imaging import mask as planes
from dbpipe.imaging import noise
from dbpipe.imaging.clean.thin_lines import fill_thin_lines
from dbpipe.imaging.convolve import KernelField, block_centers, convolve, core_radius_pix
from dbpipe.imaging.difference.decorrelate import spread
from dbpipe.imaging.psf.homogenize import HomogenizationKernel, match_psf, moffat_psf
from dbpipe.imaging.resample import Warped, fill_bleeds, fill_gaps, warp, warp_stamp
from dbpipe.io.exposure import Exposure, read_exposure
from dbpipe.io.planes import Planes
from dbpipe.sky.skymap import Tract, patch_wcs, tract_wcs
from dbpipe.sky.wcs import local_affine, pixel_map
from dbpipe.sky.window import Window, footprint_window
from dbpipe.stage import Outputs, Skip
from dbpipe.stages.contracts.warp import WarpConfig

BLOCK_PIX = 256
NOISE_HALF = 20
"""Half side of the autocovariance stamp [pix]: kernels of 31 pix have no longer reach."""
POWER_SIZE = 96
N_NODE = 3
"""Places along each axis for which the noise's correlation is stored: the kernel follows the PSF across the exposure,
and where the PSF is about as sharp as the model, a little makes its noise gain twice as large."""


def warp_exposure(unit: Mapping[str, Any], inputs: Mapping[str, Any], config: WarpConfig) -> Outputs | Skip:
    """Warp, homogenize and scale one exposure to nJy on one patch."""
    exposure = read_exposure(unit["path"])
    tract = Tract.of(unit)
    patch = Window(unit["x0"], unit["y0"], unit["nx"], unit["ny"])
    covered = footprint_window(exposure.wcs, exposure.image.shape, tract_wcs(tract)).common(patch)
    if covered is None:
        return Skip("no pixel of the exposure lies on the patch")
    wide = covered.grown(config.kernel_size_pix // 2 + 1)
    frame = patch_wcs(tract, wide.x0, wide.y0)
    worst = _refuse_ill_conditioned(exposure, tract_wcs(tract), unit, config)
    kernels, middle = _kernels(exposure, frame, wide, unit, config)
    warped = _warped(exposure, frame, wide, unit["psf_fwhm_pix"])
    image = convolve(warped.image, kernels)
    # a filled gap spoils little beyond itself; what is saturated or outside spoils all that the kernel reaches
    mask = planes.grow_bits(warped.mask, 1, bits=planes.BAD | planes.COSMIC_RAY)
    mask = planes.grow_bits(
        mask, core_radius_pix(middle.kernel), bits=planes.SATURATED | planes.NO_DATA | planes.STREAK
    )
    interpolated = _interpolated_power(exposure, frame, wide)
    gain = np.array([[_power(interpolated, k).mean() for k in row] for row in kernels.kernels])
    cut = covered.slices_in(wide)
    good = (mask[cut] & planes.UNUSABLE) == 0
    if not good.any():
        return Skip("no usable pixel of the exposure lies on the patch")
    njy, here = np.float32(unit["njy_per_e"]), patch_wcs(tract, covered.x0, covered.y0)
    product = Planes(
        {
            "IMAGE": image[cut] * njy,
            "VARIANCE": (warped.variance * spread(gain, wide.shape, BLOCK_PIX))[cut] * njy**2,
            "MASK": mask[cut],
            "NOISE": _noise_stamps(exposure, here, covered, interpolated, unit, config),
        },
        here,
        {
            "X0": covered.x0,
            "Y0": covered.y0,
            "NX": covered.nx,
            "NY": covered.ny,
            "BUNIT": "nJy",
            "PSFFWHM": unit["target_fwhm_pix"],
        },
    )
    row = {key: unit[key] for key in ("template_id", "tract", "patch", "visit", "detector")} | {
        "kernel_sum": float(middle.kernel.sum()),
        "kernel_negative": worst["kernel_negative"],
        "psf_residual": worst["psf_residual"],
        "noise_gain": float(_power(interpolated, middle.kernel).mean()),
        "fraction_valid": float(good.sum() / (patch.nx * patch.ny)),
    }
    return Outputs(rows={"warp": [row]}, files={"warp": product}, n_pix=covered.nx * covered.ny)


def _warped(exposure: Exposure, frame: WCS, window: Window, fwhm_pix: float) -> Warped:
    grid = pixel_map(frame, exposure.wcs, window.shape)
    image, variance, mask = fill_thin_lines(exposure.image, exposure.variance, exposure.mask, fwhm_pix=fwhm_pix)
    return warp(
        fill_gaps(fill_bleeds(image, mask), mask),
        variance,
        mask,
        map_x=grid.x,
        map_y=grid.y,
        step_pix=grid.step_pix,
        shape=window.shape,
    )


def _kernels(
    exposure: Exposure, frame: WCS, window: Window, unit: Mapping[str, Any], config: WarpConfig
) -> tuple[KernelField, HomogenizationKernel]:
    """Fit the homogenization kernel of every block."""
    x, y = block_centers(window.shape, BLOCK_PIX)
    grid_x, grid_y = (g.ravel() for g in np.meshgrid(x, y))
    fits = _kernels_at(exposure, frame, window, grid_x, grid_y, unit, config)
    size = config.kernel_size_pix
    kernels = np.array([f.kernel for f in fits], np.float32).reshape(len(y), len(x), size, size)
    return KernelField(kernels, BLOCK_PIX), fits[len(fits) // 2]


def _kernels_at(
    exposure: Exposure,
    frame: WCS,
    window: Window,
    grid_x: np.ndarray,
    grid_y: np.ndarray,
    unit: Mapping[str, Any],
    config: WarpConfig,
) -> list[HomogenizationKernel]:
    """Fit the homogenization kernel at places of the window from the PSF model, warped like the image."""
    grid = pixel_map(frame, exposure.wcs, window.shape)
    in_x, in_y = grid.at(grid_x, grid_y)
    ny, nx = exposure.image.shape
    # places beyond the image take the PSF at its edge
    in_x, in_y = np.clip(in_x, 0, nx - 1), np.clip(in_y, 0, ny - 1)
    matrices = local_affine(frame, exposure.wcs, grid_x, grid_y)
    return _fit_kernels(exposure.psf.at_many(in_x, in_y), matrices, unit, config)


def _fit_kernels(
    psfs: np.ndarray, matrices: np.ndarray, unit: Mapping[str, Any], config: WarpConfig
) -> list[HomogenizationKernel]:
    model = moffat_psf(unit["target_fwhm_pix"], unit["target_beta"], psfs.shape[-1])
    stamps = (warp_stamp(psf, matrix) for psf, matrix in zip(psfs, matrices, strict=True))
    return [match_psf(stamp / stamp.sum(), model, kernel_size_pix=config.kernel_size_pix) for stamp in stamps]


def _refuse_ill_conditioned(
    exposure: Exposure, tract_frame: WCS, unit: Mapping[str, Any], config: WarpConfig
) -> dict[str, float]:
    """Judge the whole exposure, on a grid of nine places, so that it goes into all patches or none."""
    ny, nx = exposure.image.shape
    x, y = (g.ravel() for g in np.meshgrid(np.linspace(0, nx - 1, 3), np.linspace(0, ny - 1, 3)))
    matrices = np.linalg.inv(local_affine(exposure.wcs, tract_frame, x, y))
    fits = _fit_kernels(exposure.psf.at_many(x, y), matrices, unit, config)
    residual, negative = max(f.residual for f in fits), max(f.negative for f in fits)
    beyond: dict[str, float] = {}
    if residual > config.max_psf_residual:
        beyond |= {"psf_residual": residual, "max_psf_residual": config.max_psf_residual}
    if negative > config.max_kernel_negative:
        beyond |= {"kernel_negative": negative, "max_kernel_negative": config.max_kernel_negative}
    if beyond:
        raise DataError(
            "the exposure cannot be matched to the model PSF",
            **beyond,
            psf_fwhm_pix=unit["psf_fwhm_pix"],
            target_fwhm_pix=unit["target_fwhm_pix"],
        )
    return {"psf_residual": residual, "kernel_negative": negative}


def _noise_stamps(
    exposure: Exposure,
    frame: WCS,
    window: Window,
    interpolated: np.ndarray,
    unit: Mapping[str, Any],
    config: WarpConfig,
) -> np.ndarray:
    """Autocovariance of the noise at nodes of the window, relative to the variance before the kernel, float32."""
    x, y = (noise.nodes(n, N_NODE) for n in (window.nx, window.ny))
    grid_x, grid_y = (g.ravel() for g in np.meshgrid(x, y))
    fits = _kernels_at(exposure, frame, window, grid_x, grid_y, unit, config)
    stamps = [noise.autocovariance(_power(interpolated, f.kernel), NOISE_HALF) for f in fits]
    return np.reshape(stamps, (N_NODE, N_NODE, *stamps[0].shape)).astype(np.float32)


def _power(interpolated: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Noise power of the product relative to the variance of the exposure's own pixels."""
    return interpolated * noise.kernel_power(kernel, POWER_SIZE)


def _interpolated_power(exposure: Exposure, frame: WCS, window: Window) -> np.ndarray:
    """Noise power of the warped exposure relative to the variance of its own pixels."""
    matrix = local_affine(frame, exposure.wcs, window.nx / 2.0, window.ny / 2.0)
    interpolated = noise.interpolation_power(POWER_SIZE, matrix)
    # `warp` has scaled the variance by the squared pixel area already
    area = abs(np.linalg.det(matrix))
    return interpolated / area**2
