"""Satellites' streaks: straight lines of even light, much longer than any star is wide.

Found with a fast Radon transform of the binned image whose pixels are clipped, so that no star weighs more than a piece
of a streak, and then held against the image at full resolution: what is a streak has the same light all along, is as
wide as the PSF or more, and its sky is the same on both sides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from dbpipe.constants import FWHM_PER_SIGMA, robust_sigma
from dbpipe.imaging.clean.radon import Line, strongest_line

CLIP_SIGMA = 3.0
"""No bin weighs more than this."""
MEDIAN_LOSS = math.sqrt(0.5 * math.pi)
"""Standard error of a median over that of a mean."""
MAX_CANDIDATES = 8
LONGEST_GROWTH = 4.0
"""Length of a streak over that of the line by which it was found; lines are found in lengths of powers of two."""
NEIGHBORHOOD_BINS = 11
"""Side of the box whose mean is sky, nebula or galaxy."""
CHUNK_SNR = 8.0
"""What one piece of a streak should be measured to, when its evenness is judged."""


@dataclass(frozen=True)
class StreakLimits:
    """What makes a streak.

    Attributes
    ----------
    min_snr : float, of the line sum in the clipped image
    min_brightness_snr : float, of the measured light
    min_length_fwhm : float, shorter trails are asteroids'
    min_inside_fwhm : float, length of one that ends inside the image: a satellite seldom does
    min_lit : float, fraction of the pieces between the ends that must shine
    min_evenness : float, median over 90th percentile of the pieces' light: a spike of a star fades outwards
    min_width_fwhm, max_width_fwhm : float, width at half maximum; a hot column is thinner than any light
    max_step : float, difference of the sky on the two sides, in units of the streak's height
    """

    min_snr: float = 10.0
    min_brightness_snr: float = 15.0
    min_length_fwhm: float = 20.0
    min_inside_fwhm: float = 60.0
    min_lit: float = 0.9
    min_evenness: float = 0.5
    min_width_fwhm: float = 0.7
    max_width_fwhm: float = 2.0
    max_step: float = 0.5


@dataclass(frozen=True)
class Streak:
    """One streak: a line from (x0, y0) to (x1, y1)."""

    x0: float
    y0: float
    x1: float
    y1: float
    fwhm_pix: float
    """Width across, at half maximum."""
    mask_half_width_pix: float
    """Distance from the line where its light is a tenth of the noise of a pixel."""
    brightness: float
    """Flux of one pixel of its length [image unit / pix]."""
    brightness_err: float
    snr: float
    """Of the line sum in the clipped image, by which it was found."""

    @property
    def length_pix(self) -> float:
        return math.hypot(self.x1 - self.x0, self.y1 - self.y0)


def find_streaks(
    image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, *, fwhm_pix: float, limits: Any | None = None
) -> list[Streak]:
    """Find streaks, the most significant first.

    Parameters
    ----------
    image : (ny, nx) float array, background subtracted
    variance : (ny, nx) float array, without the noise of sources if it can be had
    unusable : (ny, nx) bool, saturated stars with their halos among them: no line is drawn through them
    fwhm_pix : float, of the PSF
    limits : StreakLimits, optional

    Returns
    -------
    list of Streak
    """
    limits = limits or StreakLimits()
    bin_pix = max(1, round(fwhm_pix / 1.5))
    bins = _clipped_bins(image, variance, unusable, bin_pix)
    min_bins = max(8, math.ceil(0.5 * limits.min_length_fwhm * fwhm_pix / bin_pix))
    found = []
    for _ in range(MAX_CANDIDATES):
        line = strongest_line(bins, min_bins)
        if line is None or line.snr < limits.min_snr:
            break
        ends = [(value + 0.5) * bin_pix - 0.5 for value in (line.x0, line.y0, line.x1, line.y1)]
        streak = _confirm(image, variance, unusable, ends, line.snr, fwhm_pix, limits)
        # of a real one half its length or more stood out at once
        if streak is not None and streak.length_pix > LONGEST_GROWTH * math.hypot(ends[2] - ends[0], ends[3] - ends[1]):
            streak = None
        if streak is not None:
            found.append(streak)
        _forget(bins, line, streak, bin_pix, fwhm_pix)
    return found


def streak_mask(shape: tuple[int, int], streaks: Sequence[Streak], *, margin_pix: float = 0.0) -> np.ndarray:
    """Return where streaks are, (ny, nx) bool, their whole length and width and a margin."""
    mask = np.zeros(shape, bool)
    for streak in streaks:
        mask |= _near_segment(
            shape, streak.x0, streak.y0, streak.x1, streak.y1, streak.mask_half_width_pix + margin_pix
        )
    return mask


def _near_segment(shape: tuple[int, int], x0: float, y0: float, x1: float, y1: float, radius: float) -> np.ndarray:
    length = max(math.hypot(x1 - x0, y1 - y0), 1e-6)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    along = (columns - x0) * ux + (rows - y0) * uy
    across = (rows - y0) * ux - (columns - x0) * uy
    return (np.abs(across) <= radius) & (along >= -radius) & (along <= length + radius)


def _clipped_bins(image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, bin_pix: int) -> np.ndarray:
    """Average bins in units of their noise, clip them and take out what is not a line: their mean, far and wide."""
    ny, nx = (n // bin_pix for n in image.shape)
    cut = np.s_[: ny * bin_pix, : nx * bin_pix]

    def total(values: np.ndarray) -> np.ndarray:
        return values[cut].reshape(ny, bin_pix, nx, bin_pix).sum(axis=(1, 3), dtype=np.float32)

    usable = ~unusable & (variance > 0)
    light, noise = total(np.where(usable, image, 0.0)), total(np.where(usable, variance, 0.0))
    seen = total(usable) > 0.5 * bin_pix**2
    bins = np.where(seen, light / np.sqrt(np.maximum(noise, 1e-30)), 0.0)
    if not seen.any():
        return np.zeros((ny, nx), np.float32)
    center = np.median(bins[seen])
    spread = robust_sigma(bins[seen], center, dtype=np.float32)
    bins = np.clip((bins - center) / max(spread, 1e-6), -CLIP_SIGMA, CLIP_SIGMA) * seen
    weight = np.maximum(ndimage.uniform_filter(seen.astype(np.float32), NEIGHBORHOOD_BINS), 0.05)
    bins = (bins - ndimage.uniform_filter(bins, NEIGHBORHOOD_BINS) / weight) * seen
    return (bins / np.std(bins[seen])).astype(np.float32)


def _forget(bins: np.ndarray, line: Line, streak: Streak | None, bin_pix: int, fwhm_pix: float) -> None:
    """Clear the bins of a line, found or refused, so that the next search sees the next one."""
    bins[_near_segment(bins.shape, line.x0, line.y0, line.x1, line.y1, 2.0 * fwhm_pix / bin_pix + 1.0)] = 0.0
    if streak is not None:
        x0, y0, x1, y1 = ((value + 0.5) / bin_pix - 0.5 for value in (streak.x0, streak.y0, streak.x1, streak.y1))
        bins[_near_segment(bins.shape, x0, y0, x1, y1, streak.mask_half_width_pix / bin_pix + 2.0)] = 0.0


@dataclass(frozen=True)
class _Band:
    """The image along a line: values[t, d] at distance t along it and d = -half .. half across."""

    x: float
    y: float
    ux: float
    uy: float
    values: np.ndarray
    sigma: float

    @property
    def half(self) -> int:
        return self.values.shape[1] // 2


def _cut_band(image: np.ndarray, variance: np.ndarray, unusable: np.ndarray, ends: Sequence[float], half: int) -> _Band:
    """Resample the image along the whole chord on which the line crosses it; NaN where it is unusable."""
    x0, y0, x1, y1 = ends
    length = math.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length
    first, last = _chord(image.shape, x0, y0, ux, uy)
    t = np.arange(first, last)
    d = np.arange(-half, half + 1)
    x = x0 + t[:, None] * ux - d * uy
    y = y0 + t[:, None] * uy + d * ux
    values = ndimage.map_coordinates(np.where(unusable, np.nan, image), [y, x], order=1, cval=np.nan, prefilter=False)
    noise = ndimage.map_coordinates(np.where(unusable, np.nan, variance), [y, x], order=0, cval=np.nan)
    sigma = float(np.sqrt(np.nanmedian(noise))) if np.isfinite(noise).any() else 0.0
    return _Band(x0 + first * ux, y0 + first * uy, ux, uy, values, sigma)


def _chord(shape: tuple[int, int], x0: float, y0: float, ux: float, uy: float) -> tuple[int, int]:
    """Return the whole steps from (x0, y0) between which the line is inside the image."""
    first, last = -math.inf, math.inf
    for position, slope, n in ((x0, ux, shape[1]), (y0, uy, shape[0])):
        if abs(slope) > 1e-9:
            a, b = sorted((-position / slope, (n - 1 - position) / slope))
            first, last = max(first, a), min(last, b)
    return (math.ceil(first), math.floor(last) + 1) if last > first else (0, 0)


def _confirm(
    image: np.ndarray,
    variance: np.ndarray,
    unusable: np.ndarray,
    ends: Sequence[float],
    snr: float,
    fwhm_pix: float,
    limits: StreakLimits,
) -> Streak | None:
    """Measure a line at full resolution, and return it as a Streak if it is one."""
    half = math.ceil(6.0 * fwhm_pix)
    band = _cut_band(image, variance, unusable, ends, half)
    if len(band.values) < limits.min_length_fwhm * fwhm_pix:
        return None
    for reach_fwhm in (2.0, 1.2):
        band = _cut_band(image, variance, unusable, _recentered(band, reach_fwhm * fwhm_pix), half)
    n_chunk = int(np.clip((snr / CHUNK_SNR) ** 2, 8, len(band.values) / (2.0 * fwhm_pix)))
    edges = np.linspace(0, len(band.values), n_chunk + 1).astype(int)
    profiles = np.array([_profile(band.values[a:b]) for a, b in zip(edges[:-1], edges[1:], strict=True)])
    light = _light(profiles, fwhm_pix)
    lit, evenness = _lit(light)
    run = _longest_run(lit, np.isfinite(light))
    if run is None or evenness < limits.min_evenness:
        return None
    measurable = np.isfinite(light[run[0] : run[1]])
    if lit[run[0] : run[1]][measurable].mean() < limits.min_lit:
        return None
    first, last = _to_the_edge(run, np.isfinite(light))
    crosses = first == 0 and last == n_chunk
    shortest = limits.min_length_fwhm if crosses else limits.min_inside_fwhm
    start, stop = int(edges[first]), int(edges[last])
    return _measured(band, start, stop, snr, fwhm_pix, limits) if stop - start >= shortest * fwhm_pix else None


def _profile(values: np.ndarray) -> np.ndarray:
    """Return the median along the line for each distance across, less the sky on both sides; NaN if half is unseen."""
    seen = np.isfinite(values)
    profile = np.full(values.shape[1], np.nan)
    enough = seen.mean(axis=0) > 0.5
    if enough.mean() < 0.8:
        return profile
    profile[enough] = np.nanmedian(values[:, enough], axis=0)
    return profile - np.nanmedian(np.concatenate([profile[: _side(profile)], profile[-_side(profile) :]]))


def _side(profile: np.ndarray) -> int:
    """Number of pixels at each end of a profile that are sky."""
    return len(profile) // 4


def _light(profiles: np.ndarray, fwhm_pix: float) -> np.ndarray:
    """Light of each piece in a ridge as wide as the PSF; NaN where it is not seen.

    A Gaussian less its mean over five FWHM: a slope gives nothing, a step little, and a hill less than a ridge.
    """
    d = np.arange(profiles.shape[1]) - profiles.shape[1] // 2
    ridge = np.exp(-0.5 * np.square(d * FWHM_PER_SIGMA / fwhm_pix)) * (np.abs(d) <= 2.5 * fwhm_pix)
    ridge -= ridge.sum() / (np.abs(d) <= 2.5 * fwhm_pix).sum() * (np.abs(d) <= 2.5 * fwhm_pix)
    return profiles @ ridge


def _lit(light: np.ndarray) -> tuple[np.ndarray, float]:
    """Return which pieces shine, and the median over the 90th percentile of those."""
    seen = light[np.isfinite(light)]
    if len(seen) < 3 or np.quantile(seen, 0.9) <= 0:
        return np.zeros(len(light), bool), 0.0
    lit = np.nan_to_num(light, nan=0.0) > 0.4 * np.quantile(seen, 0.9)
    shining = light[lit]
    return lit, float(np.median(shining) / np.quantile(shining, 0.9))


def _longest_run(lit: np.ndarray, seen: np.ndarray) -> tuple[int, int] | None:
    """Return first and one past last piece of the longest run that shines; dark or unseen pieces up to two bridge."""
    best: tuple[int, int] | None = None
    start = last = -1
    for k in np.flatnonzero(lit).tolist():
        if start < 0 or (seen[last + 1 : k] & ~lit[last + 1 : k]).sum() > 2:
            start = k
        last = k
        if best is None or last + 1 - start > best[1] - best[0]:
            best = (start, last + 1)
    return best


def _to_the_edge(run: tuple[int, int], seen: np.ndarray) -> tuple[int, int]:
    """Continue a run to where the line leaves the image, if no more than one piece that can be seen is dark there."""
    first = 0 if seen[: run[0]].sum() <= 1 else run[0]
    last = len(seen) if seen[run[1] :].sum() <= 1 else run[1]
    return first, last


def _recentered(band: _Band, reach_pix: float) -> list[float]:
    """Return two points of the line after moving it onto the light: centroids of six pieces, a line through them."""
    t, center, weight = [], [], []
    d = np.arange(-band.half, band.half + 1)
    near = np.abs(d) <= reach_pix
    edges = np.linspace(0, len(band.values), 7).astype(int)
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        profile = np.nan_to_num(_profile(band.values[a:b]))
        core = np.where(near, np.maximum(profile - 0.3 * profile[near].max(), 0.0), 0.0)
        if core.sum() > 0:
            t.append(0.5 * (a + b))
            center.append((core * d).sum() / core.sum())
            weight.append(core.sum())
    if len(t) >= 2:
        slope, offset = np.polyfit(t, center, 1, w=np.sqrt(weight))
    else:
        slope, offset = 0.0, 0.0
    points = []
    for along in (0.0, float(len(band.values))):
        across = offset + slope * along
        points += [band.x + along * band.ux - across * band.uy, band.y + along * band.uy + across * band.ux]
    return points


def _measured(band: _Band, start: int, stop: int, snr: float, fwhm_pix: float, limits: StreakLimits) -> Streak | None:
    """Return the Streak between two places of a band, or None if its profile is no streak's."""
    values = band.values[start:stop]
    profile = np.nan_to_num(_profile(values))
    n_side, center = _side(profile), band.half
    peak_at = (
        center
        - math.ceil(fwhm_pix)
        + int(np.argmax(profile[center - math.ceil(fwhm_pix) :][: 2 * math.ceil(fwhm_pix) + 1]))
    )
    peak = profile[peak_at]
    step = abs(np.median(profile[:n_side]) - np.median(profile[-n_side:]))
    width = _width(profile, peak_at)
    if peak <= 0 or step > limits.max_step * peak:
        return None
    if not limits.min_width_fwhm * fwhm_pix <= width <= limits.max_width_fwhm * fwhm_pix:
        return None
    pixel_err = MEDIAN_LOSS * band.sigma / math.sqrt(len(values))
    faint = max(0.1 * band.sigma, 2.0 * pixel_err)
    reach = int(
        np.clip(max(_first_below(profile[peak_at:], faint), _first_below(profile[peak_at::-1], faint)), 1, center)
    )
    inside = slice(max(0, peak_at - reach), peak_at + reach + 1)
    brightness = float(profile[inside].sum())
    brightness_err = float(pixel_err * math.sqrt(inside.stop - inside.start))
    if brightness < limits.min_brightness_snr * brightness_err:
        return None
    return Streak(
        x0=float(band.x + start * band.ux),
        y0=float(band.y + start * band.uy),
        x1=float(band.x + (stop - 1) * band.ux),
        y1=float(band.y + (stop - 1) * band.uy),
        fwhm_pix=float(width),
        mask_half_width_pix=float(reach + abs(peak_at - center)),
        brightness=brightness,
        brightness_err=brightness_err,
        snr=snr,
    )


def _first_below(values: np.ndarray, level: float) -> int:
    below = np.flatnonzero(values < level)
    return int(below[0]) if below.size else len(values)


def _width(profile: np.ndarray, peak_at: int) -> float:
    """Full width at half maximum, interpolated."""
    half, total = 0.5 * profile[peak_at], 0.0
    for side in (profile[peak_at:], profile[peak_at::-1]):
        k = _first_below(side, half)
        if k in (0, len(side)):
            return math.inf
        total += k - 1 + (side[k - 1] - half) / (side[k - 1] - side[k])
    return total
