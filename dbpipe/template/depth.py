"""How deep the difference images of a band will be with some exposures as their template, from rows of calexp alone.

Each exposure is asked at nine places for the inputs that lie there, itself left out; an input has the weight that the
coadd gives it, the inverse of its sky variance. Where no input lies there will be no difference image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dbpipe.constants import AB_ZERO_POINT_NJY_MAG
from dbpipe.imaging.stack.depth import gaussian_axes, inverse_power, predict_flux_errs
from dbpipe.sky.sphere import unit_vectors

_FRACTION = np.array([1.0, 3.0, 5.0]) / 6.0
"""Where an exposure is asked, along each side."""
_LARGEST = 20_000_000
"""Numbers held at once while overlaps are looked for."""


@dataclass(frozen=True)
class Prediction:
    """What a template gives each exposure asked.

    Attributes
    ----------
    depth_mag : (n,) float array, 5 sigma point-source depth; NaN where the exposure has no template
    n_input : (n,) int array, inputs at the place that has most of them
    coverage : (n,) float array, part of the places that have a template
    """

    depth_mag: np.ndarray
    n_input: np.ndarray
    coverage: np.ndarray


class DepthModel:
    """The candidates of a band, ready to be asked for many sets of inputs.

    Parameters
    ----------
    candidates : list of dict, rows of the query ``candidates``
    asked : (n,) int array, optional
        Candidates whose difference images are predicted; by default all.
    """

    def __init__(self, candidates: Sequence[dict[str, Any]], asked: Sequence[int] | np.ndarray | None = None) -> None:
        column = {name: np.array([row[name] for row in candidates], float) for name in _COLUMNS}
        self._noise = column["sky_noise_njy"]
        self._weight = 1.0 / np.square(self._noise)
        axes = gaussian_axes(column["psf_effective_area_pix"], np.minimum(column["ellipticity"], 0.99))
        self._inverse = inverse_power(*axes)
        self._asked = np.arange(len(candidates)) if asked is None else np.asarray(asked, int)
        corners = unit_vectors(*(np.array([row[name] for row in candidates]) for name in ("corner_ra", "corner_dec")))
        self._covers = _covers(corners, self._asked)

    def predict(self, selected: Sequence[bool] | np.ndarray) -> Prediction:
        """Return the `Prediction` for a template of the candidates with ``selected``, an (n,) bool array."""
        inputs = np.flatnonzero(selected)
        covers = self._covers[:, :, inputs].astype(float)
        shape = covers.shape[:2]
        weight = covers @ self._weight[inputs]
        # w_i^2 s_i^2 = w_i, for w_i = 1 / s_i^2
        power = covers @ (self._weight[inputs, None] * self._inverse[inputs])
        has = weight > 0
        power[has] /= np.square(weight[has])[:, None]
        noise = np.broadcast_to(self._noise[self._asked, None], shape)[has]
        science = np.broadcast_to(self._inverse[self._asked, None], (*shape, power.shape[-1]))[has]
        errors = np.full(shape, np.nan)
        errors[has] = predict_flux_errs(noise, science, power[has])
        depth = np.full(shape[0], np.nan)
        some = has.any(axis=1)
        depth[some] = AB_ZERO_POINT_NJY_MAG - 2.5 * np.log10(5.0 * np.nanmedian(errors[some], axis=1))
        return Prediction(depth, covers.sum(axis=2).max(axis=1, initial=0).astype(int), has.mean(axis=1))


_COLUMNS = ("sky_noise_njy", "psf_effective_area_pix", "ellipticity")


def _covers(corners: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Tell which exposures lie at the places of those asked: (n_asked, 9, n) bool, none at its own.

    A place lies in an exposure if it is on the same side of the great circles through all four of its edges, and on its
    half of the sky.
    """
    edges = np.cross(corners, np.roll(corners, -1, axis=1))
    middles = corners.sum(axis=1)
    covers = np.empty((len(asked), _FRACTION.size**2, len(corners)), bool)
    step = max(1, _LARGEST // (covers.shape[1] * edges.shape[0] * 4))
    for start in range(0, len(asked), step):
        part = slice(start, start + step)
        places = _places(corners[asked[part]])
        side = np.einsum("apc,nec->apne", places, edges)
        inside = (side >= 0).all(axis=-1) | (side <= 0).all(axis=-1)
        covers[part] = inside & (np.einsum("apc,nc->apn", places, middles) > 0)
    covers[np.arange(len(asked)), :, asked] = False
    return covers


def _places(corners: np.ndarray) -> np.ndarray:
    """Return nine places inside quadrangles (n, 4, 3), as vectors (n, 9, 3)."""
    u, v = (grid.ravel() for grid in np.meshgrid(_FRACTION, _FRACTION))
    shares = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v])
    return np.einsum("kp,nkc->npc", shares, corners)
