"""Dead lines of one or two pixels, filled in from the pixels on both sides.

A PSF of three pixels and more is known from its other pixels: the best linear prediction of the missing one errs by a
percent of a star's peak.  Left out instead, the pixel would be made of the other exposures of a template, and what has
varied between them would have a PSF that breaks at the line.
"""

import numpy as np
from scipy import ndimage

from dbpipe.constants import FWHM_PER_SIGMA
from dbpipe.imaging import mask as planes

MAX_WIDTH_PIX = 2
REACH_PIX = 4
"""How far from the line pixels take part."""
NOISE_TO_SIGNAL = 1e-3
"""Variance of the noise over that of a star's light: keeps the weights small."""


def fill_thin_lines(
    image: np.ndarray, variance: np.ndarray, mask: np.ndarray, *, fwhm_pix: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predict the dead pixels of thin lines.

    Parameters
    ----------
    image, variance : (ny, nx) float32 arrays
    mask : (ny, nx) uint16; only pixels whose one defect is BAD are filled
    fwhm_pix : float, of the PSF

    Returns
    -------
    image, variance, mask : copies, in which what was filled is no longer BAD
    """
    image, variance, mask = image.copy(), variance.copy(), mask.copy()
    unusable = (mask & planes.UNUSABLE) != 0
    dead = (mask & planes.UNUSABLE) == planes.BAD
    across = dead & (_run_length(unusable, 1) <= MAX_WIDTH_PIX)
    down = dead & ~across & (_run_length(unusable, 0) <= MAX_WIDTH_PIX)
    for chosen, axis in ((across, 1), (down, 0)):
        rows, columns = np.nonzero(chosen)
        place, weights = _predict(unusable, rows, columns, axis, fwhm_pix)
        if not len(weights):
            continue
        rows, columns = rows[place], columns[place]
        near = _neighbors(rows, columns, axis)
        image[rows, columns] = np.sum(weights * image[near], axis=1)
        variance[rows, columns] = np.sum(weights**2 * variance[near], axis=1)
        mask[rows, columns] &= ~np.uint16(planes.BAD)
    return image, variance, mask


def _run_length(unusable: np.ndarray, axis: int) -> np.ndarray:
    """Return for every unusable pixel how many of them follow one another along an axis; 0 elsewhere."""
    structure = np.zeros((3, 3), bool)
    structure[(1, slice(None)) if axis == 1 else (slice(None), 1)] = True
    labels, _ = ndimage.label(unusable, structure=structure)
    length = np.bincount(labels.ravel())
    length[0] = 0
    return length[labels]


def _offsets() -> np.ndarray:
    return np.concatenate([np.arange(-REACH_PIX, 0), np.arange(1, REACH_PIX + 1)])


def _neighbors(rows: np.ndarray, columns: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    offset = _offsets()[None, :]
    if axis == 1:
        return rows[:, None] + 0 * offset, columns[:, None] + offset
    return rows[:, None] + offset, columns[:, None] + 0 * offset


def _predict(
    unusable: np.ndarray, rows: np.ndarray, columns: np.ndarray, axis: int, fwhm_pix: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the pixels can be predicted, and the weights (n, 2 * REACH_PIX) of their neighbors.

    Best linear unbiased prediction of a field whose covariance is that of stars (a Gaussian PSF's autocorrelation)
    plus white noise, with weights of unit sum: the sky keeps its level.
    """
    along, length = (columns, unusable.shape[1]) if axis == 1 else (rows, unusable.shape[0])
    place = np.flatnonzero((along >= REACH_PIX) & (along < length - REACH_PIX))
    good = ~unusable[_neighbors(rows[place], columns[place], axis)]
    enough = (good[:, :REACH_PIX].sum(axis=1) >= 2) & (good[:, REACH_PIX:].sum(axis=1) >= 2)
    place, good = place[enough], good[enough]
    if not len(place):
        return place, np.zeros((0, 2 * REACH_PIX), np.float32)
    patterns, which = np.unique(good, axis=0, return_inverse=True)
    table = np.array([_weights(pattern, fwhm_pix / FWHM_PER_SIGMA) for pattern in patterns])
    return place, table[which.ravel()].astype(np.float32)


def _weights(good: np.ndarray, sigma_pix: float) -> np.ndarray:
    offset = _offsets()[good]
    covariance = np.exp(-np.square(offset[:, None] - offset[None, :]) / (4.0 * sigma_pix**2))
    covariance += NOISE_TO_SIGNAL * np.eye(len(offset))
    to_target = np.exp(-np.square(offset) / (4.0 * sigma_pix**2))
    by_target, by_one = np.linalg.solve(covariance, np.stack([to_target, np.ones(len(offset))], axis=1)).T
    weights = np.zeros(2 * REACH_PIX)
    weights[good] = by_target + by_one * (1.0 - by_target.sum()) / by_one.sum()
    return weights
