"""Average the warps of a patch into the template."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import ndimage

from dbpipe.imaging import mask as planes
from dbpipe.imaging.clean.sky_structure import follow_structure, structure_image
from dbpipe.imaging.stack.coadd import (
    Mean,
    background_offset,
    find_deviant,
    fixed_halos,
    keep_artifacts,
    median_image,
    pack_used,
    weighted_mean,
)
from dbpipe.io.planes import Planes, read_planes
from dbpipe.sky.skymap import Tract, patch_wcs
from dbpipe.sky.window import Window
from dbpipe.stage import Outputs, Skip
from dbpipe.stages.contracts.coadd import CoaddConfig

N_MATCH = 3
"""Rounds in which the skies of the inputs are brought together."""


@dataclass(frozen=True)
class _Input:
    row: dict[str, Any]
    window: Window
    noise: np.ndarray


def coadd(unit: Mapping[str, Any], inputs: Mapping[str, pa.Table], config: CoaddConfig) -> Outputs | Skip:
    """Match backgrounds, reject artifacts, average; keep which input went in where."""
    rows = inputs["warps"].to_pylist()
    if not rows:
        return Skip("no exposure covers the patch")
    warps = [_open(row) for row in rows]
    window = warps[0].window
    for w in warps[1:]:
        window = window.union(w.window)
    stack, usable = _read_stack(warps, window)
    median, count = median_image(stack, usable)
    offsets = [background_offset(image, median, ok & (count >= 2)) for image, ok in zip(stack, usable, strict=True)]
    for image, offset in zip(stack, offsets, strict=True):
        # what no exposure covers stays 0: that is how `_filled` knows it
        image[image != 0] += np.float32(offset)
    nodes = _match_structure(stack, usable)
    median, count = median_image(stack, usable)
    rejected = _rejected(unit, warps, window, stack, usable, median, count, config)
    used = usable & ~rejected
    weights = [1.0 / row["sky_variance_njy2"] for row in rows]
    variances = (_read_plane(w, "VARIANCE", window) for w in warps)
    mean = weighted_mean(stack, variances, used, weights)
    mask = _mask(warps, window, mean, used, rejected)
    image = _filled(mean, stack, usable, mask)
    product = Planes(
        {
            "IMAGE": image,
            "VARIANCE": mean.variance,
            "WEIGHT": mean.weight,
            "MASK": mask,
            "USED": pack_used(used),
            "SKY": nodes,
            "NOISE": np.array([w.noise for w in warps], np.float32),
            "WINDOWS": np.array([(w.window.x0, w.window.y0, w.window.nx, w.window.ny) for w in warps], np.int32),
        },
        patch_wcs(Tract.of(unit), window.x0, window.y0),
        {"X0": window.x0, "Y0": window.y0, "NX": window.nx, "NY": window.ny, "BUNIT": "nJy", "NINPUT": len(warps)},
    )
    return Outputs(
        rows={
            "coadd": [_coadd_row(unit, mean, used, usable)],
            "coadd_input": [
                _input_row(unit, row, k, weights[k], offsets[k], usable[k], rejected[k]) for k, row in enumerate(rows)
            ],
        },
        files={"coadd": product},
        n_pix=int(stack.size),
    )


def _match_structure(stack: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Give all inputs the same part of the sky's structure, in place; return the nodes of what was added to each.

    Their common median changes where an input ends: it is taken anew while they come closer.
    """
    nodes = None
    for _ in range(N_MATCH):
        median, count = median_image(stack, usable)
        seen = [ok & (count >= 2) for ok in usable]
        added = np.array([follow_structure(median - image, ok) for image, ok in zip(stack, seen, strict=True)])
        for image, more in zip(stack, added, strict=True):
            if more.any():
                image[image != 0] += structure_image(more, image.shape)[image != 0]
        nodes = added if nodes is None else nodes + added
        if not added.any():
            break
    assert nodes is not None  # N_MATCH is 1 at least
    return nodes


