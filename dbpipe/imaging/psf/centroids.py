"""Windowed centroids, their errors, and weighted second moments of many sources."""

from dataclasses import dataclass

import numpy as np

from dbpipe.compiled import njit


@dataclass(frozen=True)
class WindowedShapes:
    """Columns of windowed measurements, all (n,) float arrays; NaN where the source gave none."""

    x: np.ndarray
    y: np.ndarray
    x_err: np.ndarray
    y_err: np.ndarray
    ixx: np.ndarray
    iyy: np.ndarray
    ixy: np.ndarray

    @property
    def sigma(self) -> np.ndarray:
        """Size (determinant radius) with the window's own width taken out [pix]."""
        with np.errstate(invalid="ignore"):
            return (self.ixx * self.iyy - self.ixy**2) ** 0.25


def measure_windowed(
    image: np.ndarray,
    variance: np.ndarray,
    unusable: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    window_sigma_pix: float,
    residual_stamps: np.ndarray | None = None,
    max_shift_pix: float = 2.0,
) -> WindowedShapes:
    """Measure centroids and second moments under a round Gaussian window.

    The centroid is SourceExtractor's XWIN (Bertin, manual section 10.5), i.e. sep.winpos: iterate
    x += 2 sum(w I dx) / sum(w I); for a window as wide as the PSF it is the maximum-likelihood position.
    Moments M are deweighted as if Gaussian: I^-1 = M^-1 - W^-1.

    Parameters
    ----------
    image, variance : (ny, nx) float arrays [electron, electron2]
    unusable : (ny, nx) bool array, pixels that are left out
    x, y : (n,) float arrays, first guesses [pix]
    window_sigma_pix : float
    residual_stamps : (n, size, size) float32 array or None
        What to add back around each source to an image that had it subtracted (its own model), so that
        neighbors stay subtracted; pixel (round(x), round(y)) is the center.
    max_shift_pix : float, a centroid that wanders further is refused: the first guess stays, its errors NaN

    Returns
    -------
    WindowedShapes
    """
    x, y = np.ascontiguousarray(x, float), np.ascontiguousarray(y, float)  # one kind of array, compiled once
    own = np.zeros((0, 1, 1), np.float32) if residual_stamps is None else residual_stamps
    columns = np.empty((7, len(x)))
    _windowed(image, variance, unusable, x, y, float(window_sigma_pix), own, float(max_shift_pix), columns)
    return WindowedShapes(*columns)


@njit(cache=True)
def _windowed(image, variance, unusable, x0, y0, sigma, own, max_shift, columns):
    ny, nx = image.shape
    radius = int(4.0 * sigma) + 1
    side = 2 * radius + 3
    stamp, noise = np.empty((side, side)), np.empty((side, side))
    for source in range(len(x0)):
        columns[:, source] = np.nan
        center_x, center_y = int(np.floor(x0[source] + 0.5)), int(np.floor(y0[source] + 0.5))
        for i in range(side):
            for j in range(side):
                row, column = center_y + i - radius - 1, center_x + j - radius - 1
                noise[i, j] = -1.0
                if 0 <= row < ny and 0 <= column < nx and not unusable[row, column]:
                    stamp[i, j], noise[i, j] = image[row, column], variance[row, column]
                    if len(own) > 0:
                        half = own.shape[1] // 2
                        a, b = i - radius - 1 + half, j - radius - 1 + half
                        if 0 <= a < own.shape[1] and 0 <= b < own.shape[2]:
                            stamp[i, j] += own[source, a, b]
        start_x, start_y = x0[source] - center_x + radius + 1, y0[source] - center_y + radius + 1
        x, y, converged = _centroid(stamp, noise, start_x, start_y, sigma, max_shift)
        if not converged:
            columns[0, source], columns[1, source] = x0[source], y0[source]
            _second_moments(stamp, noise, start_x, start_y, sigma, columns[:, source])
            columns[2, source], columns[3, source] = np.nan, np.nan
            continue
        columns[0, source], columns[1, source] = x + center_x - radius - 1, y + center_y - radius - 1
        _second_moments(stamp, noise, x, y, sigma, columns[:, source])


@njit(cache=True)
def _centroid(stamp, noise, x, y, sigma, max_shift):
    """Iterate the windowed centroid in stamp coordinates, masked pixels left out."""
    start_x, start_y = x, y
    for _ in range(30):
        total, sum_x, sum_y = 0.0, 0.0, 0.0
        for i in range(stamp.shape[0]):
            for j in range(stamp.shape[1]):
                if noise[i, j] < 0.0:
                    continue
                u, v = j - x, i - y
                weight = np.exp(-0.5 * (u * u + v * v) / sigma**2) * stamp[i, j]
                total, sum_x, sum_y = total + weight, sum_x + weight * u, sum_y + weight * v
        if total <= 0.0:
            return start_x, start_y, False
        step_x, step_y = 2.0 * sum_x / total, 2.0 * sum_y / total
        x, y = x + step_x, y + step_y
        if abs(x - start_x) > max_shift or abs(y - start_y) > max_shift:
            return start_x, start_y, False
        if step_x * step_x + step_y * step_y < 1e-10:
            break
    return x, y, True


@njit(cache=True)
def _second_moments(stamp, noise, x, y, sigma, column):
    """Fill errors of the centroid and the deweighted moments at a fixed center."""
    total, mxx, myy, mxy, vx, vy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(stamp.shape[0]):
        for j in range(stamp.shape[1]):
            if noise[i, j] < 0.0:
                continue
            u, v = j - x, i - y
            window = np.exp(-0.5 * (u * u + v * v) / sigma**2)
            weight = window * stamp[i, j]
            total += weight
            mxx, myy, mxy = mxx + weight * u * u, myy + weight * v * v, mxy + weight * u * v
            vx, vy = vx + (window * u) ** 2 * noise[i, j], vy + (window * v) ** 2 * noise[i, j]
    if total <= 0.0:
        return
    column[2], column[3] = 2.0 * np.sqrt(vx) / total, 2.0 * np.sqrt(vy) / total
    mxx, myy, mxy = mxx / total, myy / total, mxy / total
    determinant = mxx * myy - mxy * mxy
    if determinant <= 0.0:
        return
    axx, ayy, axy = myy / determinant - 1.0 / sigma**2, mxx / determinant - 1.0 / sigma**2, -mxy / determinant
    determinant = axx * ayy - axy * axy
    if determinant <= 0.0 or axx + ayy <= 0.0:
        return
    column[4], column[5], column[6] = ayy / determinant, axx / determinant, -axy / determinant
