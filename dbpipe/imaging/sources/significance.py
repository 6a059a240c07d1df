"""How much the data want each source of a blend: the fall of chi2 that it causes, the others fitted again without it.

The score of an isolated source is the square root of just that, with the position where it is largest: so the root
continues the score into blends, where peaks of the score image are sums. The fitted flux over its error is smaller
there, because it also knows that the shares of the neighbors are uncertain.
"""

import numpy as np
from scipy.spatial import cKDTree

from dbpipe.imaging.sources.blend_fit import cut_box, fit_blend, subtract_models
from dbpipe.imaging.sources.point_fit import PointSourceFit

_MAX_MEMBERS = 5


def blend_scores(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf_spline: np.ndarray,
    fit: PointSourceFit,
    chosen: np.ndarray,
    radius_pix: float,
    blend_pix: float,
) -> np.ndarray:
    """Return the score of sources that share their light.

    Parameters
    ----------
    image, variance, mask : (ny, nx) arrays
    psf_spline : (n, size, size) float32 array
    fit : PointSourceFit of n sources
    chosen : (n,) bool, whose score is wanted
    radius_pix : float
    blend_pix : float
        Neighbors within this distance are fitted again; others keep their place and flux.

    Returns
    -------
    (n,) float64 array, signed; flux over its error for sources that were not chosen, or have no converged neighbor.
    """
    score = np.nan_to_num(fit.flux / fit.flux_err)
    if not chosen.any():
        return score
    state = np.nan_to_num(np.column_stack([fit.flux, fit.x, fit.y]))
    tree = cKDTree(state[:, 1:])
    for i in np.flatnonzero(chosen & fit.converged):
        near = np.array(tree.query_ball_point(state[i, 1:], 2.0 * radius_pix), np.int64)
        distance = np.hypot(*(state[near, 1:] - state[i, 1:]).T)
        near = near[np.lexsort((near, distance))]
        close = near[(np.sort(distance) < blend_pix) & fit.converged[near]][:_MAX_MEMBERS]
        close = np.concatenate([[i], close[close != i]])
        if len(close) > 1:
            others = near[~np.isin(near, close)]
            gain = _fall_of_chi2((image, variance, mask), psf_spline, state, close, others, float(radius_pix))
            score[i] = np.sign(state[i, 0]) * np.sqrt(gain) if gain >= 0.0 else score[i]
    return score


def _fall_of_chi2(
    planes: tuple[np.ndarray, np.ndarray, np.ndarray],
    spline: np.ndarray,
    state: np.ndarray,
    members: np.ndarray,
    others: np.ndarray,
    radius_pix: float,
) -> float:
    """Return chi2 without the first member minus chi2 with it; -1 where a fit fails."""
    box = cut_box(planes, state[members, 1], state[members, 2], radius_pix)
    subtract_models(box, spline, state, others)
    good, chi2, _ = fit_blend(box, spline[members], state[members])
    good_without, chi2_without, _ = fit_blend(box, spline[members[1:]], state[members[1:]])
    return max(chi2_without - chi2, 0.0) if good and good_without else -1.0