def _mask(warps: Sequence[_Input], window: Window, mean: Mean, used: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """Mask of the coadd.

    A source of any input is a source; a halo counts where half of what went in lies in one, since bleeds point
    elsewhere in every exposure; saturated pixels have not gone in at all.
    """
    mask = np.where(mean.weight > 0, 0, planes.NO_DATA).astype(np.uint16)
    mask[rejected.any(axis=0)] |= planes.REJECTED
    n_halo, empty = np.zeros(window.shape, np.uint16), mean.weight == 0
    for w, ok in zip(warps, used, strict=True):
        bits = _read_plane(w, "MASK", window)
        mask |= bits & planes.DETECTED
        # nothing went in, but there is an image: say what is wrong with it
        spoiled = empty & ((bits & planes.NO_DATA) == 0) & ((bits & planes.UNUSABLE) != 0)
        mask[spoiled] = (mask[spoiled] | (bits[spoiled] & planes.UNUSABLE)) & ~np.uint16(planes.NO_DATA)
        n_halo += ok & ((bits & planes.NEAR_SATURATED) != 0)
    mask[2 * n_halo > used.sum(axis=0)] |= planes.NEAR_SATURATED
    return mask


def _filled(mean: Mean, stack: np.ndarray, usable: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fill pixels that nothing went into with the plain mean of what is there.

    They stay masked, but a hole in a star would ring when the template is convolved.
    """
    image = mean.image.copy()
    spoiled = (mean.weight == 0) & ((mask & planes.NO_DATA) == 0)
    values = np.where(usable[:, spoiled] | (stack[:, spoiled] != 0), stack[:, spoiled], np.nan)
    held = np.isfinite(values)
    image[spoiled] = np.where(held, values, 0.0).sum(axis=0) / np.maximum(held.sum(axis=0), 1)
    return image


def _open(row: dict[str, Any]) -> _Input:
    product = read_planes(row["path"], ["NOISE", "MASK"])
    ny, nx = product.arrays["MASK"].shape
    return _Input(row, Window(product.metadata["X0"], product.metadata["Y0"], nx, ny), product.arrays["NOISE"])


def _read_plane(warp: _Input, name: str, window: Window) -> np.ndarray:
    plane = read_planes(warp.row["path"], [name]).arrays[name]
    outside = planes.NO_DATA if name == "MASK" else 0
    whole = np.full(window.shape, outside, plane.dtype)
    whole[warp.window.slices_in(window)] = plane
    return whole


def _read_stack(warps: Sequence[_Input], window: Window) -> tuple[np.ndarray, np.ndarray]:
    stack = np.zeros((len(warps), *window.shape), np.float32)
    usable = np.zeros(stack.shape, bool)
    for k, w in enumerate(warps):
        stack[k] = _read_plane(w, "IMAGE", window)
        usable[k] = (_read_plane(w, "MASK", window) & planes.UNFIT) == 0
    return stack, usable


def _rejected(
    unit: Mapping[str, Any],
    warps: Sequence[_Input],
    window: Window,
    stack: np.ndarray,
    usable: np.ndarray,
    median: np.ndarray,
    count: np.ndarray,
    config: CoaddConfig,
) -> np.ndarray:
    limits, fwhm_pix = config.rejection, unit["target_fwhm_pix"]
    mjd = [w.row["midpoint_mjd_tai"] for w in warps]
    deviant, trail = np.zeros((2, *stack.shape), bool)
    bits = [_read_plane(w, "MASK", window) for w in warps]
    shown = np.array([_shown(mask, ok) for mask, ok in zip(bits, usable, strict=True)])
    for k, w in enumerate(warps):
        variance = _read_plane(w, "VARIANCE", window)
        halo, saturated = ((bits[k] & bit) != 0 for bit in (planes.NEAR_SATURATED, planes.SATURATED))
        halo = fixed_halos(
            halo | saturated, saturated, shown, number=k, mjd=mjd, max_gap_day=limits.max_witness_gap_day
        )
        clear = usable[k] & ~ndimage.maximum_filter(halo, 2 * math.ceil(4.0 * fwhm_pix) + 1)
        deviant[k], trail[k] = find_deviant(
            stack[k], variance, clear, median=median, count=count, fwhm_pix=fwhm_pix, limits=limits
        )
    keep_artifacts(deviant, trail, usable, mjd=mjd, limits=limits)
    return deviant


def _shown(mask: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Return 1 where an input shows a source, 0 where sky, -1 where nothing is known; int8."""
    return np.where((mask & (planes.DETECTED | planes.SATURATED)) != 0, 1, np.where(usable, 0, -1)).astype(np.int8)


def _coadd_row(unit: Mapping[str, Any], mean: Mean, used: np.ndarray, usable: np.ndarray) -> dict[str, float]:
    covered = mean.weight > 0
    n_usable = int(usable.sum())
    return {
        **{key: unit[key] for key in ("template_id", "tract", "patch")},
        "n_input": used.shape[0],
        "mean_n_input": float(used.sum() / max(covered.sum(), 1)),
        "fraction_valid": float(covered.mean()),
        "fraction_rejected": 1.0 - float(used.sum()) / max(n_usable, 1),
        "noise_njy": float(np.sqrt(np.median(mean.variance[covered]))) if covered.any() else 0.0,
    }


def _input_row(
    unit: Mapping[str, Any],
    row: Mapping[str, Any],
    number: int,
    weight: float,
    offset: float,
    usable: np.ndarray,
    rejected: np.ndarray,
) -> dict[str, float]:
    return {
        **{key: unit[key] for key in ("template_id", "tract", "patch")},
        "visit": row["visit"],
        "detector": row["detector"],
        "input_number": number,
        "weight": weight,
        "background_njy": offset,
        "fraction_rejected": float(rejected.sum() / max(usable.sum(), 1)),
    }
