"""Combine matched warps into a template: match backgrounds, reject what is in few epochs, average.

The rejection follows the idea of SafeClip (Bosch et al. 2018 PASJ 70 S5, sect. 3.3): an artifact stands out of a
robust mean in few epochs; a variable star does so in many, or by a small part of its flux, and stays.  A point source
that is there in few epochs may be a mover or a supernova: it is an artifact if half of the exposures taken soon before
or after lack it.  What is longer than any point source (a satellite's trail) is one in any case.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from dbpipe.compiled import njit
from dbpipe.constants import robust_sigma
from dbpipe.imaging.settings import RejectionLimits


def background_offset(image: np.ndarray, reference: np.ndarray, usable: np.ndarray) -> float:
    """Return the constant to add to ``image`` so that its sky matches the reference's.

    Parameters
    ----------
    image, reference : (ny, nx) float arrays
    usable : (ny, nx) bool, pixels good in both; sources are clipped here

    Returns
    -------
    float, 0 if the two do not overlap
    """
    difference = (reference - image)[usable]
    if difference.size == 0:
        return 0.0
    for _ in range(5):
        center = np.median(difference)
        width = robust_sigma(difference, center, dtype=difference.dtype.type)
        kept = difference[np.abs(difference - center) <= 3.0 * width]
        if kept.size in (0, difference.size):
            break
        difference = kept
    return float(np.mean(difference))


@njit(cache=True)
def median_image(stack, usable):
    """Median over the inputs of each pixel.

    Parameters
    ----------
    stack : (n, ny, nx) float32
    usable : (n, ny, nx) bool

    Returns
    -------
    median (ny, nx) float32, 0 where nothing is usable; count (ny, nx) uint16 of usable inputs
    """
    n, ny, nx = stack.shape
    median = np.zeros((ny, nx), np.float32)
    count = np.zeros((ny, nx), np.uint16)
    values = np.empty(n, np.float32)
    for y in range(ny):
        for x in range(nx):
            m = 0
            for k in range(n):
                if usable[k, y, x]:
                    # insertion sort: n is small
                    value = stack[k, y, x]
                    j = m
                    while j > 0 and values[j - 1] > value:
                        values[j] = values[j - 1]
                        j -= 1
                    values[j] = value
                    m += 1
            count[y, x] = m
            if m > 0:
                median[y, x] = values[m // 2] if m % 2 else 0.5 * (values[m // 2 - 1] + values[m // 2])
    return median, count


def find_deviant(
    image: np.ndarray,
    variance: np.ndarray,
    usable: np.ndarray,
    *,
    median: np.ndarray,
    count: np.ndarray,
    fwhm_pix: float,
    limits: RejectionLimits,
) -> tuple[np.ndarray, np.ndarray]:
    """Mark the regions where one input deviates from the median of all.

    Parameters
    ----------
    image, variance : (ny, nx) float arrays of the input, background matched
    usable : (ny, nx) bool
    median, count : as `median_image` returns them
    fwhm_pix : float
        Of the model PSF that all inputs have.
    limits : RejectionLimits

    Returns
    -------
    deviant (ny, nx) bool; trail (ny, nx) bool, its longest regions. Where only two inputs can vote nothing but a trail
    is deviant: which of two is right about a point source nobody knows
    """
    # of two inputs the brighter one is suspect, against the other; variance of a median of n: pi/2 of that of the mean
    two = count == 2
    base = np.where(two, median - np.abs(image - median), median)
    deviation = np.abs(image - base)
    sigma = np.sqrt(np.maximum(variance, 0.0) * np.where(two, 2.0, 1.0 + 0.5 * np.pi / np.maximum(count, 1)))
    votes = usable & (count >= 2) & (sigma > 0)
    beneath = ndimage.maximum_filter(base, 2 * math.ceil(fwhm_pix) + 1)
    seeds = votes & (deviation > limits.seed_sigma * sigma) & (deviation > limits.min_contrast * beneath)
    if not seeds.any():
        return seeds, seeds
    grown = votes & (deviation > limits.grow_sigma * sigma)
    labels, n_label = ndimage.label(grown | seeds, structure=np.ones((3, 3)))
    keep = np.zeros(n_label + 1, bool)
    keep[labels[seeds]] = True
    # most regions have no seed: what follows knows only those that have, numbered anew
    labels = np.where(keep, np.cumsum(keep), 0).astype(np.int32)[labels]
    # the diagonal of its box is a trail's length, and its area a small part of the diagonal's square (a disk: 0.39)
    length = np.array([math.hypot(*(side.stop - side.start for side in box)) for box in ndimage.find_objects(labels)])
    area = np.bincount(labels[labels > 0])[1:]
    long = np.append(False, (length > limits.trail_length_fwhm * fwhm_pix) & (area < 0.25 * length**2))
    deviant, trail = (ndimage.binary_dilation(chosen) & usable for chosen in (labels > 0, long[labels]))
    return deviant & (trail | (count >= 3)), trail


def keep_artifacts(
    deviant: np.ndarray,
    trail: np.ndarray,
    usable: np.ndarray,
    *,
    mjd: Sequence[float] | np.ndarray,
    limits: RejectionLimits,
) -> None:
    """Drop deviations that may be the sky's: those that the other inputs of the time share, or do not disprove.

    Parameters
    ----------
    deviant, trail : (n, ny, nx) bool as `find_deviant` gives them; ``deviant`` is changed in place
    usable : (n, ny, nx) bool
    mjd : (n,) float, times of the inputs [d]
    limits : RejectionLimits
    """
    shown, quiet = deviant.copy(), usable & ~deviant
    for k, time in enumerate(mjd):
        soon = np.abs(np.asarray(mjd) - time) <= limits.max_witness_gap_day
        few = quiet[soon].sum(axis=0, dtype=np.int32) >= shown[soon].sum(axis=0, dtype=np.int32)
        deviant[k] &= trail[k] | few


def fixed_halos(
    halo: np.ndarray, saturated: np.ndarray, shown: np.ndarray, *, number: int, mjd: Sequence[float], max_gap_day: float
) -> np.ndarray:
    """Return the halos of one input about stars, without those about a saturated source that was only there then.

    Around a saturated star the inputs differ by their bleeds and by the wings of their PSFs, which is no artifact; what
    surrounds the masked core of a mover is one.  A saturated area is a mover if in most of its pixels the inputs of the
    time that show nothing there are at least as many as those that do.

    Parameters
    ----------
    halo, saturated : (ny, nx) bool, of the input; a halo includes its saturated pixels
    shown : (n, ny, nx) int8, what each input shows: 1 a source or what it saturated, 0 sky, -1 nothing is known
    number : int, of the input
    mjd : (n,) float, times of the inputs [d]
    max_gap_day : float, time within which the others are asked

    Returns
    -------
    (ny, nx) bool
    """
    rows, columns = np.nonzero(saturated & halo)
    if not rows.size:
        return halo
    soon = np.flatnonzero(np.abs(np.asarray(mjd) - mjd[number]) <= max_gap_day)
    votes = shown[soon][:, rows, columns]
    lacking = (votes == 0).sum(axis=0) >= (votes == 1).sum(axis=0)
    labels, n_label = ndimage.label(halo, structure=np.ones((3, 3)))
    label = labels[rows, columns]
    lack, total = (np.bincount(label, weight, n_label + 1) for weight in (lacking, None))
    is_mover = lack > 0.5 * total
    is_mover[0] = False
    return halo & ~is_mover[labels]


@dataclass(frozen=True)
class Mean:
    """A weighted mean of inputs.

    Attributes
    ----------
    image : (ny, nx) float32, 0 without input
    variance : (ny, nx) float32, of the mean
    weight : (ny, nx) float32, sum of the weights
    """

    image: np.ndarray
    variance: np.ndarray
    weight: np.ndarray


def weighted_mean(
    images: Sequence[np.ndarray] | np.ndarray,
    variances: Iterator[Any] | Sequence[np.ndarray] | np.ndarray,
    used: np.ndarray,
    weights: Sequence[float] | np.ndarray,
) -> Mean:
    """Average inputs with one weight each: weights that followed the pixels' own noise would bias bright stars.

    Parameters
    ----------
    images, variances : iterables of (ny, nx) arrays
    used : (n, ny, nx) bool
    weights : (n,) float

    Returns
    -------
    Mean
    """
    shape = used.shape[1:]
    flux, noise, total = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for image, variance, ok, w in zip(images, variances, used, weights, strict=True):
        flux[ok] += w * image[ok]
        noise[ok] += w * w * variance[ok]
        total[ok] += w
    covered = total > 0
    safe = np.where(covered, total, 1.0)
    return Mean(
        image=np.where(covered, flux / safe, 0.0).astype(np.float32),
        variance=np.where(covered, noise / safe**2, 0.0).astype(np.float32),
        weight=total.astype(np.float32),
    )


def without_input(mean: Mean, image: np.ndarray, variance: np.ndarray, *, used: np.ndarray, weight: float) -> Mean:
    """Return the mean as if one of its inputs had not been there: one down-date per pixel.

    Parameters
    ----------
    mean : Mean that holds the input
    image, variance : (ny, nx) arrays of the input, as they went in
    used : (ny, nx) bool, where it went in
    weight : float, its weight

    Returns
    -------
    Mean
    """
    left = Mean(*np.zeros((3, *image.shape), np.float32))
    planes = (np.ascontiguousarray(plane, np.float32) for plane in (*astuple(mean), image, variance))
    _down_date(*planes, used, float(weight), left.image, left.variance, left.weight)
    return left


@njit(cache=True, error_model="numpy")
def _down_date(mean, mean_variance, mean_weight, image, variance, used, weight, left, left_variance, left_weight):
    for y in range(mean.shape[0]):
        for x in range(mean.shape[1]):
            w = weight if used[y, x] else 0.0
            whole = np.float64(mean_weight[y, x])
            total = whole - w
            if total > 1e-3 * weight:  # less is what is left of float32 rounding where it was the only input
                left[y, x] = (np.float64(mean[y, x]) * whole - w * image[y, x]) / total
                noise = np.float64(mean_variance[y, x]) * (whole * whole) - w * w * variance[y, x]
                left_variance[y, x] = max(noise, 0.0) / (total * total)
                left_weight[y, x] = total


BITS_PER_PLANE = 31


def pack_used(used: np.ndarray) -> np.ndarray:
    """Pack which inputs went in, (n, ny, nx) bool, into (ceil(n / 31), ny, nx) int32 bit planes."""
    n_plane = -(-used.shape[0] // BITS_PER_PLANE)
    packed = np.zeros((max(n_plane, 1), *used.shape[1:]), np.int32)
    for k, ok in enumerate(used):
        packed[k // BITS_PER_PLANE] |= ok.astype(np.int32) << np.int32(k % BITS_PER_PLANE)
    return packed


def unpack_used(packed: np.ndarray, number: int) -> np.ndarray:
    """Return where input ``number`` went in, (ny, nx) bool."""
    return (packed[number // BITS_PER_PLANE] >> (number % BITS_PER_PLANE) & 1).astype(bool)
