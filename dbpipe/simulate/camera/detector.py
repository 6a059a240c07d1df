"""What the detector and the sky do to the light: noise, saturation, dead pixels, and unwanted visitors."""

import numpy as np

from dbpipe.compiled import njit
from dbpipe.simulate.camera.visits import FULL_WELL_E, READ_NOISE_E

COSMIC_RAY, DEAD, SATURATED, NAN, STREAK = 1, 2, 4, 8, 16
"""Bits of the truth mask."""
COSMIC_RAYS_PER_MPIX = 25.0


def expose(expected_e: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Turn expected electrons into those read out: photon noise, bleeds along rows, full well, read noise.

    Parameters
    ----------
    expected_e : (ny, nx) float array [electron]
    rng : numpy.random.Generator

    Returns
    -------
    image : (ny, nx) float32 array [electron], whole numbers as phosim writes
    saturated : (ny, nx) bool array
    """
    charge = rng.poisson(expected_e).astype(np.float64)
    bleed_along_rows(charge, FULL_WELL_E)
    saturated = charge >= FULL_WELL_E
    noisy = charge + rng.normal(0.0, READ_NOISE_E, charge.shape)
    return np.where(saturated, FULL_WELL_E, np.rint(noisy)).astype(np.float32), saturated


@njit(cache=True)
def bleed_along_rows(charge, full_well):
    """Move charge above full well along its row, half each way, until it is held; what leaves the row is lost.

    Parameters
    ----------
    charge : (ny, nx) float64 array [electron], changed in place
    full_well : float [electron]
    """
    ny, nx = charge.shape
    for row in range(ny):
        for column in range(nx):
            excess = charge[row, column] - full_well
            if excess <= 0.0:
                continue
            charge[row, column] = full_well
            for step in (-1, 1):
                moving = 0.5 * excess
                place = column + step
                while moving > 0.0 and 0 <= place < nx:
                    # a pixel still waiting for its own turn to bleed takes nothing more
                    room = max(0.0, full_well - charge[row, place])
                    taken = min(room, moving)
                    charge[row, place] += taken
                    moving -= taken
                    place += step


def dead_lines(shape: tuple[int, int], rng: np.random.Generator) -> list[tuple[int, int, int, int]]:
    """Return where the detector is dead: parts of a few rows, as boxes (x0, x1, y0, y1), ends included."""
    ny, nx = shape
    boxes = []
    for row in np.sort(rng.choice(np.arange(5, ny - 5), max(1, ny // 300), replace=False)):
        ends = np.sort(rng.integers(0, nx, 2))
        boxes.append((int(ends[0]), int(ends[1]), int(row), int(row)))
    return boxes


def cosmic_rays(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return an image of cosmic ray charge [electron]: short sharp tracks at any angle."""
    ny, nx = shape
    charge = np.zeros(shape)
    for _ in range(rng.poisson(COSMIC_RAYS_PER_MPIX * nx * ny / 1e6)):
        length, angle = min(rng.exponential(8.0) + 1.0, 60.0), rng.uniform(0.0, np.pi)
        energy = rng.uniform(400.0, 1500.0)  # deposited per pixel of path
        along = np.arange(0.0, length, 0.25)
        x = rng.uniform(0, nx) + along * np.cos(angle)
        y = rng.uniform(0, ny) + along * np.sin(angle)
        column, row = np.rint(x).astype(int), np.rint(y).astype(int)
        inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        np.add.at(charge, (row[inside], column[inside]), 0.25 * energy)
    return charge


def satellite_streak(
    shape: tuple[int, int], psf_sigma_pix: float, rng: np.random.Generator
) -> tuple[np.ndarray, tuple[float, float, float, float], float]:
    """Return an image of a satellite's light [electron], its two ends (x0, y0, x1, y1) and its half width [pix]."""
    ny, nx = shape
    ends = (0.0, float(rng.uniform(0.1, 0.9) * ny), float(nx - 1), float(rng.uniform(0.1, 0.9) * ny))
    y, x = np.indices(shape)
    dx, dy = ends[2] - ends[0], ends[3] - ends[1]
    distance = ((x - ends[0]) * dy - (y - ends[1]) * dx) / np.hypot(dx, dy)
    brightness = rng.uniform(500.0, 2000.0)
    return brightness * np.exp(-0.5 * (distance / psf_sigma_pix) ** 2), ends, 4.0 * psf_sigma_pix
