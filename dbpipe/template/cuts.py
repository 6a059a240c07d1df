"""The cuts that ``auto`` weighs, what each would give, and which one it takes.

Every cut in seeing is weighed alone and together with one cut in another quantity. The figure of merit is the 5 sigma
depth of the median difference image, `dbpipe.template.depth`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbpipe.imaging.psf.homogenize import moffat_beta
from dbpipe.template.depth import DepthModel

QUANTITIES = {
    "depth": ("depth_5sigma_mag", ">="),
    "ellipticity": ("ellipticity", "<="),
    "background": ("sky_njy_arcsec2", "<="),
    "transparency": ("transparency", ">="),
}
"""Name -> column of the query ``candidates``, and on which side of the limit an exposure passes."""
MIN_MODEL_FWHM_PIX = 2.8
_KEPT_FRACTION = (0.9, 0.75, 0.5)
"""Parts of the sharp exposures that a cut in another quantity leaves."""
_MAX_SEEING_CUT, _MAX_ASKED = 24, 48
"""What is weighed in a survey of many exposures: limits, and difference images predicted for each."""


@dataclass(frozen=True)
class Cut:
    """A limit on seeing, and perhaps on one thing more."""

    max_psf_fwhm_pix: float
    quantity: str | None = None
    quantity_limit: float | None = None

    def left_out(self, row: Mapping[str, Any]) -> str | None:
        """Return why the second limit leaves a candidate out, or None."""
        if self.quantity is None:
            return None
        column, side = QUANTITIES[self.quantity]
        if (row[column] <= self.quantity_limit) if side == "<=" else (row[column] >= self.quantity_limit):
            return None
        return f"{self.quantity} {row[column]:.4g}, the limit is {self.quantity_limit:.4g}"

    def passes(self, row: Mapping[str, Any]) -> bool:
        """Tell whether a candidate goes in."""
        return row["veto"] is None and row["psf_fwhm_det_pix"] <= self.max_psf_fwhm_pix and self.left_out(row) is None

    def __str__(self) -> str:
        text = f"psf_fwhm_det_pix <= {self.max_psf_fwhm_pix:.4f}"
        if self.quantity is not None:
            column, side = QUANTITIES[self.quantity]
            text += f" AND {column} {side} {self.quantity_limit:.6g}"
        return text


def weigh(candidates: Sequence[dict[str, Any]]) -> list[tuple[Cut, dict[str, Any]]]:
    """Predict what every cut would give.

    Parameters
    ----------
    candidates : list of dict, rows of the query ``candidates``, the sharpest first

    Returns
    -------
    list of (Cut, row of template_curve)
    """
    good = np.array([row["veto"] is None for row in candidates], bool)
    if not good.any():
        return []
    model = DepthModel(candidates, _spread(np.flatnonzero(good), _MAX_ASKED))
    weighed, seen = [], set()
    for cut in _cuts([row for row in candidates if row["veto"] is None]):
        chosen = np.array([cut.passes(row) for row in candidates])
        if chosen.tobytes() in seen:
            continue
        seen.add(chosen.tobytes())
        # an exposure without a template counts as infinitely shallow
        depth = np.nan_to_num(model.predict(chosen).depth_mag, nan=-np.inf)
        median = float(np.median(depth))
        if np.isfinite(median):
            weighed.append((cut, _row(cut, [row for row, c in zip(candidates, chosen, strict=True) if c], median)))
    return weighed


def _spread(index: np.ndarray, n: int) -> np.ndarray:
    """Return no more than n of some indices, evenly spread."""
    return index if len(index) <= n else index[np.linspace(0, len(index) - 1, n).round().astype(int)]


def _cuts(allowed: Sequence[dict[str, Any]]) -> Iterator[Cut]:
    """Every limit in seeing that two exposures pass; then each of them with every second limit."""
    last = _spread(np.arange(min(2, len(allowed)) - 1, len(allowed)), _MAX_SEEING_CUT)
    seeing = [Cut(allowed[k]["psf_fwhm_det_pix"]) for k in last]
    yield from seeing
    for cut in seeing:
        sharp = [row for row in allowed if cut.passes(row)]
        for name, (column, side) in QUANTITIES.items():
            best_first = sorted((row[column] for row in sharp), reverse=side == ">=")
            for fraction in _KEPT_FRACTION:
                n_kept = int(round(fraction * len(sharp)))
                if 2 <= n_kept < len(sharp):
                    yield Cut(cut.max_psf_fwhm_pix, name, best_first[n_kept - 1])


def _row(cut: Cut, chosen: Sequence[dict[str, Any]], depth_mag: float) -> dict[str, Any]:
    return {
        "max_psf_fwhm_pix": cut.max_psf_fwhm_pix,
        "quantity": cut.quantity,
        "quantity_limit": cut.quantity_limit,
        "target_fwhm_pix": model_psf(chosen)[0],
        "n_input": len(chosen),
        "predicted_depth_mag": depth_mag,
    }


def model_psf(chosen: Sequence[dict[str, Any]]) -> tuple[float, float | None]:
    """Return FWHM [native pix] and Moffat beta (None for a Gaussian) of the model PSF of some inputs.

    It lies half-way between the sharpest and the widest of them, so that neither the one needs a template sharpened
    much nor the other has to be, and has the wings of their median. It is never sharper than can be resampled.
    """
    fwhm, axis_ratio, area = (
        np.array([row[name] for row in chosen]) for name in ("psf_fwhm_pix", "psf_axis_ratio", "psf_effective_area_pix")
    )
    half_way = np.sqrt(fwhm.min() * np.max(fwhm / np.sqrt(axis_ratio)))
    return max(float(half_way), MIN_MODEL_FWHM_PIX), moffat_beta(1.0, float(np.median(area / fwhm**2)))


def choose(
    weighed: Sequence[tuple[Cut, dict[str, Any]]],
    candidates: Sequence[dict[str, Any]],
    *,
    max_sharpening: float,
    min_input: int,
    min_gain_mag: float,
) -> tuple[Cut, dict[str, float | None]] | None:
    """Return the (Cut, row) to take, or None: the sharpest within ``min_gain_mag`` of the deepest that is allowed.

    Not allowed is a model PSF wider than ``max_sharpening`` times that of the sharpest exposure, unless it takes that
    to have ``min_input`` of them.
    """
    if not weighed:
        return None
    sharpest = min(row["psf_fwhm_pix"] for row in candidates if row["veto"] is None)
    enough = max(min_input, min(row["n_input"] for _, row in weighed))
    allowed = [
        (cut, row)
        for cut, row in weighed
        if row["target_fwhm_pix"] <= max_sharpening * sharpest or (cut.quantity is None and row["n_input"] <= enough)
    ]
    deepest = max(row["predicted_depth_mag"] for _, row in allowed)
    deep = [pair for pair in allowed if pair[1]["predicted_depth_mag"] >= deepest - min_gain_mag]
    return min(deep, key=lambda pair: (pair[1]["target_fwhm_pix"], pair[0].quantity is not None, -pair[1]["n_input"]))
